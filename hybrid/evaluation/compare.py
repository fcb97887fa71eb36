"""Compare results: ``python -m hybrid.evaluation.compare DIR_OR_RUN [NAME=DIR,DIR ...] [--baseline NAME]``.

Prints a table for each task and setting with 95% intervals, differences from the baseline with paired randomization
tests and Holm's correction; writes the same as Markdown and HTML, with figures. ``--log`` puts all of it in MLflow.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from pathlib import Path

import numpy as np
from jsonargparse import ArgumentParser

from hybrid.evaluation.conditions import (
    LENGTHS,
    conditions_table,
    differing,
    warn_of_more_than_models,
    warn_of_unknown,
)
from hybrid.evaluation.plots import bars, curves, points
from hybrid.evaluation.runs import Recipe, read_recipe
from hybrid.evaluation.statistics import difference, holm, interval, mean
from hybrid.evaluation.table import COLUMNS, markdown, number
from hybrid.evaluation.webpage import page
from hybrid.runtime.errors import InputError, nearest
from hybrid.runtime.files import atomic_file
from hybrid.runtime.logs import bad_input_told, log, warn
from hybrid.runtime.tracking import Tracker, TrackingConfig


@dataclass
class Row:
    """A recipe's figure of one measure of one task and setting, and its difference from the baseline's."""

    place: str
    recipe: str
    measure: str
    mean: float
    low: float
    high: float
    spread: float | None = None
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None
    p: float | None = None
    corrected: float | None = None


def compare(recipes: Sequence[Recipe], baseline: Recipe, measures: Sequence[str]) -> list[Row]:
    """Return all figures; p-values are corrected together within a task, setting and measure.

    `spread` is the standard deviation over the seeds of a recipe; intervals and tests draw questions, not seeds.
    """
    rows: list[Row] = []
    for task in sorted(set.union(*(recipe.tasks for recipe in recipes))):
        having = [recipe for recipe in recipes if task in recipe.tasks]
        _refuse_other_data(task, having)
        warn_of_more_than_models(task, having)
        for setting, names in _common(task, having, measures).items():
            for name in names:
                rows += _rows(f"{task}/{setting}", task, setting, name, having, baseline)
    return rows


def check_measures(recipes: Sequence[Recipe], asked: Sequence[str]) -> None:
    """Raise InputError for a measure that was asked for and that no run has, with those that they have."""
    there = {
        name
        for recipe in recipes
        for task in recipe.tasks
        for setting in recipe.settings(task)
        for name in recipe.measures(task, setting)
    }
    for name in asked:
        if name not in there:
            raise InputError(
                f"--measures: {name!r} has no value in any of the runs{nearest(name, there)}; they have "
                f"{', '.join(sorted(there))} (what is not defined stands with its reason in scores.json)."
            )


def _common(task: str, recipes: Sequence[Recipe], measures: Sequence[str]) -> dict[str, list[str]]:
    """Return the measures that all recipes have, by setting; warns of those that some have and others lack."""
    common: dict[str, list[str]] = {}
    lacked: dict[tuple[str, ...], list[str]] = {}
    for setting in dict.fromkeys(setting for recipe in recipes for setting in recipe.settings(task)):
        has = {recipe.name: recipe.measures(task, setting) for recipe in recipes}
        for name in measures:
            lacking = tuple(recipe for recipe, names in has.items() if name not in names)
            if not lacking:
                common.setdefault(setting, []).append(name)
            elif len(lacking) < len(has):
                lacked.setdefault(lacking, []).append(f"{setting}/{name}")
    for lacking, names in lacked.items():
        warn(
            f"task {task}: not compared is what {', '.join(lacking)} lacks: {', '.join(names)}; score all with the "
            "same settings, such as --reader, to compare it."
        )
    return common


def _refuse_other_data(task: str, recipes: Sequence[Recipe]) -> None:
    found = {recipe.name: {seed.tasks[task].scores["revision"] for seed in recipe.seeds} for recipe in recipes}
    if len(set.union(*found.values())) > 1:
        lengths = {key: values for key, values in differing(task, recipes).items() if key in LENGTHS}
        shown = "".join(f" ({key}: {' against '.join(values)})" for key, values in lengths.items())
        raise InputError(
            f"task {task} was scored on different data or with other lengths by {', '.join(found)}{shown}; score them "
            "again on the same files, or compare them apart."
        )


def _rows(place: str, task: str, setting: str, name: str, recipes: Sequence[Recipe], baseline: Recipe) -> list[Row]:
    against = baseline.values(task, setting, name)[0] if task in baseline.tasks else None
    rows = []
    for recipe in recipes:
        whole, seeds = recipe.values(task, setting, name)
        spread = float(np.std([mean(seed)[0] for seed in seeds], ddof=1)) if len(seeds) > 1 else None
        row = Row(place, recipe.name, name, float(mean(whole)[0]), *interval(whole), spread)
        found = difference(against, whole) if against is not None and recipe is not baseline else None
        if found:
            row.difference, row.difference_low, row.difference_high, row.p = found.mean, found.low, found.high, found.p
        rows.append(row)
    tested = [row for row in rows if row.p is not None]
    for row, corrected in zip(tested, holm([row.p for row in tested if row.p is not None]), strict=True):
        row.corrected = corrected
    return rows


def tables(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Return (heading, Markdown table) for each task and setting."""
    out = []
    header = ["measure and run", "mean", "95% interval", "sd of seeds", "difference", "95% interval", "p", "p (Holm)"]
    for place in dict.fromkeys(row.place for row in rows):
        lines = [
            [
                f"{row.measure} {row.recipe}",
                number(row.mean),
                f"{number(row.low)} to {number(row.high)}",
                number(row.spread),
                number(row.difference),
                "-" if row.difference is None else f"{number(row.difference_low)} to {number(row.difference_high)}",
                number(row.p),
                number(row.corrected),
            ]
            for row in rows
            if row.place == place
        ]
        out.append((place, markdown(header, lines)))
    return out


