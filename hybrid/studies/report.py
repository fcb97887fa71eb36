"""A study's report: question, answer, data, arms, figures with intervals and tests, plots, and how to repeat it."""

import shlex
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hybrid.evaluation.compare import Row, compare, figures, tables
from hybrid.evaluation.runs import Recipe, read_recipe
from hybrid.runtime.errors import InputError
from hybrid.runtime.files import atomic_file
from hybrid.studies.answer import Answer, answer, seed_means
from hybrid.studies.arms import arms_table
from hybrid.studies.data import data_tables, languages_of, machine, means_table
from hybrid.studies.figures import arms_plot
from hybrid.studies.jobs import Choice, Job, resolve
from hybrid.studies.languages import consistency_table, seen_table
from hybrid.studies.study import Comparison, Scale, Study


@dataclass(frozen=True)
class Found:
    """The runs of a study that are done, by arm."""

    study: Study
    choice: Choice
    jobs: dict[str, list[Job]]
    recipes: dict[str, Recipe]
    left: list[str]
    """Names of the runs that are not done."""

    @property
    def comparisons(self) -> list[Comparison]:
        """The comparisons of the scale."""
        return self.study.comparisons_at(self.choice.scale)

    @property
    def compared(self) -> list[Comparison]:
        """One comparison for each figure that is compared, whatever the arms."""
        return list({(one.task, one.setting, one.measure): one for one in self.comparisons}.values())


def report(study: Study, choice: Choice, folder: Path) -> tuple[Path, list[Path], dict[str, float]]:
    """Write the report of what is done; returns its path, its plots, and the compared figures of every arm.

    At scale small the file is NAME.md, else NAME-SCALE.md. Raises InputError where no run is done.
    """
    found = read_runs(study, choice)
    answers = [answer(comparison, found.recipes) for comparison in found.comparisons]
    rows = _rows(found)
    name = study.name if choice.scale == "small" else f"{study.name}-{choice.scale}"
    plots = _plots(found, rows, folder / name)
    path = folder / f"{name}.md"
    with atomic_file(path) as file:
        file.write("\n\n".join(_sections(found, answers, rows, plots)) + "\n")
    metrics = {f"{row.recipe}/{row.place}/{row.measure}": row.mean for row in rows}
    return path, plots, metrics


def read_runs(study: Study, choice: Choice) -> Found:
    """Return the runs that are done."""
    jobs = resolve(study, choice)
    by_arm: dict[str, list[Job]] = {}
    for job in jobs:
        if job.done():
            by_arm.setdefault(job.arm, []).append(job)
    if not by_arm:
        raise InputError(f"study {study.name} has no finished run in {choice.runs}; run it first.")
    order = [arm for arm in study.arms_at(choice.scale) if arm in by_arm]
    places = {arm: ",".join(str(job.folder) for job in by_arm[arm]) for arm in order}
    # A study may ask about the task dev: its arms hold out the same articles.
    recipes = {arm: read_recipe(f"{arm}={places[arm]}", None, dev=True) for arm in order}
    return Found(study, choice, by_arm, recipes, [job.name for job in jobs if not job.done()])


def _rows(found: Found) -> list[Row]:
    """Return all figures, with differences from the first arm that the answer is held against."""
    recipes = list(found.recipes.values())
    return compare(recipes, found.recipes.get(_baseline(found), recipes[0]), found.study.measures)


def _baseline(found: Found) -> str:
    named = [arm for comparison in found.comparisons for arm in comparison.against]
    return next((arm for arm in named if arm in found.recipes), next(iter(found.recipes)))


def _sections(found: Found, answers: Sequence[Answer], rows: Sequence[Row], plots: Sequence[Path]) -> Iterable[str]:
    study, scale = found.study, found.study.scales[found.choice.scale]
    yield f"# {study.name} ({found.choice.scale})"
    yield f"**Question.** {study.question}"
    yield f"**Answer.** {_verdict(answers, scale)} {limits(found)}"
    if answers[1:]:
        yield "**Beside it.**\n" + "\n".join(f"- {_sentence(other, scale)}" for other in answers[1:])
    yield "## What to know of these figures\n\n" + "\n".join(f"- {note}" for note in _notes(found, scale.notes))
    yield f"## Repeat it\n\n```\n{command(found)}\n```\n\n{machine(found.jobs)}"
    yield f"## Data\n\n{data_tables(found.jobs)}"
    yield f"## Arms\n\n{arms_table(study, found.choice)}\n\n{_budget(found)}"
    for place, table in tables(rows):
        text = _with(f"Differences are from {_baseline(found)}.", scale, place.rpartition("/")[0])
        yield f"## {place}\n\n{text}\n\n{table}"
    if means := means_table(found.jobs, study.means):
        yield f"## Means without a value for each query\n\n{means}"
    yield from _by_language(found)
    yield "## Plots\n\n" + "\n".join(_image(plot, found, scale) for plot in plots)


