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

from tests.benchmarks.suite import ROOT, Case, environment, in_a_process, report
from tests.benchmarks.training import write_pairs

KINDS = ("real", "store")
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
    parser.add_argument(
        "--only", nargs="+", default=list(KINDS), choices=KINDS, help="real: real text; store: many short ones"
    )
    parser.add_argument("--store_items", type=int, default=10**7, help="items of the corpus in bounded memory (store)")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2, 4])


def run(given: Namespace) -> None:
    """Measure each part; every repeat of a build starts from an empty cache, in a process of its own."""
    cases, notes = [], []
    for kind, measure in (("real", real_part), ("store", store_part)):
        if kind in given.only:
            found, told = measure(given)
            cases, notes = cases + found, notes + told
    report(cases, notes, given)


def real_part(given: Namespace) -> tuple[list[Case], list[str]]:
    """Build corpus and store of real text, start a second run, take rows with each number of workers, in turn."""
    build, start = Case("corpus and token store", "texts/s"), Case("second run", "s")
    loaders = {workers: Case(f"loader, {workers} workers", "rows/s") for workers in given.workers}
    with tempfile.TemporaryDirectory() as folder:
        pairs = simulated(Path(folder), given.items, given.languages)
        for repeat in range(given.repeats):
            cache = Path(folder) / str(repeat)
            cache.mkdir()
            recipe = cache / "recipe.yaml"
            recipe.write_text(RECIPE.format(pairs=pairs, cache=cache, model=given.model), encoding="utf-8")
            found = in_a_process("data_ours.py", "build", recipe)
            _add(build, found["texts"] / found["seconds"], found["memory_gb"])
            first_run(recipe)
            _add(start, *first_step(recipe))
            for workers, case in loaders.items():
                found = in_a_process("data_ours.py", "rows", recipe, workers, given.batch, given.batches)
                _add(case, found["rows"] / found["seconds"], found["memory_gb"])
    notes = [
        f"{given.items} items x {given.languages} languages, real SQuAD text; batches of {given.batch} rows.",
        "second run: from the command to the log line of its first step (of 2 pairs of 32 tokens), with a warm store.",
        "Aim of the loader: 10,000 rows/s, what an H200 may take of a small encoder.",
    ]
    return [build, start, *loaders.values()], notes


def store_part(given: Namespace) -> tuple[list[Case], list[str]]:
    """Build the token store alone, of as many short texts as there are items times languages.

    Once, whatever the repeats: it is there for its memory, and takes half an hour.
    """
    count = given.store_items * given.languages
    with tempfile.TemporaryDirectory() as folder:
        found = in_a_process("data_store.py", given.model, count, folder)
    case = Case(f"token store, {count} short texts", "texts/s", [count / found["seconds"]], found["memory_gb"])
    told = f"{case.name}: {given.languages} texts an item, built once; memory of all processes (aim: 2 GB at most)."
    return [case], [told]


def _add(case: Case, value: float, memory_gb: float) -> None:
    case.values.append(value)
    case.memory_gb = max(case.memory_gb or 0, memory_gb)


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


def first_run(recipe: Path) -> None:
    """Train to the end: MLflow's store is made beside the steps, and a job that is killed there leaves half of one."""
    with _job(recipe) as job:
        for _ in job.stdout:
            pass
    if job.returncode:
        raise RuntimeError(f"{recipe}: the first run ended with status {job.returncode}")


def first_step(recipe: Path) -> tuple[float, float]:
    """Start a training job; returns the seconds until it tells of its first step, and its peak memory in GB by then.

    The step is of two pairs of 32 tokens: what counts is what comes before it.
    """
    start = time.perf_counter()
    with _job(recipe) as job:
        for line in job.stdout:
            if re.match(r"step 1/1 ", line):
                seconds = time.perf_counter() - start
                job.kill()
                return seconds, os.wait4(job.pid, 0)[2].ru_maxrss * 1024 / 1e9
    raise RuntimeError(f"{recipe}: the job ended without a step")


def _job(recipe: Path) -> subprocess.Popen:
    command = [sys.executable, str(ROOT / "train.py"), "--config", str(recipe), "--overwrite"]
    command += ["--training.global_batch", "2", "--data.query_max_length", "32", "--data.passage_max_length", "32"]
    env = environment(OMP_NUM_THREADS="1", PYTHONUNBUFFERED="1")
    return subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True)
