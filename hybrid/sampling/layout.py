"""Where the items of a stream lie: a data set as ranges of items by the set of languages they have."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol

import numpy as np

# First item, end, indices of the languages of each item's query; a fourth entry that is not None has those of its
# passage, where they differ.
Block = tuple[int, int, tuple[int, ...]] | tuple[int, int, tuple[int, ...], tuple[int, ...] | None]


class Layout(Protocol):
    """What the sampler knows of a data set. It may have `kinds`, by default monolingual and cross_lingual."""

    name: str
    digest: str
    languages: tuple[str, ...]  # sorted codes
    blocks: Sequence[Block]  # consecutive, from item 0 on
    groups: np.ndarray | None  # int64 [items], 0..n_groups-1; None where unknown


class Members:
    """Counts and finds the items of a data set that have a query in one language and a passage in another.

    Stored: one bit a block and language. The ranges of a stream are made when it is drawn from.
    """

    def __init__(self, layout: Layout):
        self.groups = layout.groups
        self.starts = np.array([start for start, *_ in layout.blocks], dtype=np.int64)
        self.lengths = np.array([stop - start for start, stop, *_ in layout.blocks], dtype=np.int64)
        self.asks = np.zeros((len(layout.blocks), len(layout.languages)), dtype=bool)
        self.has = self.asks
        if any(len(block) > 3 and block[3] is not None for block in layout.blocks):
            self.has = np.zeros_like(self.asks)
        for number, (_, _, queries, *passages) in enumerate(layout.blocks):
            self.asks[number, list(queries)] = True
            self.has[number, list(queries if not passages or passages[0] is None else passages[0])] = True
        self.ranges = lru_cache(maxsize=256)(self._ranges)
        self.by_group = lru_cache(maxsize=64)(self._by_group)

    def sizes(self) -> np.ndarray:
        """Return int64 [L, L]: the items that have a query in the one and a passage in the other language."""
        total = np.zeros((self.has.shape[1],) * 2)
        for piece in range(0, len(self.has), 4096):  # floats are exact up to 2**53 items
            here = slice(piece, piece + 4096)
            total += (self.asks[here] * self.lengths[here, None].astype(float)).T @ self.has[here].astype(float)
        return total.astype(np.int64)

    def usable(self, pairs: np.ndarray) -> int:
        """Return the number of items that are in at least one of the streams marked in bool [L, L]."""
        return int(self.lengths[((self.asks @ pairs) & self.has).any(axis=1)].sum())

    def _ranges(self, query: int, passage: int) -> tuple[np.ndarray, np.ndarray]:
        blocks = np.flatnonzero(self.asks[:, query] & self.has[:, passage])
        return self.starts[blocks], np.concatenate(([0], np.cumsum(self.lengths[blocks])))

    def items(self, query: int, passage: int, places: np.ndarray) -> np.ndarray:
        """Return the items at int64 `places` of a stream, its items counted from 0 in their order."""
        starts, before = self.ranges(query, passage)
        block = np.searchsorted(before, places, side="right") - 1
        return starts[block] + places - before[block]

    def _by_group(self, query: int, passage: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the items of a stream sorted by group, and where each group starts among them, with the end."""
        items = self.items(query, passage, np.arange(self.ranges(query, passage)[1][-1]))
        items = items[np.argsort(self.groups[items], kind="stable")]
        new = np.flatnonzero(np.diff(self.groups[items])) + 1
        return items, np.concatenate(([0], new, [len(items)]))

    def of_groups(self, query: int, passage: int, places: np.ndarray, turns: np.ndarray) -> np.ndarray:
        """Return an item of the groups at `places`: item number `turns` of each group, over and over."""
        items, bounds = self.by_group(query, passage)
        return items[bounds[places] + turns % (bounds[places + 1] - bounds[places])]
