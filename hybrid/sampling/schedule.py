"""Which child of one node each of the node's turns goes to, known in advance.

`Quota` keeps, for every child i and after any number t of turns, |count_i(t) - share_i * t| < 1: Tijdeman's chairman
assignment (1980, "The chairman assignment problem", Discrete Mathematics 32). It is used in the form of Baruah et al.
(1996, "Proportionate progress"): the bound holds if and only if turn number j of child i (from 0) falls into its window
[floor(j / share_i), ceil((j + 1) / share_i)). By Hall's theorem such an assignment exists and can be built from left to
right: a turn may go to any child whose window is open, as long as for every later d no more windows are left to end by
d than there are turns until d. Among the children allowed, the seed chooses.
"""

import heapq
from math import gcd

import numpy as np

from hybrid.sampling.keyed import hash64, uniform

BLOCK = 512  # turns that are laid out at once
CLOSED = 1024  # shares with a common denominator up to this get blocks at whose ends every count is exact
KEPT = 4  # laid-out blocks that are kept


class Schedule:
    """The turns of one node, in blocks; what children share is here, the choice is in `Quota` and `Random`.

    Args:
        parts: int64 or object [n], positive, without a common divisor; child i has the share parts[i] / sum(parts).
        key: 64 bits that settle what the shares leave open.

    `known`, which a state sets, is a block and all counts before it: nothing before it is gone through.
    """

    def __init__(self, parts: np.ndarray, key: int):
        self.parts, self.key, self.total, self.size = parts, key, sum(parts.tolist()), BLOCK
        self.period = 1 if len(parts) == 1 else 0  # blocks after which all counts are exactly their shares; 0 if never
        self.known: tuple[int, np.ndarray] = (0, np.zeros(len(parts), dtype=np.int64))
        self._blocks: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def take(self, turns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return, for int64 turn numbers, the child that each goes to and that child's turns before it."""
        if len(self.parts) == 1:
            return np.zeros_like(turns), turns
        found, numbers = np.empty((2, len(turns)), dtype=np.int64), turns // self.size
        for number in np.unique(numbers).tolist():
            here = numbers == number
            found[:, here] = self.block(number)[1][:, turns[here] - number * self.size]
        return found[0], found[1]

    def counts(self, turns: int) -> np.ndarray:
        """Return int64 [n], how many of the first `turns` turns each child has."""
        number, inside = divmod(turns, self.size)
        counts, (child, _) = self.block(number)
        return counts + np.bincount(child[:inside], minlength=len(counts))

    def block(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Return int64 [n], every child's count before a block, and int64 [2, size], for each of the block's turns the
        child and that child's turns before it. It is come to from the nearest block where the counts are known."""
        if number not in self._blocks:
            at = number - number % self.period if self.period else 0
            counts = (self.parts * (at * self.size // self.total)).astype(np.int64)
            if at < self.known[0] <= number:
                at, counts = self.known
            for known, (before, turns) in self._blocks.items():
                if at <= known < number:
                    at, counts = known + 1, before + np.bincount(turns[0], minlength=len(before))
            for n in range(at, number):
                counts = counts + np.bincount(self._served(n, counts)[0], minlength=len(counts))
            child = self._in_order(*self._served(number, counts))
            block = counts, np.stack([child, counts[child] + _occurrence(child)])
            self._blocks = dict([*self._blocks.items(), (number, block)][-KEPT:])
        return self._blocks[number]

    def _in_order(self, child: np.ndarray) -> np.ndarray:
        return child


class Random(Schedule):
    """Independent draws by share, as in arXiv 2408.10536."""

    def _served(self, number: int, counts: np.ndarray) -> tuple[np.ndarray]:
        edges = np.cumsum(self.parts / self.total).astype(float)[:-1]
        draws = uniform(self.key, number * self.size + np.arange(self.size))
        return (np.searchsorted(edges, draws, side="right"),)


class Quota(Schedule):
    """Every child's count within one of its share of the turns, after any number of turns."""

    def __init__(self, parts: np.ndarray, key: int):
        super().__init__(parts, key)
        self.uniform = self.total == len(parts)
        if self.uniform or self.total <= CLOSED:
            self.size = self.total * -(-BLOCK // self.total)
        self.period = self.total // gcd(self.total, self.size)

    def _served(self, number: int, counts: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return child, first turn, end and wished turn of the windows that a block serves, in turns from its start.

        Served are those that come up if of all open windows the one that ends first always goes first: this settles
        the counts at the block's end. Products are exact: Python integers where 64 bits could overflow.
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
        opens = np.maximum(opens, 0)
        if self.period == 1:  # all windows that open in the block end in it
            return child, opens, ends, wish
        order = np.lexsort((wish, ends))
        opening: list[list[int]] = [[] for _ in range(self.size)]
        for place, at in enumerate(opens[order].tolist()):
            opening[at].append(place)
        waiting, first_to_end = opening[0], []  # in ascending order, so a heap already
        for places in [[], *opening[1:]]:
            for place in places:
                heapq.heappush(waiting, place)
            first_to_end.append(heapq.heappop(waiting))
        served = order[first_to_end]
        return child[served], opens[served], ends[served], wish[served]

    def _in_order(self, child: np.ndarray, opens: np.ndarray, ends: np.ndarray, wish: np.ndarray) -> np.ndarray:
        if self.uniform:  # windows are equal or disjoint, so any order inside them will do
            return child[np.lexsort((wish, ends))]
        return child[_by_wish(opens, np.minimum(ends, self.size), wish)]


def _by_wish(opens: np.ndarray, ends: np.ndarray, wish: np.ndarray) -> np.ndarray:
    """Return an order of windows, one a turn, each inside its window, by wished turn as far as that can be.

    spare[d] is the number of turns until d less the number of windows left that end by d. A window that ends after the
    first d without spare has to wait. The last d never has any, as there are as many windows as turns.
    """
    size, by_end = len(opens), np.argsort(ends, kind="stable")
    opens, ends, wish = opens[by_end], ends[by_end], wish[by_end]
    ending_by = np.searchsorted(ends, np.arange(size + 1), side="right")
    spare, order = np.arange(size + 1) - ending_by, np.empty(size, dtype=np.int64)
    for turn in range(size):
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
