"""How sure a figure is: intervals over questions, paired tests, corrections.

A setting's figure is the mean over cells (query language, pool) of the mean over their queries. Translations of one
question are not independent, so questions are what is drawn and what is swapped, with all their translations in all
cells. Legend: Q questions, C cells, R resamples.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 2000
PERMUTATIONS = 9999


@dataclass(frozen=True)
class Values:
    """One measure of one setting: the sum and the number of the values of each question in each cell, [Q, C]."""

    questions: np.ndarray
    cells: tuple[str, ...]
    total_QC: np.ndarray
    count_QC: np.ndarray


def values(question: np.ndarray, cell: np.ndarray, value: np.ndarray) -> Values:
    """Arrange one row per query by question and cell; rows whose value is NaN (undefined there) are left out."""
    known = ~np.isnan(value)
    questions, row = np.unique(question[known], return_inverse=True)
    cells, column = np.unique(cell[known], return_inverse=True)
    shape = (len(questions), len(cells))
    place = row * shape[1] + column
    total = np.bincount(place, value[known], minlength=shape[0] * shape[1]).reshape(shape)
    count = np.bincount(place, minlength=shape[0] * shape[1]).reshape(shape)
    return Values(questions, tuple(cells.tolist()), total, count)


def mean(found: Values, weight_RQ: np.ndarray | None = None) -> np.ndarray:
    """Return float64 [R], the mean over cells of the cells' means when question q counts `weight_RQ` times."""
    weight_RQ = np.ones((1, len(found.questions))) if weight_RQ is None else weight_RQ
    total_RC, count_RC = weight_RQ @ found.total_QC, weight_RQ @ found.count_QC
    with np.errstate(invalid="ignore"):
        return np.nanmean(np.where(count_RC > 0, total_RC / count_RC, np.nan), axis=1)


def resampled(questions: int, seed: int, resamples: int = RESAMPLES) -> np.ndarray:
    """Return float64 [R, Q], how often each question is drawn in each bootstrap sample of all questions."""
    random = np.random.default_rng(seed)
    return random.multinomial(questions, np.full(questions, 1 / questions), resamples).astype(np.float64)


def interval(found: Values, seed: int = 0) -> tuple[float, float]:
    """Return the bootstrap percentile interval of 95% (Efron & Tibshirani 1993, ch. 13), clustered by question."""
    low, high = np.percentile(mean(found, resampled(len(found.questions), seed)), [2.5, 97.5])
    return float(low), float(high)


def shared(first: Values, second: Values) -> tuple[Values, Values]:
    """Return both restricted to the cells that they share and the questions that both have there, in one order."""
    questions = np.intersect1d(first.questions, second.questions)
    cells = tuple(cell for cell in first.cells if cell in set(second.cells))
    one, two = _only(first, questions, cells), _only(second, questions, cells)
    both = questions[one.count_QC.any(axis=1) & two.count_QC.any(axis=1)]
    return _only(one, both, cells), _only(two, both, cells)


def _only(found: Values, questions: np.ndarray, cells: tuple[str, ...]) -> Values:
    place = np.ix_(np.searchsorted(found.questions, questions), [found.cells.index(cell) for cell in cells])
    return Values(questions, cells, found.total_QC[place], found.count_QC[place])


@dataclass(frozen=True)
class Difference:
    """Second minus first on shared questions: its interval of 95% and the two-sided p of the randomization test."""

    mean: float
    low: float
    high: float
    p: float


def difference(first: Values, second: Values, seed: int = 0) -> Difference | None:
    """Compare two runs, paired by question; None where they share less than two questions.

    The test swaps the runs' values question by question (Smucker et al. 2007), with all translations of it at once.
    """
    from scipy.stats import permutation_test

    first, second = shared(first, second)
    if len(first.questions) < 2:
        return None
    weight = resampled(len(first.questions), seed)
    drawn = mean(second, weight) - mean(first, weight)
    low, high = np.percentile(drawn, [2.5, 97.5])
    share_Q = _contribution(second) - _contribution(first)
    test = permutation_test(
        (share_Q,),
        lambda x, axis: x.sum(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=PERMUTATIONS,
        batch=1000,
        rng=np.random.default_rng(seed),
    )
    return Difference(float(mean(second)[0] - mean(first)[0]), float(low), float(high), float(test.pvalue))


def _contribution(found: Values) -> np.ndarray:
    """Return float64 [Q], the part that each question has in the mean over cells."""
    count_C = found.count_QC.sum(axis=0)
    return (found.total_QC[:, count_C > 0] / count_C[count_C > 0]).mean(axis=1)


def holm(p: Sequence[float]) -> list[float]:
    """Return Holm's corrected p-values (1979), in the given order."""
    order = np.argsort(p)
    corrected = np.maximum.accumulate(np.minimum(1.0, (len(p) - np.arange(len(p))) * np.asarray(p)[order]))
    out = np.empty(len(p))
    out[order] = corrected
    return out.tolist()


def combined(seeds: Sequence[Values]) -> Values:
    """Return several seeds of one recipe as one run: each question's mean over the seeds, on what all of them share."""
    whole = seeds[0]
    for other in seeds[1:]:
        whole, _ = shared(whole, other)
    parts = [_only(seed, whole.questions, whole.cells) for seed in seeds]
    total = sum(part.total_QC for part in parts) / len(parts)
    return Values(whole.questions, whole.cells, np.asarray(total), whole.count_QC)
