"""How time and memory grow with length, batch, ranks, languages and corpus, with fitted exponents (`growth`)."""

import json
import tempfile
import time
import tracemalloc
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from hybrid.training.realised import Realised
from tests.benchmarks.data import RECIPE, first_run, first_step, simulated
from tests.benchmarks.sampler import measured
from tests.benchmarks.suite import Case, in_a_process, report, worker
from tests.benchmarks.training import write_pairs

MIXTURE = "hybrid, a lane a rank"
LOADED = 10
"""Batches of the loader that are timed."""
ROWS, LOGGED = 1024, 20
"""Rows of a step, and log lines that are timed."""
FEWEST = 3
"""Points of a fit: a line through two says nothing of whether they lie on one."""
FLAT = 1.1
"""Below this ratio of the largest to the smallest, nothing is said of what grows: it would be a fit of noise."""


@dataclass(frozen=True)
class Series:
    """One thing that grows: a point is measured in a process of its own."""

    label: str
    points: tuple[int, ...]
    measure: Callable[[Namespace, Path, int], tuple[float, float]]
    """From the call, a folder to work in and a point to seconds and GB."""


def add_arguments(parser: ArgumentParser) -> None:
    """Add what it can be told."""
    parser.add_argument("--model", required=True, help="directory of an encoder")
    parser.add_argument("--precision", default="bf16", choices=["fp32", "bf16"])
    parser.add_argument("--steps", type=int, default=4, help="steps of one repeat; the first is not counted")
    parser.add_argument("--only", nargs="+", default=list(SERIES), choices=list(SERIES), help="some of the series")


def run(given: Namespace) -> None:
    """Measure each series, all its points in turn."""
    cases, notes = [], [f"model {Path(given.model).name}, {given.precision}, processes of one thread"]
    with tempfile.TemporaryDirectory() as name:
        for key in given.only:
            one = SERIES[key]
            found = [Case(f"{one.label} {point}", "s", memory_gb=0.0) for point in one.points]
            for _ in range(given.repeats):
                for case, point in zip(found, one.points, strict=True):
                    seconds, memory = one.measure(given, Path(name), point)
                    case.values.append(seconds)
                    case.memory_gb = max(case.memory_gb, memory)
            cases += found
    report(cases, notes, given, exponents)


def exponents(cases: Sequence[Case]) -> list[str]:
    """Return a line for each series that was measured: its exponents of time and of memory."""
    known, lines = {case.name: case for case in cases}, []
    for one in SERIES.values():
        found = [known.get(f"{one.label} {point}") for point in one.points]
        if all(found):
            time = exponent(one.points, [case.median for case in found])
            memory = exponent(one.points, [case.memory_gb for case in found])
            lines.append(f"{one.label}: time {time}; memory {memory}")
    return lines


def exponent(points: Sequence[int], values: Sequence[float]) -> str:
    """Fit values as a power of the points, and, where they grow, what comes on top of the smallest of them.

    The first is flattened by a constant part (libraries, weights, starting); the second is 1 for any straight line.
    """
    if len(points) < FEWEST:
        return f"{values[0]:.3g} to {values[-1]:.3g}, {len(points)} points are too few for a power"
    if min(values) <= 0:
        return f"{values[0]:.3g} to {values[-1]:.3g}, too small to be measured"
    x, y = np.array(points, float), np.array(values, float)
    text = f"grows with power {_slope(x, y):.2f}"
    above = y[1:] - y[0]
    if y[-1] > FLAT * y[0] and (above > 0).all() and len(above) > 1:
        text += f" (what is above the first point's with {_slope(x[1:] - x[0], above):.2f})"
    return text


def _slope(x: np.ndarray, y: np.ndarray) -> float:
    # Adding zero makes no "-0.00" of what is flat.
    return round(float(np.polyfit(np.log(x), np.log(y), 1)[0]), 2) + 0.0


def step(given: Namespace, folder: Path, batch: int = 8, length: int = 128, processes: int = 1) -> tuple[float, float]:
    """Train on passages of three paragraphs joined, so that every one is cut at the length asked for.

    Memory is the largest process's share.
    """
    pairs = _long(write_pairs(folder, 3 * batch * given.steps))
    work = {"pairs": str(pairs), "cache": str(folder), "steps": given.steps, "precision": given.precision}
    work |= {"model": {"name": given.model, "freeze_embeddings": True}, "batch": batch, "length": length}
    found = worker("train_ours.py", work, processes)
    return found["seconds"], found["memory_gb"] / processes


