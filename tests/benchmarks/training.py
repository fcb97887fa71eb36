"""Training steps on real SQuAD pairs, ours beside sentence-transformers' trainer (`train`, `cached`)."""

import gzip
import json
import random
import sys
import tempfile
from argparse import ArgumentParser, Namespace
from pathlib import Path

from hybrid.runtime.errors import InputError
from tests.benchmarks.suite import Case, OutOfMemory, data_folder, report, worker

PEER = "sentence-transformers"
SIDES = {"hybrid": "train_ours.py", PEER: "train_peer.py"}
CHUNKS = "chunks of {tokens} tokens on both sides (the peer's mini_batch_num_tokens, which counts no padding)"
"""What is told of the gradient cache."""


def add_arguments(parser: ArgumentParser) -> None:
    """Add what both benchmarks can be told."""
    parser.add_argument("--model", required=True, help="a directory that sentence-transformers loads too")
    parser.add_argument("--batch", type=int, help="pairs of the global batch")
    parser.add_argument("--length", type=int, default=192, help="tokens at the most, of queries and passages")
    parser.add_argument("--steps", type=int, help="steps of one repeat; of several the first is not counted")
    parser.add_argument("--precision", default="bf16", choices=["fp32", "bf16"])
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--embeddings", nargs="+", default=["frozen", "trained"], choices=["frozen", "trained"])
    parser.add_argument("--cache_tokens", type=int, default=6144, help="tokens of a chunk (cached)")


def run(given: Namespace, cached: bool = False) -> None:
    """Measure every combination of processes and embeddings, both sides in turn."""
    with tempfile.TemporaryDirectory() as folder:
        work = {
            "model": {"name": given.model},
            "pairs": str(write_pairs(Path(folder), given.batch * given.steps)),
            "cache": folder,
            "length": given.length,
            "batch": given.batch,
            "steps": given.steps,
            "precision": given.precision,
        } | ({"cache_tokens": given.cache_tokens} if cached else {})
        notes = [CHUNKS.format(tokens=given.cache_tokens)] if cached else []
        notes += [same_loss(work | {"batch": min(given.batch, 64)}, processes) for processes in given.processes]
        cases = [
            case
            for processes in given.processes
            for embeddings in given.embeddings
            for case in both_sides(work, processes, embeddings, given.repeats)
        ]
    work = f"batch {given.batch}, {given.length} tokens at the most, {given.precision}, dropout 0, AdamW, clipping 1"
    report(cases, [work, *notes], given)


def both_sides(work: dict, processes: int, embeddings: str, repeats: int) -> list[Case]:
    """Measure ours and the peer's in turn."""
    task = work | {"model": work["model"] | {"freeze_embeddings": embeddings == "frozen"}}
    found, told = in_turn({side: (script, task) for side, script in SIDES.items()}, processes, repeats)
    return rates(found, told["hybrid"], f"{_processes(processes)}, embeddings {embeddings}")


def _processes(count: int) -> str:
    return f"{count} process{'es' if count > 1 else ''}"


def rates(found: dict[str, Case], about: list[dict], label: str) -> list[Case]:
    """Return pairs/s, useful tokens/s and MFU of each side, ours held against the peer.

    Args:
        found: pairs/s of each side.
        about: what our side told in each repeat of the pairs, which are the same on both sides: tokens and operations
            without padding, and operations per second that all devices together could do then.
        label: which model and batch.
    """
    cases = []
    for side, case in found.items():
        against = PEER if side != PEER and PEER in found else None
        repeats = list(zip(case.values, about, strict=True))
        tokens = [value * told["tokens_per_pair"] for value, told in repeats]
        used = [value * told["operations_per_pair"] / told["peak"] * 100 for value, told in repeats]
        for unit, values in (("pairs/s", case.values), ("tokens/s", tokens), ("% MFU", used)):
            beside = f"{against}, {label}, {unit}" if against and unit.endswith("/s") else None
            cases.append(Case(f"{side}, {label}, {unit}", unit, values, case.memory_gb, beside))
    return cases


def in_turn(
    jobs: dict[str, tuple[str, dict]], processes: int, repeats: int, optional: str | None = None
) -> tuple[dict[str, Case], dict[str, list[dict]]]:
    """Measure jobs, each a script and its work, in turn; returns a case of each, in pairs/s, and what each repeat told.

    A job that a GPU's memory does not hold is not tried again: its case has no values. Nor has one named by `optional`
    that fails, which must not cost what the others have measured.
    """
    cases = {name: Case(name, "pairs/s", memory_gb=0.0) for name in jobs}
    told: dict[str, list[dict]] = {name: [] for name in jobs}
    fits = set(jobs)
    for _ in range(repeats):
        for name in [name for name in jobs if name in fits]:
            script, work = jobs[name]
            try:
                found = worker(script, work, processes)
            except RuntimeError as error:
                if name != optional and not isinstance(error, OutOfMemory):
                    raise
                print(f"{name}: {error}", file=sys.stderr)
                fits.remove(name)
                cases[name].values, told[name] = [], []
                continue
            told[name].append(found)
            assert found["world"] == processes, found
            cases[name].values.append(work["batch"] / found["seconds"])
            cases[name].memory_gb = max(cases[name].memory_gb, found["memory_gb"])
    return cases, told


def same_loss(work: dict, processes: int = 1) -> str:
    """Say how far both losses of one batch, as each side trains with it, are apart in fp32; raises AssertionError above
    1e-4."""
    task = work | {"precision": "fp32", "steps": 1}
    ours = worker(SIDES["hybrid"], task, processes)
    other = worker(SIDES[PEER], task | {"ids": ours["ids"]}, processes)
    difference = abs(ours["first_loss"] - other["first_loss"])
    assert difference < 1e-4, (ours["first_loss"], other["first_loss"])
    which = (
        f"{'cached ' if task.get('cache_tokens') else ''}loss of one batch of {task['batch']}, {_processes(processes)}"
    )
    return f"{which}, fp32: {ours['first_loss']:.6f} on both sides to {difference:.1e}"


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
