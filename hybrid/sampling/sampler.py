"""The rows of every step and rank as a pure function of (seed, step, rank, world size)."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from itertools import count
from math import gcd

import numpy as np

from hybrid.sampling.config import MixtureConfig, MixtureError
from hybrid.sampling.keyed import hash64, key, permute
from hybrid.sampling.mixture import Mixture, Node
from hybrid.sampling.schedule import Schedule

SHARED = -1  # stands for the lane where a draw is made once for the whole global batch


@dataclass
class Rows:
    """One rank's rows (B) of one step."""

    step: int
    kind: str  # that of the global batch, or "mixed" where its rows may be of several
    rows: np.ndarray  # int64 [B, 4]: data set, item, query language, passage language (indices of the mixture's)
    streams: np.ndarray  # int64 [B], the stream that each row was drawn for
    passes: np.ndarray  # int64 [B], the pass over the stream's items that each row belongs to, from 0


@dataclass(eq=False)
class HybridBatchSampler:
    """Yields this rank's rows of one global batch after another; goes into a DataLoader with batch_size=None.

    A global batch (`global_batch` rows, all ranks together) depends on seed, mixture, data and step alone: ranks take
    consecutive slices of it. Iterating goes from `start_step`, which `load_state_dict` sets, to before `steps` (None:
    no end). It stays outside `accelerator.prepare`, which would shard it again. Raises MixtureError where ranks or
    lanes do not divide the batch, or a stream is too small for it.
    """

    mixture: Mixture
    global_batch: int
    seed: int
    rank: int = 0
    world_size: int = 1
    start_step: int = 0
    steps: int | None = None

    def __post_init__(self) -> None:
        of, config = self.mixture, self.mixture.config
        self.lanes = lanes_of(config, self.global_batch, self.world_size)
        self.lane_rows = self.global_batch // self.lanes
        self.shared = config.form == "hybrid"  # whether batches are drawn once for all lanes, only rows by each
        self.chunk = np.where(of.single, self.lane_rows, 1)  # int64 [S]: rows of a stream that a lane draws together
        self._check_sizes()
        here = self.global_batch // self.world_size
        first, end = self.rank * here, (self.rank + 1) * here
        self.own_lanes = range(first // self.lane_rows, -(-end // self.lane_rows))
        self.places = first % self.lane_rows + np.arange(min(here, self.lane_rows))  # this rank's rows of an own lane
        self.schedule = cache(self._schedule)

    def __iter__(self) -> Iterator[Rows]:
        return map(self.rows, count(self.start_step) if self.steps is None else range(self.start_step, self.steps))

    def state_dict(self, step: int) -> dict:
        """Return the state before `step` (the last trained one + 1: a DataLoader runs ahead) as plain values: what rows
        depend on, and this rank's counts, which save the next run counting them again (a seek)."""
        counts = []
        for lane, node, turns in self.nodes(step):
            schedule = self.schedule(node, lane)
            number = turns // schedule.size
            if number and schedule.period != 1:  # else they are known at once
                known = schedule.block(number)[0]
                # A loader that is far ahead drops this block.
                schedule.known = number, known
                counts.append({"lane": lane, "path": node.path, "block": number, "counts": known.tolist()})
        return self.identity() | {"mixture": asdict(self.mixture.config), "step": step, "counts": counts}

    def load_state_dict(self, state: dict) -> None:
        """Go on at the state's step, with any number of ranks; raises MixtureError if its rows would be others."""
        own, settings = self.identity(), asdict(self.mixture.config)
        changed = [(name, state.get(name), value) for name, value in own.items() if state.get(name) != value]
        if changed:
            changed += [(f"mixture.{k}", old, settings[k]) for k, old in state["mixture"].items() if old != settings[k]]
            told = "; ".join(f"{name} was {old} and is {new}" for name, old, new in changed)
            raise MixtureError(f"the sampler's state is of other batches: {told}; restore this, or start a new run.")
        self.start_step = state["step"]
        self.schedule.cache_clear()
        nodes = {node.path: node for node, _ in self.mixture.root.walk()}
        for known in state["counts"]:
            schedule = self.schedule(nodes[tuple(known["path"])], known["lane"])
            schedule.known = known["block"], np.array(known["counts"])

    def identity(self) -> dict:
        """Return what all rows depend on, as plain values; it is the same on every rank."""
        plan = {"seed": self.seed, "global_batch": self.global_batch, "lanes": self.lanes}
        data = {f"the digest of data set {layout.name!r}": layout.digest for layout in self.mixture.layouts}
        return plan | data | {"the digest of streams and shares": self.mixture.digest()}

    def nodes(self, turns: int, node: Node | None = None, lane: int = SHARED) -> Iterator[tuple[int, Node, int]]:
        """Yield lane, node and the node's turns before step `turns`, for all that this rank draws from."""
        node = node or self.mixture.root
        turns *= self.lane_rows if node.mixes else 1
        for own in self.own_lanes if lane == SHARED and (node.mixes or not self.shared) else [lane]:
            yield own, node, turns
            counts = self.schedule(node, own).counts(turns).tolist() if node.children else ()
            for child, before in zip(node.children, counts, strict=True):
                yield from self.nodes(before, child, own)

    def rows(self, step: int) -> Rows:
        """Return this rank's rows of a step, its lanes one after the other.

        A pass over a stream is cut into chunks (a lane's batch, or a row of a mixed one), dealt to the lanes in turn.
        Chunks that do not go round are left out of that pass.
        """
        of, drawn = self.mixture, [self.draw(step, lane, self.places) for lane in self.own_lanes]
        streams, turns = (np.concatenate(side) for side in zip(*drawn, strict=True))
        chunk, domain = self.chunk[streams], of.domain[streams]
        passes, turns = np.divmod(turns, domain // (self.lanes * chunk))
        lanes, places = np.repeat(self.own_lanes, len(self.places)), np.tile(self.places, len(self.own_lanes))
        places = (turns * self.lanes + lanes) * chunk + places % chunk
        items = of.items_at(streams, permute(places, domain, hash64(self._keys[streams], passes)), passes)
        columns = (of.dataset[streams], items, of.query[streams], of.passage[streams])
        several = len(of.kinds) > 1 and (of.root.mixes or (self.lanes > 1 and not self.shared))
        kind = "mixed" if several else of.kinds[of.kind[streams[0]]]
        return Rows(step, kind, np.stack(columns, axis=1), streams, passes)

    def draw(self, step: int, lane: int, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return, of the rows at `places` of a lane, the streams, and the chunks that the lane drew of these before."""
        node, turns = self.mixture.root, np.full(len(places), step)
        if self.shared:
            child, turns = self.schedule(node, SHARED).take(turns)
            node = node.children[child[0]]
        if node.mixes:
            turns = turns * self.lane_rows + permute(places, self.lane_rows, key(self.seed, "rows", lane, step))
        return self.streams(SHARED if self.shared and not node.mixes else lane, node, turns)

    def streams(self, lane: int, node: Node, turns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the stream of each of a node's int64 `turns` in a lane, and that stream's turns before it."""
        child, turns = self.schedule(node, lane).take(turns)
        if not node.children:
            return node.first + child, turns
        streams = np.empty_like(turns)
        for i in set(child.tolist()):
            here = child == i
            streams[here], turns[here] = self.streams(lane, node.children[i], turns[here])
        return streams, turns

    @cached_property
    def _keys(self) -> np.ndarray:
        names = map(self.mixture.name, range(len(self.mixture.items)))
        return np.array([key(self.seed, "stream", name) for name in names], dtype=np.uint64)

    def _schedule(self, node: Node, lane: int) -> Schedule:
        return Schedule(node.parts, key(self.seed, "schedule", lane, node.path), self.mixture.config.schedule)

    def _check_sizes(self) -> None:
        of, needed = self.mixture, self.chunk * self.lanes
        small = np.flatnonzero(of.domain < needed)
        if small.size:
            which = [f"{of.name(s)} ({of.domain[s]})" for s in small[:10].tolist()]
            most = int(needed[small].max())
            raise MixtureError(
                f"mixture: {small.size} streams have fewer items (or groups) than the {most} that a batch takes: "
                f"{', '.join(which)}; {self._remedies(small, needed)}."
            )

    def _remedies(self, small: np.ndarray, needed: np.ndarray) -> str:
        """Say what helps where the streams `small` have fewer items than the batch takes of them."""
        of, config, found = self.mixture, self.mixture.config, []
        whole, most = of.single[small], int(needed[small].max())
        if whole.all():
            found.append("set a smaller training.global_batch")
            if config.unique_groups and (of.items[small] >= needed[small]).all():
                found.append("mixture.unique_groups to false")
            elif not config.unique_groups and (of.items[small] >= self.lanes).all():
                found.append("mixture.form to mixed")
        elif not whole.any():  # of which each lane takes a row
            found.append("set mixture.unit to global")
        if (of.items[small] < needed[small]).all():  # it counts items, also where a pass is over groups
            left_out = int((of.items < most).sum()) - small.size
            others = f" (and {left_out} more)" if left_out > 0 else ""
            found.append(f"set mixture.min_items to {most}, which leaves them{others} out")
        return ", or ".join([*found, "exclude languages or pairs in mixture.exclude", "merge data sets"])


def lanes_of(config: MixtureConfig, batch: int, ranks: int = 1) -> int:
    """Return the number of lanes of a global batch; needs no data. Raises MixtureError where lanes do not divide the
    batch, or ranks the lanes (the batch where there is one lane)."""
    lanes = 1 if config.of_all_rows else config.lanes or gcd(batch, 8)
    if batch < 1 or batch % lanes:
        raise MixtureError(
            f"mixture.lanes is {lanes}, which does not divide training.global_batch {batch}; set lanes to one of "
            f"{_divisors(batch)}."
        )
    name, whole = ("training.global_batch", batch) if lanes == 1 else ("mixture.lanes", lanes)
    if whole % ranks:
        raise MixtureError(
            f"{ranks} processes do not divide {name} {whole}; start one of {_divisors(whole)} processes, or set "
            f"{_fitting(config, lanes, batch, ranks)}."
        )
    return lanes


def _fitting(config: MixtureConfig, lanes: int, batch: int, ranks: int) -> str:
    """Return the settings with which so many ranks do divide, each known to be taken."""
    if lanes > 1 and (fits := [value for value in range(ranks, batch + 1, ranks) if batch % value == 0]):
        return f"mixture.lanes to a multiple of {ranks} such as {' or '.join(map(str, fits[:2]))}"
    near = [value for value in (batch // ranks * ranks, (batch // ranks + 1) * ranks) if value]
    also = lanes > 1 and any((config.lanes or gcd(value, 8)) % ranks or value % (config.lanes or 1) for value in near)
    more = f", and mixture.lanes to {ranks}" if also else ""
    return f"training.global_batch to a multiple of {ranks} such as {' or '.join(map(str, near))}{more}"


def _divisors(whole: int) -> str:
    return ", ".join(str(value) for value in range(1, whole + 1) if whole % value == 0)