def _long(path: Path) -> Path:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    passages = [row["passage"] for row in rows]
    third = len(rows) // 3
    for number, row in enumerate(rows[:third]):
        row["passage"] = " ".join(passages[number::third])
    long = path.with_name("long.jsonl")
    long.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows[:third]), encoding="utf-8")
    return long


def exchange(given: Namespace, folder: Path, ranks: int) -> tuple[float, float]:
    """Gather the vectors of so many simulated ranks, compute the loss and send its gradient back."""
    found = worker("growth_ranks.py", {"ranks": ranks})
    return found["seconds"], found["memory_gb"]


def next_batch(items: int = 10**8, languages: int = 110, ranks: int = 1024) -> tuple[float, float]:
    """Take one rank's next batch from the sampler; memory is what it adds to its process."""
    found = measured("--items", items, "--languages", languages, "--ranks", ranks, "--one", MIXTURE)
    return found["next batch ms, median"] / 1e3, found["memory MB"] / 1e3


def log_line(streams: int) -> tuple[float, float]:
    """Count the rows of one step and of the whole run so far by stream and branch, as a log line does."""
    counted = Realised([f"cross_lingual/set/{number}" for number in range(streams)])
    rows, seconds = np.random.default_rng(0).integers(streams, size=ROWS), []
    counted.add(np.arange(streams))
    for _ in range(LOGGED):
        start = time.perf_counter()
        counted.add(rows)
        counted.metrics(counted.total())
        seconds.append(time.perf_counter() - start)
    tracemalloc.start()  # after the clock: it makes Python several times slower
    counted.metrics(counted.total())
    memory = tracemalloc.get_traced_memory()[1] / 1e9
    tracemalloc.stop()
    return median(seconds), memory


def load(given: Namespace, folder: Path, batch: int = 256, items: int = 16_000) -> tuple[float, float]:
    """Sample and collate one batch in the training process, from a token store that is there."""
    found = in_a_process("data_ours.py", "rows", _recipe(given, folder, items), 0, batch, LOADED)
    return found["seconds"] / LOADED, found["memory_gb"]


def second_run(given: Namespace, folder: Path, items: int) -> tuple[float, float]:
    """Wait from the command to the first step, with a warm token store and with MLflow's, which the first run makes."""
    recipe = _recipe(given, folder, items)
    if not (recipe.parent / "mlflow.db").exists():
        first_run(recipe)
    return first_step(recipe)


def _recipe(given: Namespace, folder: Path, items: int) -> Path:
    """Return the recipe of a corpus of so many items in two languages; builds its token store where it is missing."""
    inside = folder / f"corpus-{items}"
    recipe = inside / "recipe.yaml"
    if not recipe.exists():
        inside.mkdir()
        text = RECIPE.format(pairs=simulated(inside, items, 2), cache=inside, model=given.model)
        recipe.write_text(text, encoding="utf-8")
        in_a_process("data_ours.py", "build", recipe)
    return recipe


SERIES = {
    "length": Series(
        "step, batch 8, tokens", (32, 64, 128, 256), lambda given, folder, length: step(given, folder, length=length)
    ),
    "batch": Series(
        "step, 128 tokens, pairs", (4, 8, 16, 32), lambda given, folder, batch: step(given, folder, batch=batch)
    ),
    "processes": Series(
        "step, 8 pairs each, processes",
        (1, 2),
        lambda given, folder, count: step(given, folder, batch=8 * count, processes=count),
    ),
    "exchange": Series("exchange and loss, 32 pairs each, simulated ranks", (1, 32, 256, 1024), exchange),
    "ranks": Series(
        "sampler, 32 rows each, ranks", (1, 32, 1024), lambda given, folder, ranks: next_batch(ranks=ranks)
    ),
    "languages": Series("sampler, languages", (11, 35, 110), lambda given, folder, count: next_batch(languages=count)),
    "items": Series(
        "sampler, items", (10**6, 10**7, 10**8, 10**9), lambda given, folder, items: next_batch(items=items)
    ),
    "streams": Series(
        "log line, streams", (121, 1_210, 12_100), lambda given, folder, streams: log_line(streams=streams)
    ),
    "rows": Series("loader, rows", (64, 256, 1024, 4096), lambda given, folder, batch: load(given, folder, batch)),
    "corpus": Series(
        "loader, 256 rows, items", (1_000, 4_000, 16_000), lambda given, folder, items: load(given, folder, items=items)
    ),
    "start": Series("second run, items", (1_000, 4_000, 16_000, 64_000, 256_000), second_run),
}
"""By the name that --only knows."""
