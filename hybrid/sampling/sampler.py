"""The rows of every step and rank as a pure function of (seed, step, rank, world size)."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from math import gcd

import numpy as np

from hybrid.sampling.config import MixtureError
from hybrid.sampling.keyed import hash64, key, permute
from hybrid.sampling.mixture import Mixture, Node
from hybrid.sampling.schedule import Quota, Random, Schedule

SHARED = -1  # stands for the lane where a draw is made once for the whole global batch


@dataclass
class Rows:
    """One rank's rows of one step.

    rows: int64 [B, 4]: data set, item, query language, passage language (indices of the mixture's names and languages).
    streams: int64 [B]: the stream that each row was drawn for.
    passes: int64 [B]: the pass over its stream's items that each row belongs to, from 0.
    kind: the kind of the global batch, or "mixed" where its rows may be of several.
    """

    step: int
    kind: str
    rows: np.ndarray
    streams: np.ndarray
    passes: np.ndarray


@dataclass(eq=False)
class HybridBatchSampler:
    """Yields this rank's rows of one global batch after another; goes into a DataLoader with batch_size=None.

    A global batch depends on seed, mixture, data and step alone: ranks take consecutive slices of it. Iterating starts
    at `start_step`, which `load_state_dict` sets. It stays outside `accelerator.prepare`, which would shard it again.

    Args:
        global_batch: rows of one step, all ranks together.
        start_step: the first step to yield.
        steps: the step to stop before; None for no end.

    Raises MixtureError where ranks or lanes do not divide the batch, or a stream is too small for it.
    """

    mixture: Mixture
    global_batch: int
    seed: int
    rank: int = 0
    world_size: int = 1
    start_step: int = 0
    steps: int | None = None

    def __post_init__(self) -> None:
        config = self.mixture.config
        unit = config.unit or ("global" if config.form == "single" else "lane")
        self.lanes = 1 if unit == "global" else config.lanes or gcd(self.global_batch, 8)
        self.shared = config.form == "hybrid"  # whether batches are drawn once for all lanes, only rows by each
        self._check()
        self.lane_rows, here = self.global_batch // self.lanes, self.global_batch // self.world_size
        first, end = self.rank * here, (self.rank + 1) * here
        self.own_lanes = range(first // self.lane_rows, -(-end // self.lane_rows))
        self.places = first % self.lane_rows + np.arange(min(here, self.lane_rows))  # this rank's rows of an own lane
        self.schedule = cache(self._schedule)
        self._stream_key = cache(lambda stream: key(self.seed, "stream", self.mixture.name(stream)))

    def __iter__(self) -> Iterator[Rows]:
        step = self.start_step
        while self.steps is None or step < self.steps:
            yield self.rows(step)
            step += 1

    def __len__(self) -> int:
        if self.steps is None:
            raise TypeError("a sampler without `steps` has no length")
        return max(0, self.steps - self.start_step)

    def state_dict(self, step: int) -> dict:
        """Return the state before `step`, as plain values: what the rows depend on, and counts that save time.

        `step` is given because a DataLoader runs ahead: it is the last trained batch's step + 1. The counts are those
        of this rank's lanes; what a state lacks is counted again when it is first drawn from (a seek).
        """
        counts = []
        for lane, node, turns in self.nodes(step):
            schedule = self.schedule(node, lane)
            number = turns // schedule.size
            if number and schedule.period != 1:  # else they are known at once
                known = schedule.block(number)[0].tolist()
                counts.append({"lane": lane, "path": node.path, "block": number, "counts": known})
        return self._identity() | {"mixture": asdict(self.mixture.config), "step": step, "counts": counts}

    def load_state_dict(self, state: dict) -> None:
        """Go on at the state's step, with any number of ranks; raises MixtureError if its rows would be others."""
        own, settings = self._identity(), asdict(self.mixture.config)
        changed = [(name, state.get(name), value) for name, value in own.items() if state.get(name) != value]
        if changed:
            changed += [(f"mixture.{k}", old, settings[k]) for k, old in state["mixture"].items() if old != settings[k]]
            told = "; ".join(f"{name} was {old} and is {new}" for name, old, new in changed)
            raise MixtureError(f"the sampler's state is of other batches: {told}; restore this, or start a new run.")
        self.start_step = state["step"]
        self.schedule.cache_clear()
        nodes = {node.path: node for node in self.mixture.root.walk()}
        for known in state["counts"]:
            schedule = self.schedule(nodes[tuple(known["path"])], known["lane"])
            schedule.known = known["block"], np.array(known["counts"])

    def _identity(self) -> dict:
        plan = {"seed": self.seed, "global_batch": self.global_batch, "lanes": self.lanes}
        data = {f"the digest of data set {layout.name!r}": layout.digest for layout in self.mixture.layouts}
        return plan | data | {"the digest of streams and shares": self.mixture.digest()}

    def nodes(self, step: int) -> Iterator[tuple[int, Node, int]]:
        """Yield lane, node and the node's turns before `step`, for all that this rank draws from."""
        for lane in [SHARED] if self.shared else self.own_lanes:
            yield from self._below(self.mixture.root, lane, step)

    def _below(self, node: Node, lane: int, turns: int) -> Iterator[tuple[int, Node, int]]:
        turns *= self.lane_rows if node.mixes else 1
        for own in self.own_lanes if node.mixes and lane == SHARED else [lane]:
            yield own, node, turns
            counts = self.schedule(node, own).counts(turns).tolist() if node.children else ()
            for child, count in zip(node.children, counts, strict=True):
                yield from self._below(child, own, count)

    def rows(self, step: int) -> Rows:
        """Return this rank's rows of a step, its lanes one after the other."""
        of, pieces = self.mixture, []
        for lane in self.own_lanes:
            streams, ordinals, chunk = self.draw(step, lane, self.places)
            pieces.append((streams, *self._items(streams, ordinals, lane, chunk)))
        streams, items, passes = (np.concatenate(side) for side in zip(*pieces, strict=True))
        columns = (of.dataset[streams], items, of.query[streams], of.passage[streams])
        several = len(of.kinds) > 1 and (of.root.mixes or (self.lanes > 1 and not self.shared))
        kind = "mixed" if several else of.kinds[of.kind[streams[0]]]
        return Rows(step, kind, np.stack(columns, axis=1), streams, passes)

    def draw(self, step: int, lane: int, places: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
        """Return, for rows at `places` of a lane, their streams, their numbers among the lane's rows of that stream,
        and how many such rows are drawn together."""
        node, turn = self.mixture.root, np.array([step])
        while not node.mixes:
            child, turn = self.schedule(node, SHARED if self.shared else lane).take(turn)
            if not node.children:
                return np.repeat(node.first + child, len(places)), turn * self.lane_rows + places, self.lane_rows
            node = node.children[child[0]]
        slots = permute(places, self.lane_rows, key(self.seed, "rows", lane, step))
        return *self.streams(lane, node, turn * self.lane_rows + slots), 1

    def streams(self, lane: int, node: Node, turns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the stream of each of a node's int64 `turns` in a lane, and that stream's turns before it."""
        child, ordinal = self.schedule(node, lane).take(turns)
        if not node.children:
            return node.first + child, ordinal
        stream = np.empty_like(turns)
        for i in np.unique(child).tolist():
            here = child == i
            stream[here], ordinal[here] = self.streams(lane, node.children[i], ordinal[here])
        return stream, ordinal

    def _items(self, streams: np.ndarray, ordinals: np.ndarray, lane: int, chunk: int) -> tuple[np.ndarray, np.ndarray]:
        """Return item and pass of each row from its stream and its number among that stream's rows of the lane.

        A pass over a stream is cut into chunks (a lane's batch, or a row of a mixed one), dealt to the lanes in turn.
        Chunks that do not go round are left out of that pass.
        """
        domain = self.mixture.domain[streams]
        turn, place = ordinals // chunk, ordinals % chunk
        passes, turn = np.divmod(turn, domain // (self.lanes * chunk))
        distinct, which = np.unique(streams, return_inverse=True)
        keys = np.array([self._stream_key(stream) for stream in distinct.tolist()], dtype=np.uint64)[which]
        places = permute((turn * self.lanes + lane) * chunk + place, domain, hash64(keys, passes))
        for i, stream in enumerate(distinct.tolist()):
            here = slice(None) if len(distinct) == 1 else which == i
            places[here] = self.mixture.items_at(stream, places[here], passes[here])
        return places, passes

    def _schedule(self, node: Node, lane: int) -> Schedule:
        kind = Quota if self.mixture.config.schedule == "quota" else Random
        return kind(node.parts, key(self.seed, "schedule", lane, node.path))

    def _check(self) -> None:
        of, batch, lanes, ranks = self.mixture, self.global_batch, self.lanes, self.world_size
        if batch < 1 or batch % lanes:
            raise MixtureError(
                f"mixture.lanes is {lanes}, which does not divide training.global_batch {batch}; set lanes to one of "
                f"{_divisors(batch)}."
            )
        name, whole = ("training.global_batch", batch) if lanes == 1 else ("mixture.lanes", lanes)
        if whole % ranks:
            fits = " or ".join(str(value) for value in (whole // ranks * ranks, (whole // ranks + 1) * ranks) if value)
            raise MixtureError(
                f"{ranks} processes do not divide {name} {whole}; start one of {_divisors(whole)} processes, or set "
                f"{name} to a multiple of {ranks} such as {fits}."
            )
        single = np.array([of.is_single(kind) for kind in range(len(of.kinds))])
        needed = np.where(single[of.kind], batch, lanes)
        small = np.flatnonzero(of.domain < needed)
        if small.size:
            which = [f"{of.name(s)} ({of.domain[s]})" for s in small[:10].tolist()]
            raise MixtureError(
                f"mixture: {small.size} streams have fewer items (or groups) than the {needed[small[0]]} that a batch "
                f"takes: {', '.join(which)}; set mixture.min_items to {needed[small[0]]} to leave them out, or a "
                "smaller training.global_batch, or mixture.form to mixed, or merge data sets, or exclude languages."
            )


def _divisors(whole: int) -> str:
    return ", ".join(str(value) for value in range(1, whole + 1) if whole % value == 0)
