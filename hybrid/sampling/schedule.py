"""Which child of one node each of the node's turns goes to, known in advance.

`quota` keeps, for every child i and after any number t of turns, |count_i(t) - share_i * t| < 1: Tijdeman's chairman
assignment (1980, Discrete Mathematics 32), in the form of Baruah et al. (1996, "Proportionate progress"): that holds if
and only if turn j of child i (from 0) falls into its window [floor(j / share_i), ceil((j + 1) / share_i)). By Hall's
theorem it can be built from left to right: a turn may go to any child whose window is open, as long as for every later
d no more windows are left to end by d than there are turns until d. Among the children allowed, the seed chooses.
"""

import heapq
from math import gcd

import numpy as np

from hybrid.sampling.keyed import hash64, uniform

BLOCK = 512  # turns that are laid out at once
CLOSED = 1024  # shares with a common denominator up to this get blocks at whose ends every count is exact
KEPT = 4  # laid-out blocks that are kept


class Schedule:
    """The turns of one node, in blocks: `quota`, or `random`: independent draws by share, as in arXiv 2408.10536.

    Child i has the share parts[i] / sum(parts); parts: int64 or object [n], positive, without a common divisor. What
    shares leave open is settled by `key`. `known`, which a state sets, is a block and all counts before it.
    """

    def __init__(self, parts: np.ndarray, key: int, kind: str = "quota"):
        self.parts, self.key, self.quota, self.total = parts, key, kind == "quota", sum(parts.tolist())
        self.even = self.total == len(parts)
        whole = self.quota and (self.even or self.total <= CLOSED)
        self.size = self.total * -(-BLOCK // self.total) if whole else BLOCK
        # The blocks after which all counts are exactly their shares; 0 if never.
        self.period = self.total // gcd(self.total, self.size) if self.quota or self.total == 1 else 0
        self.known: tuple[int, np.ndarray] = (0, np.zeros(len(parts), dtype=np.int64))
        self._blocks: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def take(self, turns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return, for int64 turn numbers, the child that each goes to and that child's turns before it."""
        if len(self.parts) == 1:
            return np.zeros_like(turns), turns
        found, numbers = np.empty((2, len(turns)), dtype=np.int64), turns // self.size
        for number in sorted(set(numbers.tolist())):  # each block is come to from the one before
            here = numbers == number
            found[:, here] = self.block(number)[1][:, turns[here] - number * self.size]
        return found[0], found[1]

    def counts(self, turns: int) -> np.ndarray:
        """Return int64 [n], how many of the first `turns` turns each child has."""
        number, inside = divmod(turns, self.size)
        counts, (child, _) = self.block(number)
        return counts + np.bincount(child[:inside], minlength=len(counts))

    def block(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Return int64 [n], every child's count before a block, and int64 [2, size]: of each of its turns the child and
        that child's turns before. A block is come to from the nearest where the counts are known."""
        if number not in self._blocks:
            whole = number - number % self.period if self.period else 0
            starts = {whole: (self.parts * (whole * self.size // self.total)).astype(np.int64)} | dict([self.known])
            starts |= {n + 1: counts + self._count(child) for n, (counts, (child, _)) in self._blocks.items()}
            at = max(start for start in starts if start <= number)
            counts = starts[at]
            for n in range(at, number):
                counts = counts + self._count(self._served(n, counts)[0])
            child, *windows = self._served(number, counts)
            child = child[self._by_wish(*windows)] if self.quota else child
            block = counts, np.stack([child, counts[child] + _occurrence(child)])
            self._blocks = dict([*self._blocks.items(), (number, block)][-KEPT:])
        return self._blocks[number]

    def _count(self, child: np.ndarray) -> np.ndarray:
        return np.bincount(child, minlength=len(self.parts))

    def _served(self, number: int, counts: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return child, first turn, end and wished turn of the windows that a block serves, in turns from its start.

        Served are those that come up if of all open windows the one that ends first always goes first: this settles
        the counts at the block's end. Products are exact: Python integers where 64 bits could overflow. Of `random`
        draws the children alone are returned, in their order.
        """
        first, last = number * self.size, (number + 1) * self.size
        if not self.quota:
            edges = np.cumsum(self.parts / self.total).astype(float)[:-1]
            return (np.searchsorted(edges, uniform(self.key, np.arange(first, last)), side="right"),)
        parts = self.parts.astype(object) if self.total * (last + 2) >= 2**62 else self.parts
        undone = (-(-parts * last // self.total)).astype(np.int64) - counts
        child = np.repeat(np.arange(len(parts)), undone)
        turn, part = counts[child] + _occurrence(child), parts[child]
        exact = turn.astype(parts.dtype)
        opens = (exact * self.total // part - first).astype(np.int64)
        ends = (-(-(exact + 1) * self.total // part) - first).astype(np.int64)
        wish = opens + (ends - opens) * uniform(hash64(self.key, child), turn)
        opens = np.maximum(opens, 0)
        if self.period == 1:  # all windows that open in the block end in it
            return child, opens, ends, wish
        order = np.lexsort((wish, ends))
        opening: list[list[int]] = [[] for _ in range(self.size)]
        for place, at in enumerate(opens[order].tolist()):
            opening[at].append(place)
        waiting, first_to_end = [], []
        for places in opening:
            for place in places:
                heapq.heappush(waiting, place)
            first_to_end.append(heapq.heappop(waiting))
        served = order[first_to_end]
        return child[served], opens[served], ends[served], wish[served]

    def _by_wish(self, opens: np.ndarray, ends: np.ndarray, wish: np.ndarray) -> np.ndarray:
        """Return an order of windows, one a turn, each inside its window, by wished turn as far as that can be.

        spare[d] is the number of turns until d less the number of windows left that end by d. A window that ends after
        the first d without spare has to wait. The last d never has any, as there are as many windows as turns.
        """
        if self.even:  # windows are equal or disjoint, so any order inside them will do
            return np.lexsort((wish, ends))
        by_end = np.argsort(ends, kind="stable")
        opens, ends, wish = opens[by_end], np.minimum(ends, self.size)[by_end], wish[by_end]
        ending_by = np.searchsorted(ends, np.arange(self.size + 1), side="right")
        spare, order = np.arange(self.size + 1) - ending_by, np.empty(self.size, dtype=np.int64)
        for turn in range(self.size):
            tight = ending_by[turn + 1 + int((spare[turn + 1 :] == 0).argmax())]
            chosen = int(np.where(opens[:tight] <= turn, wish[:tight], np.inf).argmin())
            order[turn], wish[chosen] = by_end[chosen], np.inf
            spare[turn + 1 : ends[chosen]] -= 1
        return order


def _occurrence(values: np.ndarray) -> np.ndarray:
    """Return how many equal values stand before each element."""
    order = np.argsort(values, kind="stable")
    ordinal = np.empty_like(order)
    ordinal[order] = np.arange(len(values)) - np.searchsorted(values[order], values[order])
    return ordinal
