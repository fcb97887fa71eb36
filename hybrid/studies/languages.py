"""Figures by the language of the query: languages seen in training and others, consistency over languages."""

from collections.abc import Sequence, Set
from itertools import combinations

import numpy as np

from hybrid.evaluation.runs import Recipe
from hybrid.evaluation.statistics import Values, interval, mean
from hybrid.evaluation.table import markdown, number
from hybrid.studies.study import Comparison


def seen_table(comparison: Comparison, recipes: Sequence[Recipe], seen: Sequence[Set[str]]) -> str:
    """Return each recipe's figure over queries in languages of its training and over those in others, as Markdown.

    Args:
        recipes: that have the comparison's task.
        seen: the languages of each recipe's training.
    """
    rows = []
    for recipe, languages in zip(recipes, seen, strict=True):
        whole, _ = recipe.values(comparison.task, comparison.setting, comparison.measure)
        inside = np.array([_language(cell) in languages for cell in whole.cells])
        known = sorted({_language(cell) for cell, yes in zip(whole.cells, inside, strict=True) if yes})
        rows.append([recipe.name, " ".join(known) or "-", _figure(whole, inside), _figure(whole, ~inside)])
    return markdown(["arm", "query languages seen", "seen", "unseen"], rows)


def consistency_table(comparison: Comparison, recipes: Sequence[Recipe]) -> str:
    """Return how even each recipe is over query languages, as Markdown.

    Consistency is the mean over pairs of languages of the questions answered right (value 1) in both among those
    answered right in one or the other, a Jaccard index over the questions that both have; the question whether larger
    encoders raise it is that of Qi et al. 2023 (arXiv 2310.10378). It is for settings with one pool for each language
    and measures of 1 or 0.
    """
    rows = []
    for recipe in recipes:
        whole, _ = recipe.values(comparison.task, comparison.setting, comparison.measure)
        by_language = _by_language(whole)
        figures = [float(mean(_only(whole, np.array(_cells_of(whole, name))))[0]) for name in by_language]
        spread = [np.mean(figures), np.min(figures), np.max(figures), np.std(figures)]
        rows.append([recipe.name, *map(number, map(float, spread)), number(consistency(recipe, comparison))])
    return markdown(["arm", "mean", "lowest language", "highest language", "sd over languages", "consistency"], rows)


def consistency(recipe: Recipe, comparison: Comparison) -> float | None:
    """Return the overlap of right answers over all pairs of languages, the mean over seeds; None without a pair."""
    _, seeds = recipe.values(comparison.task, comparison.setting, comparison.measure)
    found = [value for seed in seeds if (value := _overlap(seed)) is not None]
    return float(np.mean(found)) if found else None


def _overlap(found: Values) -> float | None:
    """Return the mean over pairs of languages, of the questions that both ask: a language is not wrong where it lacks
    the question."""
    cells = [_cells_of(found, language) for language in _by_language(found)]
    asked = [found.count_QC[:, own].sum(axis=1) > 0 for own in cells]
    right = [found.total_QC[:, own].sum(axis=1) > 0 for own in cells]
    shares = []
    for a, b in combinations(range(len(cells)), 2):
        both = asked[a] & asked[b]
        if either := (both & (right[a] | right[b])).sum():
            shares.append((both & right[a] & right[b]).sum() / either)
    return float(np.mean(shares)) if shares else None


def _by_language(found: Values) -> list[str]:
    return sorted({_language(cell) for cell in found.cells})


def _cells_of(found: Values, language: str) -> list[bool]:
    return [_language(cell) == language for cell in found.cells]


def _language(cell: str) -> str:
    return cell.partition(">")[0]


def _only(found: Values, inside: np.ndarray) -> Values:
    cells = tuple(cell for cell, yes in zip(found.cells, inside, strict=True) if yes)
    return Values(found.questions, cells, found.total_QC[:, inside], found.count_QC[:, inside])


def _figure(found: Values, inside: np.ndarray) -> str:
    if not inside.any():
        return "-"
    part = _only(found, inside)
    low, high = interval(part)
    return f"{number(float(mean(part)[0]))} ({number(low)} to {number(high)})"