def config_table(recipes: Sequence[Recipe]) -> str | None:
    """Return what differs in the configurations of the recipes, None where nothing is known or differs."""
    keys = dict.fromkeys(key for recipe in recipes for seed in recipe.seeds for key in seed.config)
    lines = [[key, *(", ".join(recipe.setting_of(key)) or "-" for recipe in recipes)] for key in keys]
    lines = [line for line in lines if len(set(line[1:])) > 1]
    return markdown(["key", *(recipe.name for recipe in recipes)], lines) if lines else None


def figures(folder: Path, recipes: Sequence[Recipe], rows: Sequence[Row]) -> list[Path]:
    """Draw losses, and of each setting its first measure by query language and against the mixture, where known."""
    out = []
    losses = {recipe.name: [seed.loss for seed in recipe.seeds if len(seed.loss)] for recipe in recipes}
    if any(losses.values()):
        out.append(curves(folder / "loss.png", losses, "training loss", "step", "loss"))
    for place in dict.fromkeys(row.place for row in rows):
        task, setting = place.rsplit("/", 1)
        having = [recipe for recipe in recipes if task in recipe.tasks]
        name = next(row.measure for row in rows if row.place == place)
        by_language = [_by_language(recipe, task, setting, name) for recipe in having]
        languages = sorted(set.union(*(set(found) for found in by_language)))
        heights = np.array([[found.get(language, np.nan) for language in languages] for found in by_language])
        title, labels = f"{place}: {name} by query language", [recipe.name for recipe in having]
        out.append(bars(folder / f"{task}.{setting}.languages.png", heights, languages, labels, title))
        shown = [row for row in rows if row.place == place and row.measure == name]
        shares = [_monolingual(recipe) for recipe in having]
        known = [(share, row) for share, row in zip(shares, shown, strict=True) if share is not None]
        if len({share for share, _ in known}) > 1:
            path = folder / f"{task}.{setting}.mixture.png"
            marks = {row.recipe: (share, row.mean, row.low, row.high) for share, row in known}
            out.append(
                points(path, marks, f"{place}: {name}", "monolingual share of the mixture", f"{name}, 95% interval")
            )
    return out


def _monolingual(recipe: Recipe) -> float | None:
    """Return the monolingual share of a recipe's mixture, None where it is not known or its seeds differ."""
    found = recipe.setting_of("mixture.monolingual")
    try:
        return float(Fraction(found[0])) if len(found) == 1 else None
    except ValueError:
        return None


def _by_language(recipe: Recipe, task: str, setting: str, name: str) -> dict[str, float]:
    whole, _ = recipe.values(task, setting, name)
    with np.errstate(invalid="ignore"):
        cell_means = whole.total_QC.sum(axis=0) / whole.count_QC.sum(axis=0)
    by_language: dict[str, list[float]] = {}
    for cell, value in zip(whole.cells, cell_means.tolist(), strict=True):
        by_language.setdefault(cell.partition(">")[0], []).append(value)
    return {language: float(np.mean(found)) for language, found in by_language.items()}


