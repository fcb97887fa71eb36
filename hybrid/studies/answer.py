"""One sentence out of a comparison: which arm is best, by how much, and whether the spread allows to say so."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hybrid.evaluation.compare import Row, compare
from hybrid.evaluation.runs import Recipe
from hybrid.evaluation.statistics import mean
from hybrid.evaluation.table import number
from hybrid.studies.study import Comparison

LEVEL = 0.05


@dataclass(frozen=True)
class Against:
    """The best arm beside another."""

    row: Row
    """The other arm's figures, with the difference other minus best."""
    seeds: tuple[float, ...]
    """Best minus other, seed by seed."""

    @property
    def decided(self) -> bool:
        """Whether the interval leaves 0 out, the test agrees, and the seeds have one sign."""
        row, signs = self.row, {np.sign(value) for value in self.seeds}
        return (row.difference_low > 0 or row.difference_high < 0) and row.corrected < LEVEL and len(signs) == 1


@dataclass(frozen=True)
class Answer:
    """What a comparison comes to: the best arm's figures and each of the others beside it."""

    comparison: Comparison
    missing: tuple[str, ...]
    of: tuple[str, ...] = ()
    best: Row | None = None
    seeds: int = 0
    others: tuple[Against, ...] = ()

    @property
    def verdict(self) -> str:
        """Whether the best arm beats all others, in a word or two; it does not while one of them has not run."""
        if not self.best:
            return "None yet."
        beaten = [other.decided and self._better(other.row) for other in self.others]
        lost = [other.decided and not self._better(other.row) for other in self.others]
        if all(beaten) and not set(self.missing).intersection(self.comparison.against):
            return "Yes."
        if any(lost):
            return "No."
        return "In part." if any(beaten) else "The spread allows no answer."

    def _better(self, row: Row) -> bool:
        return (row.difference < 0) != self.comparison.lower_is_better

    def sentence(self) -> str:
        """Return it as one sentence; it says so where arms are missing or the spread allows no answer."""
        asked = self.comparison
        without = f" (without {', '.join(self.missing)}: not run, or without this figure)" if self.missing else ""
        place = f"On {asked.task}, {asked.setting} {asked.measure}{without}"
        if not self.best:
            return f"{place}: no answer yet."
        among = f" is the best of {', '.join(self.of)}" if len(self.of) > 1 else ""
        spread = "one run" if self.best.spread is None else f"sd {number(self.best.spread)} over {self.seeds} seeds"
        figure = f"{number(self.best.mean)} ({spread})"
        return (
            f"{place}: {self.best.recipe}{among}{' with' if among else ' has'} {figure}; "
            f"{'; '.join(self._beside(other) for other in self.others)}."
        )

    def _beside(self, other: Against) -> str:
        row = other.row
        low, high = 0.0 - row.difference_high, 0.0 - row.difference_low
        figures = f"{number(low)} to {number(high)}, p {number(row.corrected)}"
        text = f"{number(abs(row.difference))} {'above' if row.difference < 0 else 'below'} {row.recipe}"
        if other.decided:
            return f"it is {text} ({figures}), so {'better' if self._better(row) else 'worse'}"
        signs = " and the sign changes between seeds" if len({np.sign(value) for value in other.seeds}) > 1 else ""
        return f"against {row.recipe} the spread allows no answer ({text}, {figures}{signs})"


def answer(comparison: Comparison, recipes: Mapping[str, Recipe]) -> Answer:
    """Hold the best arm of those asked about against each of the others.

    Intervals and p (randomization test, Holm's correction) draw questions. Seeds are compared in pairs; an arm without
    seeds is compared with each of the other's: a difference that changes its sign between seeds is no answer.
    """
    of, against = ([recipes[name] for name in names if _has(comparison, recipes, name)] for names in _sides(comparison))
    missing = tuple(name for names in _sides(comparison) for name in names if not _has(comparison, recipes, name))
    if not of or not against:
        return Answer(comparison, missing)
    sign = -1 if comparison.lower_is_better else 1
    best = max(of, key=lambda recipe: sign * np.mean(seed_means(comparison, recipe)))
    rows = compare([best, *against], best, [comparison.measure])
    place = f"{comparison.task}/{comparison.setting}"
    first, *rest = [row for row in rows if row.place == place]
    others = tuple(
        Against(row, seed_differences(comparison, best, other)) for row, other in zip(rest, against, strict=True)
    )
    return Answer(comparison, missing, tuple(recipe.name for recipe in of), first, len(best.seeds), others)


def _sides(comparison: Comparison) -> tuple[list[str], list[str]]:
    return comparison.of, comparison.against


def _has(comparison: Comparison, recipes: Mapping[str, Recipe], name: str) -> bool:
    if name not in recipes or comparison.task not in recipes[name].tasks:
        return False
    return comparison.measure in recipes[name].measures(comparison.task, comparison.setting)


def seed_means(comparison: Comparison, recipe: Recipe) -> list[float]:
    """Return a recipe's figure of each seed."""
    _, seeds = recipe.values(comparison.task, comparison.setting, comparison.measure)
    return [float(mean(seed)[0]) for seed in seeds]


def seed_differences(comparison: Comparison, first: Recipe, second: Recipe) -> tuple[float, ...]:
    """Return first minus second for each seed that both have; a recipe of one run stands beside every seed of the
    other."""
    one, two = seed_means(comparison, first), seed_means(comparison, second)
    if len(one) == 1 or len(two) == 1:
        return tuple(a - b for a in one for b in two)
    by_seed = [dict(zip(_seed_numbers(recipe), means, strict=True)) for recipe, means in ((first, one), (second, two))]
    return tuple(value - by_seed[1][seed] for seed, value in by_seed[0].items() if seed in by_seed[1])


def _seed_numbers(recipe: Recipe) -> list[int]:
    """Return the seed of each run, its place where the run does not tell."""
    return [seed.config.get("training.seed", place) for place, seed in enumerate(recipe.seeds)]
