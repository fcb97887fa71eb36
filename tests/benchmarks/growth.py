"""How time and memory grow with length, batch, ranks, languages and corpus, with fitted exponents (`growth`)."""

import json
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.benchmarks.data import RECIPE, seconds_to_first_step, simulated
from tests.benchmarks.sampler import measured
from tests.benchmarks.suite import Case, report, worker
from tests.benchmarks.training import write_pairs

LENGTHS, BATCHES = (32, 64, 128, 256), (4, 8, 16, 32)
RANKS, LANGUAGES, ITEMS = (1, 32, 1024), (11, 35, 110), (10**6, 10**7, 10**8, 10**9)
CORPORA = (1_000, 4_000, 16_000)
MIXTURE = "hybrid, 1024 lanes"


def add_arguments(parser: ArgumentParser) -> None:
    """Add what it can be told."""
    parser.add_argument("--model", required=True, help="directory of an encoder")
    parser.add_argument("--precision", default="bf16", choices=["fp32", "bf16"])
    parser.add_argument("--steps", type=int, default=4, help="steps of one repeat; the first is not counted")


def run(given: Namespace) -> None:
    """Measure each series; every point is a process of its own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        series = _steps(given, folder) | _sampling() | _starts(given, folder)
        cases, notes = [], [f"model {Path(given.model).name}, {given.precision}, one process of one thread"]
        for what, (points, measure) in series.items():
            found = [Case(f"{what} {point}", "s") for point in points]
            for _ in range(given.repeats):
                for case, point in zip(found, points, strict=True):
                    seconds, memory = measure(point)
                    case.values.append(seconds)
                    case.memory_gb = max(case.memory_gb or 0.0, memory)
            notes.append(f"{what}: {_exponents(points, found)}")
            cases += found
    report("growth", cases, notes, given.out)


Series = dict[str, tuple[tuple[int, ...], Callable[[int], tuple[float, float]]]]
"""By name: the points, and what gives seconds and GB at one of them."""


def _exponents(points: tuple[int, ...], cases: list[Case]) -> str:
    """Fit seconds and the memory above that of the smallest point as powers, over the whole range."""
    x = np.log(points)
    time = np.polyfit(x, np.log([case.median for case in cases]), 1)[0]
    memory = [case.memory_gb for case in cases]
    return f"time grows with power {time:.2f}, memory from {memory[0]:.2f} to {memory[-1]:.2f} GB"


def _steps(given: Namespace, folder: Path) -> Series:
    """Training steps: passages are three paragraphs joined, so that every one is cut at the length asked for."""
    pairs = _long(write_pairs(folder, 3 * max(BATCHES) * given.steps))
    common = {"pairs": str(pairs), "cache": str(folder), "steps": given.steps, "precision": given.precision}
    common["model"] = {"name": given.model, "freeze_embeddings": True}

    def step(**work: int) -> tuple[float, float]:
        found = worker("train_ours.py", common | work)
        return found["seconds"], found["memory_gb"]

    return {
        "step, batch 8, tokens": (LENGTHS, lambda length: step(batch=8, length=length)),
        "step, 128 tokens, pairs": (BATCHES, lambda batch: step(batch=batch, length=128)),
    }


def _long(path: Path) -> Path:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    passages = [row["passage"] for row in rows]
    third = len(rows) // 3
    for number, row in enumerate(rows[:third]):
        row["passage"] = " ".join(passages[number::third])
    long = path.with_name("long.jsonl")
    long.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows[:third]), encoding="utf-8")
    return long


def _sampling() -> Series:
    """One rank's next batch."""

    def next_batch(items: int = 10**8, languages: int = 110, ranks: int = 1024) -> tuple[float, float]:
        found = measured("--items", items, "--languages", languages, "--ranks", ranks, "--one", MIXTURE)
        return found["next batch ms, median"] / 1e3, found["memory MB"] / 1e3

    return {
        "sampler, ranks": (RANKS, lambda ranks: next_batch(ranks=ranks)),
        "sampler, languages": (LANGUAGES, lambda languages: next_batch(languages=languages)),
        "sampler, items": (ITEMS, lambda items: next_batch(items=items)),
    }


def _starts(given: Namespace, folder: Path) -> Series:
    """From the command to the first step, two languages; the token store is built before."""
    recipes: dict[int, Path] = {}

    def second(items: int) -> tuple[float, float]:
        if items not in recipes:
            inside = folder / f"corpus-{items}"
            inside.mkdir()
            text = RECIPE.format(pairs=simulated(inside, items, 2), cache=inside, model=given.model)
            recipes[items] = inside / "recipe.yaml"
            recipes[items].write_text(text, encoding="utf-8")
            seconds_to_first_step(recipes[items])
        return seconds_to_first_step(recipes[items]), 0.0

    return {"second run, items": (CORPORA, second)}
