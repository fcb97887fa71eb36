"""Tokens, rows and starts: building a token store, rows/s of sampler and collator, seconds to a second run's step."""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from pathlib import Path

from tests.benchmarks.suite import ROOT, Case, report
from tests.benchmarks.training import write_pairs

RECIPE = """
data:
  sets:
    pairs:
      format: pairs
      files: {pairs}
  passage: paragraph
  cache: {cache}
mixture: {{monolingual: 0.5}}
model: {{name: {model}, dropout: 0.0, query_prefix: "query: ", passage_prefix: "passage: "}}
training: {{name: start, output: {cache}/runs, steps: 1, global_batch: 32, log_every: 1}}
tracking: {{uri: "sqlite:///{cache}/mlflow.db"}}
"""


def add_arguments(parser: ArgumentParser) -> None:
    """Add what it can be told."""
    parser.add_argument("--model", required=True, help="directory of an encoder")
    parser.add_argument("--items", type=int, default=10000, help="real questions, and as many simulated translations")
    parser.add_argument("--languages", type=int, default=10, help="languages of the simulated corpus")
    parser.add_argument("--batch", type=int, default=1024, help="rows of a rank's batch")
    parser.add_argument("--batches", type=int, default=40, help="batches that are timed")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2, 4])


def run(given: Namespace) -> None:
    """Measure each; every repeat of a build starts from an empty cache, in a process of its own."""
    cases = {name: Case(name, unit) for name, unit in (("corpus and token store", "texts/s"), ("second run", "s"))}
    for workers in given.workers:
        cases[f"loader, {workers} workers"] = Case(f"loader, {workers} workers", "rows/s")
    with tempfile.TemporaryDirectory() as folder:
        pairs = simulated(Path(folder), given.items, given.languages)
        for repeat in range(given.repeats):
            cache = Path(folder) / str(repeat)
            cache.mkdir()
            recipe = cache / "recipe.yaml"
            recipe.write_text(RECIPE.format(pairs=pairs, cache=cache, model=given.model), encoding="utf-8")
            found = in_a_process("build", recipe)
            build = cases["corpus and token store"]
            build.values.append(found["texts"] / found["seconds"])
            build.memory_gb = max(build.memory_gb or 0, found["memory_gb"])
            seconds, memory = first_step(recipe)
            cases["second run"].values.append(seconds)
            cases["second run"].memory_gb = max(cases["second run"].memory_gb or 0, memory)
            for workers in given.workers:
                found = in_a_process("rows", recipe, workers, given.batch, given.batches)
                cases[f"loader, {workers} workers"].values.append(found["rows"] / found["seconds"])
    notes = [
        f"{given.items} items x {given.languages} languages, real SQuAD text; batches of {given.batch} rows.",
        "second run: from the command to the log line of its first step, with a warm store.",
        "Aim of the loader: 10,000 rows/s, what an H200 may take of a small encoder.",
    ]
    report(list(cases.values()), notes, given)


def simulated(folder: Path, items: int, languages: int) -> Path:
    """Write items in several "languages": real text, marked with the language, so that each is a text of its own."""
    source = write_pairs(folder, min(items, 18000))
    real = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()]
    path = folder / "simulated.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for item in range(items):
            pair, part = real[item % len(real)], item // len(real)
            for language in range(languages):
                code, mark = f"l{language:02d}", f"{language} {part}"
                texts = {"query": f"{mark} {pair['query']}", "passage": f"{mark} {pair['passage']}"}
                row = texts | {"id": f"{pair['id']}-{part}", "query_lang": code, "passage_lang": code}
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return path


def first_step(recipe: Path) -> tuple[float, float]:
    """Start a training job; returns the seconds until it tells of its first step, and its peak memory in GB by then."""
    command = [sys.executable, str(ROOT / "train.py"), "--config", str(recipe), "--overwrite"]
    settings = {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    start = time.perf_counter()
    with subprocess.Popen(command, cwd=ROOT, env=os.environ | settings, stdout=subprocess.PIPE, text=True) as job:
        for line in job.stdout:
            if re.match(r"step 1/1 ", line):
                seconds = time.perf_counter() - start
                job.kill()
                return seconds, os.wait4(job.pid, 0)[2].ru_maxrss * 1024 / 1e9
    raise RuntimeError(f"{recipe}: the job ended without a step")


def in_a_process(*arguments: object) -> dict:
    """Run data_ours.py in a process of its own; returns what it tells."""
    script = str(Path(__file__).parent / "data_ours.py")
    settings = {"PYTHONPATH": str(ROOT), "TOKENIZERS_PARALLELISM": "true"}
    done = subprocess.run(
        [sys.executable, script, *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | settings,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.strip().splitlines()[-1])
