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
    """Counts of `steps` steps.

    branches: for each rank and branch of the tree: rank, level, name, share (of its node's turns), expected and got
        (turns: batches, or rows where rows are drawn one by one), deviation (largest |got - expected| over all prefixes
        of the node's turns and over the rank's lanes); for streams passes, and left_out (items of a pass that fill no
        batch). Ranks that share one lane have it in common: it stands under rank 0.
    rows: int64 [W, S], the rows of each stream on each rank.
    languages: for each language its epochs as query and as passage: rows by items that have it.
    duplicates: mean share of a global batch's rows whose group it has already; None where groups are unknown.
    """

    names: list[str]
    branches: list[dict]
    rows: np.ndarray
    languages: list[dict]
    duplicates: float | None


def audit(mixture: Mixture, global_batch: int, seed: int, world_size: int, steps: int) -> Audit:
    """Return what `steps` steps give; raises MixtureError as the sampler does."""
    samplers = [HybridBatchSampler(mixture, global_batch, seed, rank, world_size) for rank in range(world_size)]
    with_own_lanes = samplers if samplers[0].lanes > 1 else samplers[:1]
    branches = [row for sampler in with_own_lanes for row in _branches(sampler, steps)]
    rows = np.stack([_rows(sampler, steps) for sampler in samplers])
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


def _branches(sampler: HybridBatchSampler, steps: int) -> list[dict]:
    found: dict[tuple, dict] = {}
    for lane, node, turns in sampler.nodes(steps):
        got, deviation = _go_through(sampler.schedule(node, lane), turns)
        for i, share in enumerate(node.shares()):
            row = found.setdefault((node.path, i), _branch(sampler, node, i) | {"share": float(share)})
            row["expected"] += float(share * turns)
            row["got"] += int(got[i])
            row["deviation"] = max(row["deviation"], float(deviation[i]))
            if not node.children:
                stream, chunk = node.first + i, 1 if by_rows(sampler, lane) else sampler.lane_rows
                domain, lanes = int(sampler.mixture.domain[stream]), sampler.lanes
                own_lanes = 1 if lane == SHARED else len(sampler.own_lanes)
                row["passes"] = row.get("passes", 0.0) + float(got[i]) / (domain // (lanes * chunk)) / own_lanes
                row["left_out"] = domain % (lanes * chunk)
    return [found[place] for place in sorted(found, key=lambda place: (len(place[0]), place))]


def _branch(sampler: HybridBatchSampler, node: Node, child: int) -> dict:
    level = ("kind", "data set", "stream")[len(node.path)]
    row = {"rank": sampler.rank, "level": level, "name": branch_name(sampler.mixture, node, child)}
    return row | {"share": 0.0, "expected": 0.0, "got": 0, "deviation": 0.0}


def branch_name(mixture: Mixture, node: Node, child: int) -> str:
    """Return the path of a node's child as text, such as monolingual/squad/en."""
    return "/".join(node.children[child].path) if node.children else mixture.name(node.first + child)


def by_rows(sampler: HybridBatchSampler, lane: int) -> bool:
    """Return whether what a lane draws are rows, not batches."""
    form = sampler.mixture.config.form
    return form == "mixed" or (form == "hybrid" and lane != SHARED)


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


def _rows(sampler: HybridBatchSampler, steps: int) -> np.ndarray:
    """Return int64 [S], the rows of each stream that this rank gets."""
    of, here = sampler.mixture, sampler.global_batch // sampler.world_size
    rows = np.zeros(len(of.items), dtype=np.int64)
    if sampler.lanes == 1 and of.config.form != "single":  # rows are shuffled over the ranks, so each step is looked at
        places = np.arange(sampler.rank * here, (sampler.rank + 1) * here)
        for step in range(steps):
            rows += np.bincount(sampler.draw(step, 0, places)[0], minlength=len(rows))
        return rows
    for lane, node, turns in sampler.nodes(steps):
        if not node.children:
            each = 1 if by_rows(sampler, lane) else here if lane == SHARED or sampler.lanes == 1 else sampler.lane_rows
            counts = sampler.schedule(node, lane).counts(turns)
            rows[node.first : node.first + len(counts)] += counts * each
    return rows


def _languages(mixture: Mixture, rows: np.ndarray) -> list[dict]:
    size, items = len(mixture.languages), mixture.language_items
    epochs = [
        np.bincount(side, weights=rows, minlength=size) / np.maximum(items, 1)
        for side in (mixture.query, mixture.passage)
    ]
    return [
        {"language": code, "items": int(items[i]), "as query": float(epochs[0][i]), "as passage": float(epochs[1][i])}
        for i, code in enumerate(mixture.languages)
    ]


def _duplicates(sampler: HybridBatchSampler, steps: int) -> float | None:
    groups = [members.groups for members in sampler.mixture.members]
    if not steps or any(of is None for of in groups):
        return None
    shares = []
    for step in np.unique(np.linspace(0, steps - 1, SAMPLED).astype(int)).tolist():
        rows = sampler.rows(step).rows
        distinct = sum(len(np.unique(of[rows[rows[:, 0] == i, 1]])) for i, of in enumerate(groups))
        shares.append(1 - distinct / len(rows))
    return float(np.mean(shares))