def _image(plot: Path, found: Found, scale: Scale) -> str:
    task = next((one.task for one in found.compared if plot.name.startswith(f"{one.task}.")), "")
    return _with(f"![{plot.stem}]({plot.parent.name}/{plot.name})", scale, task)


def _verdict(answers: Sequence[Answer], scale: Scale) -> str:
    return f"{answers[0].verdict} {_sentence(answers[0], scale)}" if answers else "This scale makes no comparison."


def _sentence(found: Answer, scale: Scale) -> str:
    return _with(found.sentence(), scale, found.comparison.task)


def _with(text: str, scale: Scale, task: str) -> str:
    """Return a text with what the scale says beside every figure of a task."""
    said = scale.beside_of(task)
    return f"{text} ({said})" if said else text


def limits(found: Found) -> str:
    """Return the sentence that says how far the answer reaches."""
    arms = found.study.arms_at(found.choice.scale)
    trained = [recipe for recipe in found.recipes.values() if not arms[recipe.name].zero_shot]
    counts = sorted({len(recipe.seeds) for recipe in trained})
    seeds = " to ".join(map(str, dict.fromkeys((counts[0], counts[-1])))) if counts else "none is trained"
    runs = f"Runs an arm: {seeds}" + (
        "; with one seed nothing is known of how far training itself scatters." if 1 in counts else "."
    )
    left = f" Not done yet: {', '.join(found.left)}." if found.left else ""
    chosen = any(len(comparison.of) > 1 for comparison in found.comparisons)
    best = " The best arm is chosen on the figures that it is judged by, which flatters it." if chosen else ""
    return f"{runs}{best}{left}"


def _notes(found: Found, notes: Sequence[str]) -> list[str]:
    sample = found.study.scales[found.choice.scale].sample
    every = [
        f"Of {name} every {step}-th article or line is scored, the same for all arms." for name, step in sample.items()
    ]
    common = (
        "Intervals (95% bootstrap) and p (randomization test, Holm's correction) draw questions, all translations of a "
        "question together; seeds are combined, their standard deviation stands beside."
    )
    return [*notes, *every, common]


def command(found: Found) -> str:
    """Return the command that repeats the study, with HYBRID_DATA where the scale needs it."""
    study, choice = found.study, found.choice
    name = study.name if study.path.parent == Path(__file__).parent else str(study.path)
    parts = ["python", "-m", "hybrid.studies", "run", name, "--scale", choice.scale, "--seeds", str(choice.seeds)]
    scale = study.scales[choice.scale]
    variable = "HYBRID_DATA=FOLDER " if "HYBRID_DATA" in f"{scale.data_dir}{scale.recipe}" else ""
    model = (" --model DIR" if choice.model else "") + (" --reader DIR" if choice.reader else "")
    arms = f" --arms {shlex.join(choice.arms)}" if choice.arms else ""
    launch = f" --accelerate {shlex.quote(choice.accelerate)}" if choice.accelerate else ""
    return f"{variable}{shlex.join(parts)}{model}{arms}{launch}"


def _budget(found: Found) -> str:
    """Return what the arms share, in one line."""
    config = next(iter(found.jobs.values()))[0].config
    training, data = config.training, config.data
    return (
        f"The recipe they share: {training.steps} steps of {training.global_batch} pairs (an arm may change them), "
        f"learning rate {training.learning_rate:g}, {training.precision}, queries of {data.query_max_length} and "
        f"passages of {data.passage_max_length} tokens, {data.hard_negatives} hard negatives a row."
    )


def _by_language(found: Found) -> Iterable[str]:
    scale = found.study.scales[found.choice.scale]
    for comparison in found.compared:
        having = [recipe for recipe in found.recipes.values() if comparison.task in recipe.tasks]
        about = f"{comparison.task}/{comparison.setting}: {comparison.measure}"
        if found.study.by_language == "seen" and having:
            seen = [languages_of(found.study, found.choice, found.jobs[recipe.name][0]) for recipe in having]
            title, table = "Seen and unseen languages", seen_table(comparison, having, seen)
        elif found.study.by_language == "consistency" and comparison.setting == "monolingual" and having:
            title, table = "Over languages", consistency_table(comparison, having)
        else:
            continue
        said = scale.beside_of(comparison.task)
        yield "\n\n".join(filter(None, [f"## {title}, {about}", said, table]))


def _plots(found: Found, rows: Sequence[Row], folder: Path) -> list[Path]:
    """Draw each compared figure by arm, and what a comparison draws of it; the folder is made anew."""
    shutil.rmtree(folder, ignore_errors=True)
    drawn, shown = [], []
    for one in found.compared:
        place = f"{one.task}/{one.setting}"
        mine = [row for row in rows if (row.place, row.measure) == (place, one.measure)]
        if mine:
            shown += mine
            folder.mkdir(parents=True, exist_ok=True)
            seeds = [seed_means(one, found.recipes[row.recipe]) for row in mine]
            path = folder / f"{place.replace('/', '.')}.{one.measure}.png"
            drawn.append(arms_plot(path, mine, seeds, place))
    return [*drawn, *figures(folder, list(found.recipes.values()), shown)] if shown else drawn
