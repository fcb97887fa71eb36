"""What the sampler costs at 110 languages and a billion items, beside one that stores its orders (`sampler`).

Every case is measured in a process of its own; memory is the growth of its peak resident size.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from hybrid.sampling import HybridBatchSampler, Mixture, MixtureConfig
from tests.benchmarks.suite import Case, environment, report
from tests.sampling.synthetic import Integers

ROWS, WORLD_SIZE, RANK, FAR = 32, 1_024, 517, 1_000_000
"""Rows of a rank's batch, ranks, the rank that is looked at, and the step it seeks."""
BLOCKS, DRAWN = 2_000, 10_000
"""Of the simulated data set, and batches of the peer that are timed."""
MIXTURES = {
    "single, uniform (the paper)": {"form": "single"},
    "single, size ** 0.5": {"form": "single", "language_exponent": 0.5},
    "single, size ** 1": {"form": "single", "language_exponent": 1.0},
    "single, random": {"form": "single", "schedule": "random"},
    "hybrid, a lane a rank": {"form": "hybrid"},
    "mixed, a lane a rank": {"form": "mixed"},
    "mixed, a lane a rank, size ** 0.5": {"form": "mixed", "language_exponent": 0.5},
}
PROPORTIONAL = "single, size ** 1"
"""Of these, what the peer's sampler draws."""


def simulated(items: int, languages: int) -> Integers:
    """Return a data set of blocks of uneven sizes, each with a random set of two languages or more."""
    rng = np.random.default_rng(0)
    ends = np.round(np.cumsum(rng.dirichlet(np.ones(BLOCKS))) * items).astype(int).tolist()
    starts = [0, *ends[:-1]]
    sets = [sorted(rng.choice(languages, rng.integers(2, languages + 1), replace=False).tolist()) for _ in starts]
    blocks = [(start, end, tuple(codes)) for start, end, codes in zip(starts, ends, sets, strict=True)]
    return Integers("web", tuple(f"l{i:03d}" for i in range(languages)), blocks)


