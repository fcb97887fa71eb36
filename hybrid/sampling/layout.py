"""Where the items of a stream lie: a data set as ranges of items by the set of languages they have."""

from collections.abc import Sequence
from functools import lru_cache
from math import isqrt
from typing import Protocol

import numpy as np

from hybrid.sampling.config import MixtureError


class Layout(Protocol):
    """What the sampler knows of a data set. `blocks` go on from item 0: first item, end, indices of the languages of
    each item's query, and, unless it is None or missing, a fourth entry with those of its passage."""

    name: str
    digest: str
    languages: tuple[str, ...]  # sorted codes
    groups: np.ndarray | None  # int64 [items], 0..n_groups-1; None where unknown
    blocks: Sequence[tuple]


class Members:
    """Finds the items with a query in one language and a passage in another; languages (L) count as in the mixture.

    sizes: int64 [L, L], how many there are. before: int64 [√n + 1, L, L], how many before every √n-th of the n blocks,
    so that an item is found by looking at 2√n numbers.
    """

    def __init__(self, layout: Layout, languages: tuple[str, ...]):
        own = np.array([languages.index(code) for code in layout.languages])
        pieces = isqrt(len(layout.blocks)) or 1
        self.width = -(-len(layout.blocks) // pieces)
        self.starts, self.lengths = np.zeros((2, pieces * self.width), dtype=np.int64)
        self.asks, self.has = np.zeros((2, pieces * self.width, len(languages)), dtype=bool)
        for number, (start, stop, queries, *passages) in enumerate(layout.blocks):
            self.starts[number], self.lengths[number] = start, stop - start
            self.asks[number, own[list(queries)]] = True
            self.has[number, own[list(queries if not passages or passages[0] is None else passages[0])]] = True
        shape = pieces, self.width, len(languages)
        asked = (self.asks * self.lengths[:, None]).astype(float).reshape(shape)  # exact to 2**53
        sizes = asked.transpose(0, 2, 1) @ self.has.reshape(shape)
        self.before = np.concatenate([0 * sizes[:1], np.cumsum(sizes, axis=0)]).astype(np.int64)
        self.sizes, self.name, self.groups = self.before[-1], layout.name, layout.groups
        self.by_group = lru_cache(maxsize=64)(self._by_group)

    def usable(self, pairs: np.ndarray) -> int:
        """Return the number of items that are in at least one of the streams marked in bool [L, L]."""
        return int(self.lengths[((self.asks @ pairs) & self.has).any(axis=1)].sum())

    def items(self, query: np.ndarray, passage: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Return int64 [R]: of each row's stream, by its languages, the item at its place, counted from 0 in order."""
        piece = (self.before[1:, query, passage] <= places).sum(axis=0)
        places = places - self.before[piece, query, passage]
        blocks = piece[:, None] * self.width + np.arange(self.width)
        theirs = self.asks[blocks, query[:, None]] & self.has[blocks, passage[:, None]]
        ends = np.cumsum(theirs * self.lengths[blocks], axis=1)
        found = np.arange(len(places)), (ends <= places[:, None]).sum(axis=1)
        return self.starts[blocks[found]] + self.lengths[blocks[found]] - ends[found] + places

    def of_groups(self, query: int, passage: int, places: np.ndarray, turns: np.ndarray) -> np.ndarray:
        """Return an item of each of a stream's groups at `places`: item number `turns` of it, over and over."""
        items, bounds = self.by_group(query, passage)
        return items[bounds[places] + turns % (bounds[places + 1] - bounds[places])]

    def _by_group(self, query: int, passage: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the items of a stream sorted by group, and where each group starts among them, with the end."""
        if self.groups is None:
            raise MixtureError(f"mixture.unique_groups: data set {self.name!r} has no groups; set it to false.")
        blocks = np.flatnonzero(self.asks[:, query] & self.has[:, passage])
        items = np.concatenate(list(map(np.arange, self.starts[blocks], self.starts[blocks] + self.lengths[blocks])))
        items = items[np.argsort(self.groups[items], kind="stable")]
        return items, np.flatnonzero(np.diff(self.groups[items], prepend=-1, append=-1))
