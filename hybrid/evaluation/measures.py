"""Measures computed from the ranks of every relevant document.

Ranks of all relevant documents with the size of the pool hold all that these measures need, whatever the pool's size.
Names follow ir-measures with `_at_` for `@`, which MLflow does not admit in metric names.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hybrid.runtime.errors import InputError, nearest


@dataclass(frozen=True)
class Ranks:
    """The ranks of the relevant documents of n rankings, row after row.

    Attributes:
        offsets: int64 [n + 1]; ranking i has the entries offsets[i] to offsets[i + 1], at least one.
        rank: int64 [E], from 1, ascending within a ranking.
        pool_size: int64 [n].
    """

    offsets: np.ndarray
    rank: np.ndarray
    pool_size: np.ndarray

    @property
    def relevant(self) -> np.ndarray:
        """Return int64 [n], the number of relevant documents of each ranking."""
        return np.diff(self.offsets)

    def total(self, values: np.ndarray) -> np.ndarray:
        """Return float64 [n], the sum of [E] values over each ranking."""
        return np.add.reduceat(values.astype(np.float64), self.offsets[:-1])


def precisions(ranks: Ranks) -> np.ndarray:
    """Return float64 [E], the precision at the rank of each relevant document."""
    place = np.arange(len(ranks.rank)) - np.repeat(ranks.offsets[:-1], ranks.relevant) + 1
    return place / ranks.rank


def average_precision(ranks: Ranks) -> np.ndarray:
    """Return float64 [n], average precision over the whole pool."""
    return ranks.total(precisions(ranks)) / ranks.relevant


def average_precision_at(ranks: Ranks, k: int) -> np.ndarray:
    """Return float64 [n], XTREME-R's AP@k, whose divisor is min(number of relevant documents, k)."""
    return ranks.total(np.where(ranks.rank <= k, precisions(ranks), 0.0)) / np.minimum(ranks.relevant, k)


def recall_at(ranks: Ranks, k: int) -> np.ndarray:
    """Return float64 [n], the share of the relevant documents that are among the first k."""
    return ranks.total(ranks.rank <= k) / ranks.relevant


def capped_recall_at(ranks: Ranks, k: int) -> np.ndarray:
    """Return float64 [n], recall at k with the divisor min(number of relevant documents, k): 1 can be reached."""
    return ranks.total(ranks.rank <= k) / np.minimum(ranks.relevant, k)


def precision_at(ranks: Ranks, k: int) -> np.ndarray:
    """Return float64 [n], the share of the first k documents that are relevant; the divisor is k in any pool."""
    return ranks.total(ranks.rank <= k) / k


def ndcg_at(ranks: Ranks, k: int) -> np.ndarray:
    """Return float64 [n], nDCG at k with gain 1 and discount log2(rank + 1) (Järvelin & Kekäläinen 2002)."""
    gains = np.where(ranks.rank <= k, 1 / np.log2(ranks.rank + 1.0), 0.0)
    ideal = np.cumsum(1 / np.log2(np.arange(2, k + 2)))
    return ranks.total(gains) / ideal[np.minimum(ranks.relevant, k) - 1]


def rank_distance(ranks: Ranks) -> np.ndarray:
    """Return float64 [n], the largest minus the smallest rank (arXiv 2408.10536); NaN with one relevant document."""
    distance = ranks.rank[ranks.offsets[1:] - 1] - ranks.rank[ranks.offsets[:-1]]
    return np.where(ranks.relevant > 1, distance, np.nan)


def rank_distance_share(ranks: Ranks) -> np.ndarray:
    """Return float64 [n], the rank distance divided by the size of the pool."""
    return rank_distance(ranks) / ranks.pool_size


_PLAIN = {
    "map": average_precision,
    "accuracy": lambda ranks: recall_at(ranks, 1),
    "rank_distance": rank_distance,
    "rank_distance_share": rank_distance_share,
}
_CUT = {
    "map": average_precision_at,
    "recall": recall_at,
    "capped_recall": capped_recall_at,
    "precision": precision_at,
    "ndcg": ndcg_at,
}


def of_ranks(name: str) -> bool:
    """Return whether ranks and pool sizes are all that a measure of this name needs."""
    base, _, cut = name.rpartition("_at_")
    return name in _PLAIN or (base in _CUT and cut.isdecimal() and int(cut) > 0)


def measure(name: str) -> Callable[[Ranks], np.ndarray]:
    """Return the function of a measure's name, such as ``map``, ``recall_at_10`` or ``rank_distance``."""
    if name in _PLAIN:
        return _PLAIN[name]
    if of_ranks(name):
        base, _, cut = name.rpartition("_at_")
        return lambda ranks: _CUT[base](ranks, int(cut))
    known = [*_PLAIN, *(f"{base}_at_10" for base in _CUT)]
    raise InputError(f"measure {name!r} is not known{nearest(name, known)}; known: {', '.join(known)} with any cut.")
