"""Training steps on real SQuAD pairs, ours beside sentence-transformers' trainer (`train`, `cached`)."""

import gzip
import json
import random
import tempfile
from argparse import ArgumentParser, Namespace
from pathlib import Path

from hybrid.runtime.errors import InputError
from tests.benchmarks.suite import Case, OutOfMemory, data_folder, report, worker

SIDES = {"hybrid": "train_ours.py", "sentence-transformers": "train_peer.py"}


def add_arguments(parser: ArgumentParser) -> None:
    """Add what both benchmarks can be told."""
    parser.add_argument("--model", required=True, help="a directory that sentence-transformers loads too")
    parser.add_argument("--batch", type=int, help="pairs of the global batch: 64, cached 2048")
    parser.add_argument("--length", type=int, default=192, help="tokens at the most, of queries and passages")
    parser.add_argument("--steps", type=int, default=4, help="steps of one repeat; the first is not counted")
    parser.add_argument("--precision", default="bf16", choices=["fp32", "bf16"])
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--embeddings", nargs="+", default=["frozen", "trained"], choices=["frozen", "trained"])
    parser.add_argument("--cache_tokens", type=int, default=6144, help="tokens of a chunk (cached)")


def run(given: Namespace, cached: bool = False) -> None:
    """Measure every combination of processes and embeddings, both sides in turn."""
    batch = given.batch or (2048 if cached else 64)
    with tempfile.TemporaryDirectory() as folder:
        work = {
            "model": {"name": given.model},
            "pairs": str(write_pairs(Path(folder), batch * given.steps)),
            "cache": folder,
            "length": given.length,
            "batch": batch,
            "steps": given.steps,
            "precision": given.precision,
        } | ({"cache_tokens": given.cache_tokens} if cached else {})
        note = same_loss(work | {"batch": min(batch, 64)})
        cases = [
            case
            for processes in given.processes
            for embeddings in given.embeddings
            for case in both_sides(work, processes, embeddings, given.repeats)
        ]
    work = f"batch {batch}, {given.length} tokens at the most, {given.precision}, dropout 0, AdamW, clipping 1"
    report(cases, [work, note], given)


def both_sides(work: dict, processes: int, embeddings: str, repeats: int) -> list[Case]:
    """Measure ours and the peer's in turn; the ratio is of pairs/s."""
    where = f"{processes} process{'es' if processes > 1 else ''}, embeddings {embeddings}"
    task = work | {"model": work["model"] | {"freeze_embeddings": embeddings == "frozen"}}
    cases, _ = in_turn({f"{side}, {where}": (script, task) for side, script in SIDES.items()}, processes, repeats)
    ours, theirs = cases.values()
    ours.against = theirs.name
    return [ours, theirs]


def in_turn(jobs: dict[str, tuple[str, dict]], processes: int, repeats: int) -> tuple[dict[str, Case], dict[str, dict]]:
    """Measure jobs, each a script and its work, in turn; returns a case of each, in pairs/s, and what each told last.

    A job that a GPU's memory does not hold is not tried again: its case has no values.
    """
    cases, told = {name: Case(name, "pairs/s", memory_gb=0.0) for name in jobs}, {}
    fits = set(jobs)
    for _ in range(repeats):
        for name in [name for name in jobs if name in fits]:
            script, work = jobs[name]
            try:
                found = told[name] = worker(script, work, processes)
            except OutOfMemory:
                fits.remove(name)
                continue
            assert found["world"] == processes, found
            cases[name].values.append(work["batch"] / found["seconds"])
            cases[name].memory_gb = max(cases[name].memory_gb, found["memory_gb"])
    return cases, told


def same_loss(work: dict) -> str:
    """Say how far both losses of one batch are apart in fp32; raises AssertionError above 1e-4."""
    task = work | {"precision": "fp32", "steps": 1}
    ours = worker(SIDES["hybrid"], task)
    other = worker(SIDES["sentence-transformers"], task | {"ids": ours["ids"]})
    difference = abs(ours["first_loss"] - other["first_loss"])
    assert difference < 1e-4, (ours["first_loss"], other["first_loss"])
    return f"loss of one batch of {task['batch']}, fp32: {ours['first_loss']:.6f} on both sides to {difference:.1e}"


def write_pairs(folder: Path, count: int) -> Path:
    """Write `count` real pairs, one question of a paragraph each, so that no row is another's false negative."""
    source = data_folder() / "squad" / "train.en.json.gz"
    with gzip.open(source, "rt", encoding="utf-8") as file:
        articles = json.load(file)["data"]
    paragraphs = {p["context"]: p["qas"][0] for article in articles for p in article["paragraphs"] if p["qas"]}
    rows = [{"id": qa["id"], "query": qa["question"], "passage": text} for text, qa in paragraphs.items()]
    random.Random(0).shuffle(rows)
    if len(rows) < count:
        raise InputError(f"{source} has {len(rows)} paragraphs, {count} are needed: give fewer --steps or --batch.")
    path = folder / "pairs.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows[:count]), encoding="utf-8")
    return path