def peak() -> float:
    """Return the peak resident size of this process in MB; Linux's rusage would count its parent's before the exec."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) / 1024


def ours(items: int, languages: int, name: str, ranks: int = WORLD_SIZE) -> dict:
    """Measure one mixture on one rank."""
    data = simulated(items, languages)
    wanted = MIXTURES[name]
    config = MixtureConfig(**wanted if wanted["form"] == "single" else wanted | {"lanes": ranks})

    def sampler() -> HybridBatchSampler:
        return HybridBatchSampler(Mixture(config, [data]), ROWS * ranks, 7, min(RANK, ranks - 1), ranks)

    def seconds(work) -> float:
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    before, start = peak(), time.perf_counter()
    one = sampler()
    found = {"streams": len(one.mixture.items), "set up s": time.perf_counter() - start}
    found["first batch ms"] = seconds(lambda: one.rows(0)) * 1e3
    steps = [seconds(lambda step=step: one.rows(step)) * 1e3 for step in range(1, 3001)]
    found |= {"next batch ms, median": statistics.median(steps), "99%": float(np.percentile(steps, 99))}
    found["memory MB"] = peak() - before
    for far in (FAR // 10, FAR, FAR * 10):
        fresh = sampler()
        found[f"seek to {far:.0e} s"] = seconds(lambda far=far, fresh=fresh: fresh.rows(far))
    one.rows(FAR)
    state, other = json.loads(json.dumps(one.state_dict(FAR))), sampler()
    found["state kB"] = len(json.dumps(state)) / 1024
    found["resume ms"] = seconds(lambda: (other.load_state_dict(state), next(iter(other)))) * 1e3
    return found


def theirs(items: int, datasets: int) -> dict:
    """Measure sentence-transformers' ProportionalBatchSampler until every data set came up, and what it draws then."""
    import torch
    from sentence_transformers.base.sampler import DefaultBatchSampler, ProportionalBatchSampler
    from torch.utils.data import ConcatDataset, Dataset, SubsetRandomSampler

    class Numbers(Dataset):
        def __init__(self, size: int):
            self.size = size

        def __len__(self) -> int:
            return self.size

    before, start = peak(), time.perf_counter()
    generator = torch.Generator()
    sets = [Numbers(items // datasets) for _ in range(datasets)]
    batches = [
        DefaultBatchSampler(SubsetRandomSampler(range(len(one)), generator), 32, False, generator=generator)
        for one in sets
    ]
    sampler = ProportionalBatchSampler(ConcatDataset(sets), batches, generator, seed=7)
    iterator, seen, steps = iter(sampler), set(), 0
    next(iterator)
    first = time.perf_counter() - start
    while len(seen) < datasets and (batch := next(iterator, None)):
        seen.add(batch[0] // (items // datasets))
        steps += 1
    all_came = time.perf_counter() - start
    # Only now is every data set's order made: what is drawn from here on is what drawing costs.
    drawn = sum(1 for _ in islice(iterator, DRAWN))
    return {
        "first batch s": first,
        "batches until all data sets came": steps,
        "s until then": all_came,
        "a batch drawn, ms": (time.perf_counter() - start - all_came) / max(1, drawn) * 1e3,
        "MB": peak() - before,
    }


def measured(*arguments: object) -> dict:
    """Run this file in a fresh process."""
    command = [sys.executable, __file__, *map(str, arguments)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what it can be told."""
    parser.add_argument("--items", type=int, default=10**9)
    parser.add_argument("--languages", type=int, default=110)
    parser.add_argument("--other_memory_gb", type=float, default=4, help="where the peer's sizes end")


def run(given: argparse.Namespace) -> None:
    """Measure every mixture, and the peer at growing sizes, in turn."""
    sizes = ["--items", given.items, "--languages", given.languages]
    cases = {name: Case(f"next batch, {name}", "ms", memory_gb=0.0) for name in MIXTURES}
    cases |= {f"{name} far": Case(f"seek to {FAR:.0e}, {name}", "s") for name in MIXTURES}
    last, items, other = {}, 0, {}
    for _ in range(given.repeats):
        for name in MIXTURES:
            found = measured(*sizes, "--one", name)
            _add(cases[name], found["next batch ms, median"], found["memory MB"])
            cases[f"{name} far"].values.append(found[f"seek to {FAR:.0e} s"])
            last[name] = {key: round(value, 3) for key, value in found.items()}
        for items, other in _peer(given, sizes):
            name = f"sentence-transformers, {items:.0e} items"
            case = cases.setdefault(name, Case(f"next batch, {name}", "ms", memory_gb=0.0))
            _add(case, other["a batch drawn, ms"] * WORLD_SIZE, other["MB"])
            last[name] = {key: round(value, 3) for key, value in other.items()}
            cases[PROPORTIONAL].against = case.name
    each = other["MB"] * 2**20 / items
    notes = [
        f"{given.items:.0e} items, {given.languages} languages, {ROWS} rows of rank {RANK} of {WORLD_SIZE}",
        f"sentence-transformers: ProportionalBatchSampler over {given.languages**2} data sets; for its next batch a "
        f"rank draws those of all {WORLD_SIZE} (accelerate's BatchSamplerShard). '{PROPORTIONAL}' has the same shares.",
        *(f"{name}: {figures}" for name, figures in last.items()),
        f"{each:.0f} bytes an item: {each * given.items / 2**30:.0f} GB at {given.items:.0e} items",
    ]
    report(list(cases.values()), notes, given)


def _add(case: Case, milliseconds: float, megabytes: float) -> None:
    case.values.append(milliseconds)
    case.memory_gb = max(case.memory_gb, megabytes / 1e3)


def _peer(given: argparse.Namespace, sizes: list) -> Iterator[tuple[int, dict]]:
    """Measure sentence-transformers' sampler up to the largest size that it can hold; yields sizes and figures."""
    items = 10**6
    while True:
        found = measured(*sizes, "--other", items)
        yield items, found
        if found["MB"] * 3 > given.other_memory_gb * 1024 or items * 3 > given.items:
            return
        items *= 3


def main() -> None:
    """Measure one thing in this process; `measured` starts it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=10**9)
    parser.add_argument("--languages", type=int, default=110)
    parser.add_argument("--ranks", type=int, default=WORLD_SIZE)
    parser.add_argument("--one", choices=MIXTURES, help="a mixture of ours")
    parser.add_argument("--other", type=int, help="items of the peer's sampler")
    given = parser.parse_args()
    ours_of = (given.items, given.languages, given.one, given.ranks)
    print(json.dumps(ours(*ours_of) if given.one else theirs(given.other, given.languages**2)))


if __name__ == "__main__":
    main()
