"""Which child of one node each of the node's turns goes to, known in advance.

`Quota` keeps, for every child i and after any number t of turns, |count_i(t) - share_i * t| < 1: Tijdeman's chairman
assignment (1980, "The chairman assignment problem", Discrete Mathematics 32). It is used in the form of Baruah et al.
(1996, "Proportionate progress"): the bound holds if and only if turn number j of child i (from 0) falls into its window
[floor(j / share_i), ceil((j + 1) / share_i)). By Hall's theorem such an assignment exists and can be built from left to
right: a turn may go to any child whose window is open, as long as for every later d no more windows are left to end by
d than there are turns until d. Among the children allowed, the seed chooses.
"""

import heapq
from collections import OrderedDict
from dataclasses import dataclass
from math import gcd

import numpy as np

from hybrid.sampling.keyed import hash64, uniform

BLOCK = 512  # turns that are laid out at once
CLOSED = 1024  # shares with a common denominator up to this get blocks at whose ends every count is exact
KEPT = 4  # laid-out blocks, and counts at starts of blocks, that are kept


@dataclass
class Block:
    """A stretch of turns: the child of each, and how many turns that child had before."""

    child: np.ndarray
    ordinal: np.ndarray


class Schedule:
    """The turns of one node, in blocks; what children share is here, the choice is in `Quota` and `Random`.

    Args:
        parts: int64 or object [n], positive; child i has the share parts[i] / sum(parts).
        key: 64 bits that settle what the shares leave open.
    """

    size = BLOCK
    period = 0  # blocks after which every count is exactly its share, so that they can be computed; 0 if never

    def __init__(self, parts: np.ndarray, key: int):
        self.parts, self.key, self.total = parts, key, sum(parts.tolist())
        self._blocks: OrderedDict[int, Block] = OrderedDict()
        self._starts: OrderedDict[int, np.ndarray] = OrderedDict()

    def take(self, turns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return, for int64 turn numbers, the child that each goes to and that child's turns before it."""
        if len(self.parts) == 1:
            return np.zeros_like(turns), turns
        child, ordinal = np.empty_like(turns), np.empty_like(turns)
        numbers = turns // self.size
        for number in np.unique(numbers).tolist():
            here, block = numbers == number, self._block(number)
            places = turns[here] - number * self.size
            child[here], ordinal[here] = block.child[places], block.ordinal[places]
        return child, ordinal

    def counts(self, turns: int) -> np.ndarray:
        """Return int64 [n], how many of the first `turns` turns each child has."""
        if len(self.parts) == 1:
            return np.array([turns])
        number, inside = divmod(turns, self.size)
        return self.start(number) + np.bincount(self._block(number).child[:inside], minlength=len(self.parts))

    def start(self, number: int) -> np.ndarray:
        """Return every child's count at the first turn of block `number`, going on from the nearest known block."""
        if number not in self._starts:
            exact = number - number % self.period if self.period else 0
            known = max((n for n in self._starts if exact < n < number), default=exact)
            counts = (
                self._starts[known]
                if known > exact
                else (self.parts * (exact * self.size // self.total)).astype(np.int64)
            )
            for n in range(known, number):
                counts = self._end(n, counts)
            self.restore(number, counts)
        return self._starts[number]

    def restore(self, number: int, counts: np.ndarray) -> None:
        """Take `counts` for those at the start of block `number`: nothing before it is gone through then."""
        _keep(self._starts, number, counts)

    def _block(self, number: int) -> Block:
        if number not in self._blocks:
            counts = self.start(number)
            child = self._lay_out(number, counts)
            _keep(self._blocks, number, Block(child, counts[child] + _occurrence(child)))
            _keep(self._starts, number + 1, counts + np.bincount(child, minlength=len(counts)))
        return self._blocks[number]

    def _lay_out(self, number: int, counts: np.ndarray) -> np.ndarray:
        """Return the child of each turn of a block."""
        raise NotImplementedError

    def _end(self, number: int, counts: np.ndarray) -> np.ndarray:
        """Return the counts at the end of a block from those at its start."""
        return counts + np.bincount(self._lay_out(number, counts), minlength=len(counts))


class Random(Schedule):
    """Independent draws by share, as in arXiv 2408.10536."""

    def _lay_out(self, number: int, counts: np.ndarray) -> np.ndarray:
        edges = np.cumsum(self.parts / self.total).astype(float)[:-1]
        return np.searchsorted(edges, uniform(self.key, number * self.size + np.arange(self.size)), side="right")


class Quota(Schedule):
    """Every child's count within one of its share of the turns, after any number of turns."""

    def __init__(self, parts: np.ndarray, key: int):
        divisor = gcd(*parts.tolist())
        super().__init__(parts // divisor, key)
        self.uniform = self.total == len(parts)
        if self.uniform or self.total <= CLOSED:
            self.size = self.total * -(-BLOCK // self.total)
        self.period = self.total // gcd(self.total, self.size)

    def _lay_out(self, number: int, counts: np.ndarray) -> np.ndarray:
        child, opens, ends, wish = self._windows(number, counts)
        if self.uniform:  # windows are equal or disjoint, so any order inside them will do
            return child[np.lexsort((wish, ends))]
        if self.period > 1:
            done = self._first_to_end(opens, ends, wish)
            child, opens, ends, wish = child[done], opens[done], ends[done], wish[done]
        return child[_by_wish(opens, np.minimum(ends, self.size), wish)]

    def _end(self, number: int, counts: np.ndarray) -> np.ndarray:
        child, opens, ends, wish = self._windows(number, counts)
        return counts + np.bincount(child[self._first_to_end(opens, ends, wish)], minlength=len(counts))

    def _windows(self, number: int, counts: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return child, first turn, end, and wished turn of all that is undone and opens before the block's end.

        Turns are counted from the block's start. Products are exact: Python integers where 64 bits could overflow.
        """
        first, last = number * self.size, (number + 1) * self.size
        parts = self.parts.astype(object) if self.total * (last + 2) >= 2**62 else self.parts
        undone = (-(-parts * last // self.total)).astype(np.int64) - counts
        child = np.repeat(np.arange(len(parts)), undone)
        turn, part = counts[child] + _occurrence(child), parts[child]
        exact = turn.astype(parts.dtype)
        opens = (exact * self.total // part - first).astype(np.int64)
        ends = (-(-(exact + 1) * self.total // part) - first).astype(np.int64)
        wish = opens + (ends - opens) * uniform(hash64(self.key, child), turn)
        return child, np.maximum(opens, 0), ends, wish

    def _first_to_end(self, opens: np.ndarray, ends: np.ndarray, wish: np.ndarray) -> np.ndarray:
        """Return which windows the block serves if the one that ends first always goes first.

        This settles the counts at the block's end, from which the next one goes on; the order inside is settled later.
        """
        order = np.lexsort((wish, ends))
        opening = np.argsort(opens[order], kind="stable")
        bounds = np.searchsorted(opens[order][opening], np.arange(self.size + 1)).tolist()
        opening, heap, done = opening.tolist(), [], []
        for turn in range(self.size):
            for place in opening[bounds[turn] : bounds[turn + 1]]:
                heapq.heappush(heap, place)
            done.append(heapq.heappop(heap))
        return order[done]


def _by_wish(opens: np.ndarray, ends: np.ndarray, wish: np.ndarray) -> np.ndarray:
    """Return an order of windows, one a turn, each inside its window, by wished turn as far as that can be.

    spare[d] is the number of turns until d less the number of windows left that end by d. A window that ends after the
    first d without spare has to wait. The last d never has any, as there are as many windows as turns.
    """
    size = len(opens)
    by_end = np.argsort(ends, kind="stable")
    opens, ends, wish = opens[by_end], ends[by_end], wish[by_end]
    ending_by = np.searchsorted(ends, np.arange(size + 1), side="right")
    spare = np.arange(size + 1) - ending_by
    opening = np.argsort(opens, kind="stable")
    bounds = np.searchsorted(opens[opening], np.arange(size + 1))
    waiting, order = np.full(size, np.inf), np.empty(size, np.int64)
    for turn in range(size):
        new = opening[bounds[turn] : bounds[turn + 1]]
        waiting[new] = wish[new]
        tight = turn + 1 + int((spare[turn + 1 :] == 0).argmax())
        chosen = int(waiting[: ending_by[tight]].argmin())
        waiting[chosen] = np.inf
        spare[turn + 1 : ends[chosen]] -= 1
        order[turn] = by_end[chosen]
    return order


def _occurrence(values: np.ndarray) -> np.ndarray:
    """Return how many equal values stand before each element."""
    order = np.argsort(values, kind="stable")
    in_order = values[order]
    first = np.concatenate(([True], in_order[1:] != in_order[:-1]))
    ordinal = np.empty_like(order)
    ordinal[order] = np.arange(len(values)) - np.flatnonzero(first)[np.cumsum(first) - 1]
    return ordinal


def _keep(cache: OrderedDict, number: int, value: object) -> None:
    """Put a value into a small cache that forgets what was put in first."""
    cache[number] = value
    cache.move_to_end(number)
    while len(cache) > KEPT:
        cache.popitem(last=False)
