"""The rows of every step and rank as a pure function of (seed, step, rank, world size)."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
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
    kind: the kind of the global batch, or "mixed" where its rows may be of several.
    """

    step: int
    kind: str
    rows: np.ndarray
    streams: np.ndarray


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

    def __init__(
        self,
        mixture: Mixture,
        global_batch: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        start_step: int = 0,
        steps: int | None = None,
    ):
        self.mixture, self.global_batch, self.seed = mixture, global_batch, seed
        self.rank, self.world_size, self.start_step, self.steps = rank, world_size, start_step, steps
        self.lanes = _lanes(mixture, global_batch)
        self.lane_rows = global_batch // self.lanes
        _check_ranks(world_size, self.lanes, global_batch)
        self._check_sizes()
        self._schedules: dict[tuple, Schedule] = {}
        self._stream_keys: dict[int, int] = {}
        self._restored: dict[tuple, tuple[int, list[int]]] = {}

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
        settings = {"mixture": asdict(self.mixture.config)}
        return self._identity() | settings | {"step": step, "counts": list(self._counts(step))}

    def load_state_dict(self, state: dict) -> None:
        """Go on at the state's step, with any number of ranks; raises MixtureError if its rows would be others."""
        own, settings = self._identity(), asdict(self.mixture.config)
        changed = [(name, state.get(name), value) for name, value in own.items() if state.get(name) != value]
        if changed:
            changed += [(f"mixture.{k}", old, settings[k]) for k, old in state["mixture"].items() if old != settings[k]]
            told = "; ".join(f"{name} was {old} and is {new}" for name, old, new in changed)
            raise MixtureError(f"the sampler's state is of other batches: {told}; restore this, or start a new run.")
        self.start_step = state["step"]
        self._schedules.clear()
        self._restored = {(c["lane"], tuple(c["path"])): (c["block"], c["counts"]) for c in state["counts"]}

    def _identity(self) -> dict:
        of = self.mixture
        plan = {"seed": self.seed, "global_batch": self.global_batch, "lanes": self.lanes}
        data = {f"the digest of data set {layout.name!r}": layout.digest for layout in of.layouts}
        return plan | data | {"the digest of streams and shares": of.digest()}

    def nodes(self, step: int) -> Iterator[tuple[int, Node, int]]:
        """Yield lane, node and the node's turns before `step`, for all that this rank draws from."""
        of, own = self.mixture, self.own_lanes()
        if of.config.form == "hybrid":
            todo = [(SHARED, of.root, step)]
        else:
            todo = [(lane, of.root, step * (1 if of.config.form == "single" else self.lane_rows)) for lane in own]
        while todo:
            lane, node, turns = todo.pop()
            yield lane, node, turns
            counts = self.schedule(node, lane).counts(turns).tolist() if node.children else []
            for i, (child, count) in enumerate(zip(node.children, counts, strict=True)):
                if lane == SHARED and not node.path and not of.is_single(i):
                    todo += [(own_lane, child, count * self.lane_rows) for own_lane in own]
                else:
                    todo.append((lane, child, count))

    def _counts(self, step: int) -> Iterator[dict]:
        """Yield the counts at the start of every block that `step` falls into, where they are not known at once."""
        for lane, node, turns in self.nodes(step):
            schedule = self.schedule(node, lane)
            number = turns // schedule.size
            if number and len(node.parts) > 1 and schedule.period != 1:
                counts = schedule.start(number).tolist()
                yield {"lane": lane, "path": node.path, "block": number, "counts": counts}

    def own_lanes(self) -> list[int]:
        """Return the lanes that this rank holds, all of them or a slice of the only one."""
        each = max(1, self.lanes // self.world_size)
        return list(range(self.rank * each, (self.rank + 1) * each)) if self.lanes > 1 else [0]

    def rows(self, step: int) -> Rows:
        """Return this rank's rows of a step: its slice of the one lane, or its lanes one after the other."""
        here = self.global_batch // self.world_size
        places = np.arange(self.rank * here, (self.rank + 1) * here) if self.lanes == 1 else np.arange(self.lane_rows)
        pieces = []
        for lane in self.own_lanes():
            streams, ordinals, chunk = self.draw(step, lane, places)
            pieces.append((streams, self._items(streams, ordinals, lane, chunk)))
        streams, items = (np.concatenate(side) for side in zip(*pieces, strict=True))
        of = self.mixture
        columns = (of.dataset[streams], items, of.query[streams], of.passage[streams])
        return Rows(step, self.kind(step), np.stack(columns, axis=1), streams)

    def kind(self, step: int) -> str:
        """Return the kind of the global batch of a step, or "mixed" where its rows may be of several kinds."""
        kinds, form = self.mixture.kinds, self.mixture.config.form
        if len(kinds) > 1 and (form == "mixed" or (form == "single" and self.lanes > 1)):
            return "mixed"
        return kinds[self.schedule(self.mixture.root, self._drawn_by(0)).take(np.array([step]))[0][0]]

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

    def draw(self, step: int, lane: int, places: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
        """Return, for rows at `places` of a lane, their streams, their numbers among the lane's rows of that stream,
        and how many such rows are drawn together."""
        node, turn, drawn_by = self.mixture.root, np.array([step]), self._drawn_by(lane)
        if self.mixture.config.form == "hybrid":
            kind, turn = self.schedule(node, drawn_by).take(turn)
            node = node.children[kind[0]]
        if self.mixture.config.form == "single" or (node.path and self.mixture.is_single(kind[0])):
            stream, turn = self.streams(drawn_by, node, turn)
            return np.repeat(stream, len(places)), turn * self.lane_rows + places, self.lane_rows
        slots = permute(places, self.lane_rows, key(self.seed, "rows", lane, step))
        return *self.streams(lane, node, turn * self.lane_rows + slots), 1

    def _items(self, streams: np.ndarray, ordinals: np.ndarray, lane: int, chunk: int) -> np.ndarray:
        """Return the item of each row from its stream and its number among that stream's rows of the lane.

        A pass over a stream is cut into chunks (a lane's batch, or a row of a mixed one), dealt to the lanes in turn.
        Chunks that do not go round are left out of that pass.
        """
        domain = self.mixture.domain[streams]
        turn, place = ordinals // chunk, ordinals % chunk
        each = domain // (self.lanes * chunk)
        passes = turn // each
        places = ((turn % each) * self.lanes + lane) * chunk + place
        distinct, which = np.unique(streams, return_inverse=True)
        keys = np.array([self._stream_key(stream) for stream in distinct.tolist()], dtype=np.uint64)[which]
        places = permute(places, domain, hash64(keys, passes))
        for i, stream in enumerate(distinct.tolist()):
            here = slice(None) if len(distinct) == 1 else which == i
            places[here] = self.mixture.items_at(stream, places[here], passes[here])
        return places

    def _stream_key(self, stream: int) -> int:
        if stream not in self._stream_keys:
            self._stream_keys[stream] = key(self.seed, "stream", self.mixture.name(stream))
        return self._stream_keys[stream]

    def _drawn_by(self, lane: int) -> int:
        return SHARED if self.mixture.config.form == "hybrid" else lane

    def schedule(self, node: Node, lane: int) -> Schedule:
        """Return the schedule of a node in a lane."""
        if (lane, node.path) not in self._schedules:
            kind = Quota if self.mixture.config.schedule == "quota" else Random
            made = kind(node.parts, key(self.seed, "schedule", lane, node.path))
            if (lane, node.path) in self._restored:
                number, counts = self._restored[lane, node.path]
                made.restore(number, np.array(counts))
            self._schedules[lane, node.path] = made
        return self._schedules[lane, node.path]

    def _check_sizes(self) -> None:
        single = np.array([self.mixture.is_single(kind) for kind in range(len(self.mixture.kinds))])
        needed = np.where(single[self.mixture.kind], self.global_batch, self.lanes)
        small = np.flatnonzero(self.mixture.domain < needed)
        if small.size:
            which = [f"{self.mixture.name(s)} ({self.mixture.domain[s]})" for s in small[:10].tolist()]
            raise MixtureError(
                f"mixture: {small.size} streams have fewer items (or groups) than the {needed[small[0]]} that a batch "
                f"takes: {', '.join(which)}; set mixture.min_items to {needed[small[0]]} to leave them out, or a "
                "smaller training.global_batch, or mixture.form to mixed, or merge data sets, or exclude languages."
            )


def _lanes(mixture: Mixture, global_batch: int) -> int:
    config = mixture.config
    unit = config.unit or ("global" if config.form == "single" else "lane")
    lanes = 1 if unit == "global" else config.lanes or gcd(global_batch, 8)
    if global_batch < 1 or global_batch % lanes:
        raise MixtureError(
            f"mixture.lanes is {lanes}, which does not divide training.global_batch {global_batch}; set lanes to one "
            f"of {_divisors(global_batch)}."
        )
    return lanes


def _check_ranks(world_size: int, lanes: int, global_batch: int) -> None:
    name, whole = ("training.global_batch", global_batch) if lanes == 1 else ("mixture.lanes", lanes)
    if whole % world_size:
        near = whole // world_size * world_size
        fits = " or ".join(str(value) for value in (near, near + world_size) if value)
        raise MixtureError(
            f"{world_size} processes do not divide {name} {whole}; start one of {_divisors(whole)} processes, or set "
            f"{name} to a multiple of {world_size} such as {fits}."
        )


def _divisors(whole: int) -> str:
    return ", ".join(str(value) for value in range(1, whole + 1) if whole % value == 0)
