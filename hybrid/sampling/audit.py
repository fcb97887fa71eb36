"""What a mixture gives to every stream and rank in a number of steps, found by going through its schedules."""

from dataclasses import dataclass

import numpy as np

from hybrid.sampling.mixture import Mixture, Node
from hybrid.sampling.sampler import SHARED, HybridBatchSampler
from hybrid.sampling.schedule import Schedule

PIECE = 2**20  # turns that are looked at together
SAMPLED = 50  # steps whose duplicates are counted


@dataclass
class Audit:
    """What a number of steps give; `branches` has, for each rank and branch of the tree, a dictionary of

    rank, level, name, share (of its node's turns: batches, or rows where rows are drawn one by one), expected and got
    (turns), deviation (largest |got - expected| over all prefixes of these turns and over the rank's lanes); for
    streams passes, and left_out (items of a pass that fill no batch). Ranks that share one lane stand under rank 0.
    """

    names: list[str]  # of the streams
    branches: list[dict]
    rows: np.ndarray  # int64 [W, S], the rows of each stream on each rank
    languages: list[dict]  # epochs of each as query and as passage: rows by items that have one in it
    duplicates: float | None
    """Mean share of a global batch's rows whose group, within their data set, it has already; None: unknown."""


def audit(mixture: Mixture, global_batch: int, seed: int, world_size: int, steps: int) -> Audit:
    """Return what `steps` steps give; raises MixtureError as the sampler does."""
    samplers = [HybridBatchSampler(mixture, global_batch, seed, rank, world_size) for rank in range(world_size)]
    rows, one_lane = np.zeros((world_size, len(mixture.items)), dtype=np.int64), samplers[0].lanes == 1
    branches = [row for one in samplers[: 1 if one_lane else None] for row in _branches(one, steps, rows[one.rank])]
    if one_lane:  # its rows are shuffled over the ranks, so each step is looked at
        ranks, rows[:] = np.repeat(np.arange(world_size), global_batch // world_size), 0
        for step in range(steps):
            np.add.at(rows, (ranks, samplers[0].draw(step, 0, np.arange(global_batch))[0]), 1)
    names = [mixture.name(stream) for stream in range(rows.shape[1])]
    duplicates = _duplicates(HybridBatchSampler(mixture, global_batch, seed), steps)
    return Audit(names, branches, rows, _languages(mixture, rows.sum(axis=0)), duplicates)


def differences(audit: Audit, counts: dict[str, int]) -> list[str]:
    """Hold a finished run's rows by stream name against an audit of as many steps; return a sentence per difference."""
    expected = dict(zip(audit.names, audit.rows.sum(axis=0).tolist(), strict=True))
    return [
        f"{name}: {counts.get(name, 0)} rows trained, {expected.get(name, 0)} expected"
        for name in sorted(expected.keys() | counts.keys())
        if counts.get(name, 0) != expected.get(name, 0)
    ]


def _branches(sampler: HybridBatchSampler, steps: int, rows: np.ndarray) -> list[dict]:
    """Return the rank's branches, and add its rows of each stream to int64 [S] `rows`."""
    of, found = sampler.mixture, {}
    for lane, node, turns in sampler.nodes(steps):
        got, deviation = _go_through(sampler.schedule(node, lane), turns)
        alike = len(sampler.own_lanes) if lane == SHARED else 1  # lanes that get the same batches
        for i, share in enumerate(node.shares()):
            place = {"rank": sampler.rank, "level": ("kind", "data set", "stream")[len(node.path)]}
            start = place | {"name": branch_name(of, node, i), "share": float(share)}
            row = found.setdefault((node.path, i), start | {"expected": 0.0, "got": 0, "deviation": 0.0})
            row["expected"] += float(share * turns)
            row["got"] += int(got[i])
            row["deviation"] = max(row["deviation"], float(deviation[i]))
            if not node.children:
                stream = node.first + i
                domain, chunk = int(of.domain[stream]), int(sampler.chunk[stream])
                passes = float(got[i]) / (domain // (sampler.lanes * chunk)) / (len(sampler.own_lanes) // alike)
                row["passes"] = row.get("passes", 0.0) + passes
                row["left_out"] = domain % (sampler.lanes * chunk)
                rows[stream] += got[i] * chunk * alike
    return [found[place] for place in sorted(found, key=lambda place: (len(place[0]), place))]


def branch_name(mixture: Mixture, node: Node, child: int) -> str:
    """Return the path of a node's child as text, such as monolingual/squad/en."""
    return "/".join(node.children[child].path) if node.children else mixture.name(node.first + child)


def _go_through(schedule: Schedule, turns: int) -> tuple[np.ndarray, np.ndarray]:
    """Return each child's count, and its largest distance from share * turns at any moment.

    The distance is largest just before or just after a turn of the child, or at the end; it is exact until it is
    divided by the common denominator at last.
    """
    parts, total = schedule.parts, schedule.total
    if total * (turns + 1) >= 2**62:
        parts = parts.astype(object)
    got, largest = np.zeros(len(parts), dtype=np.int64), np.zeros_like(parts)
    for start in range(0, turns, PIECE):
        turn = np.arange(start, min(start + PIECE, turns))
        child, before = schedule.take(turn)
        part, before, turn = parts[child], before.astype(parts.dtype), turn.astype(parts.dtype)
        late = part * turn - before * total
        np.maximum.at(largest, child, np.maximum(late, (before + 1) * total - part * (turn + 1)))
        got += np.bincount(child, minlength=len(parts))
    return got, np.maximum(largest, abs(got * total - parts * turns)) / total


def _languages(mixture: Mixture, rows: np.ndarray) -> list[dict]:
    found = {"language": mixture.languages}
    found |= {"queries": mixture.queries.tolist(), "passages": mixture.passages.tolist()}
    sides = (("as query", mixture.query, mixture.queries), ("as passage", mixture.passage, mixture.passages))
    for name, side, items in sides:
        found[name] = (np.bincount(side, weights=rows, minlength=len(items)) / np.maximum(items, 1)).tolist()
    return [dict(zip(found, row, strict=True)) for row in zip(*found.values(), strict=True)]


def _duplicates(sampler: HybridBatchSampler, steps: int) -> float | None:
    groups = [layout.groups for layout in sampler.mixture.layouts]
    if not steps or any(of is None for of in groups):
        return None
    shares = []
    for step in np.unique(np.linspace(0, steps - 1, SAMPLED).astype(int)).tolist():
        rows = sampler.rows(step).rows
        distinct = sum(len(np.unique(of[rows[rows[:, 0] == i, 1]])) for i, of in enumerate(groups))
        shares.append(1 - distinct / len(rows))
    return float(np.mean(shares))