def report(
    recipes: Sequence[Recipe], baseline: Recipe, measures: Sequence[str], folder: Path
) -> tuple[str, list[Row], list[Path]]:
    """Write comparison.md, comparison.html and figures into `folder`; return the Markdown, all rows, and the files."""
    rows = compare(recipes, baseline, measures)
    if not rows:
        raise InputError("the runs share no task with one of the measures asked for; give --measures that they have.")
    parts = [(f"{place} (baseline: {baseline.name})", table) for place, table in tables(rows)]
    if table := config_table(recipes):
        parts.append(("what differs in the configurations", table))
    if table := conditions_table(recipes):
        parts.append(("what differs in how they were scored", table))
    warn_of_unknown(recipes)
    text = "\n\n".join(f"## {heading}\n\n{table}" for heading, table in parts) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    drawn = figures(folder, recipes, rows)
    written = [folder / "comparison.md", folder / "comparison.html"]
    for path, content in zip(written, (text, page("Comparison", parts, drawn)), strict=True):
        with atomic_file(path) as file:
            file.write(content)
    return text, rows, written + drawn


def log_report(
    folder: Path, text: str, rows: Sequence[Row], files: Sequence[Path], baseline: str, tracking: TrackingConfig
) -> str:
    """Log a report to MLflow as a run of its own: files, and differences as metrics; return where it is.

    Args:
        folder: of the reports; each one's journal gets a folder there, since a journal goes on with its run.
    """
    own = folder / "logged" / f"{datetime.now():%Y%m%d-%H%M%S-%f}"
    tracker = Tracker(own, f"compare with {baseline}", tracking)
    names = list(dict.fromkeys(row.recipe for row in rows))
    tracker.tags({"job": "compare", "baseline": baseline, "recipes": " ".join(names)})
    tracker.describe(text)
    different = [row for row in rows if row.difference is not None]
    tracker.metrics({f"{row.place}/{row.measure}/{row.recipe} minus {baseline}": row.difference for row in different})
    for file in files:
        # A copy: files are read when they are sent, and by then the next report may have taken their place.
        tracker.artifact(shutil.copy(file, own))
    tracker.close()
    return tracker.place()


def main(arguments: list[str] | None = None) -> None:
    """Run as a command: bad input is told in one sentence, with status 2."""
    parser = ArgumentParser(prog="python -m hybrid.evaluation.compare", description=__doc__)
    parser.add_argument("runs", nargs="+", help="result folders, MLflow runs, or NAME=PLACE,PLACE for several seeds")
    parser.add_argument("--baseline", help="name of the run that the others are compared with (default: the first)")
    parser.add_argument(
        "--measures", nargs="+", default=[], help=f"measures of scores.json to compare (default: {' '.join(COLUMNS)})"
    )
    parser.add_argument("--dev", action="store_true", help="compare scores on the trainings' development splits too")
    parser.add_argument("--out_dir", default="comparison", help="where the report and its figures go")
    parser.add_argument("--tracking_uri", help="where MLflow runs are looked for (default: MLflow's own)")
    parser.add_argument("--log", action="store_true", help="log the report to MLflow, as a run of its own")
    parser.add_argument("--experiment", default="hybrid", help="where it is logged")
    given = parser.parse_args(arguments)
    with bad_input_told():
        recipes = [read_recipe(place, given.tracking_uri, given.dev) for place in given.runs]
        names = [recipe.name for recipe in recipes]
        if len(set(names)) < len(names):
            raise InputError(f"runs are named {names}; give those of one name other names, as NAME=PLACE.")
        if given.baseline and given.baseline not in names:
            raise InputError(
                f"--baseline: no run is {given.baseline!r}{nearest(given.baseline, names)}; there are {names}."
            )
        baseline = recipes[names.index(given.baseline) if given.baseline else 0]
        folder = Path(given.out_dir)
        check_measures(recipes, given.measures)
        text, rows, files = report(recipes, baseline, given.measures or COLUMNS, folder)
        log(f"{text}\nreport: {folder / 'comparison.html'}")
        if given.log:
            tracking = TrackingConfig(uri=given.tracking_uri, experiment=given.experiment)
            log(f"run:    {log_report(folder, text, rows, files, baseline.name, tracking)}")


if __name__ == "__main__":
    main()
