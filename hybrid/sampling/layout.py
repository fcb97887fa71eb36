"""Where the items of a stream lie: a data set as ranges of items by the set of languages they have."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol

import numpy as np


class Layout(Protocol):
    """What the sampler knows of a data set."""

    name: str
    digest: str
    languages: tuple[str, ...]  # sorted codes
    groups: np.ndarray | None  # int64 [items], 0..n_groups-1; None where unknown
    blocks: Sequence[tuple]
    """Consecutive, from item 0 on: first item, end, indices of the languages of each item's query; a fourth entry that
    is not None has those of its passage, where they differ."""


class Members:
    """Counts and finds the items of a data set that have a query in one language and a passage in another.

    Languages (L) are numbered as in the mixture. The ranges of a stream are made when it is drawn from.
    """

    def __init__(self, layout: Layout, languages: tuple[str, ...]):
        own = np.array([languages.index(code) for code in layout.languages])
        self.groups = layout.groups
        self.starts = np.array([start for start, *_ in layout.blocks], dtype=np.int64)
        self.lengths = np.array([stop - start for start, stop, *_ in layout.blocks], dtype=np.int64)
        self.asks, self.has = np.zeros((2, len(layout.blocks), len(languages)), dtype=bool)
        for number, (_, _, queries, *passages) in enumerate(layout.blocks):
            self.asks[number, own[list(queries)]] = True
            self.has[number, own[list(queries if not passages or passages[0] is None else passages[0])]] = True
        self.ranges = lru_cache(maxsize=256)(self._ranges)
        self.by_group = lru_cache(maxsize=64)(self._by_group)

    def sizes(self) -> np.ndarray:
        """Return int64 [L, L]: the items that have a query in the one and a passage in the other language."""
        asked = self.asks.T * self.lengths.astype(float)  # exact up to 2**53 items
        return (asked @ self.has).astype(np.int64)

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
