"""What a study file says: a question, arms, scales, and the comparison that answers it."""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from hybrid.evaluation.config import TREATED
from hybrid.runtime.errors import InputError, nearest
from hybrid.runtime.yaml_files import read_yaml

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@dataclass
class Comparison:
    """One figure by which the question is answered: the best of `of` beside each of `against`."""

    task: str
    """Name of a task, as its folder of results is called."""
    setting: str
    """Setting of the task: multilingual, monolingual, to_eng ..."""
    measure: str
    """Measure of the setting that has a value for each query."""
    of: list[str]
    """Arms of which the best is taken."""
    against: list[str]
    """Arms that it is held against."""
    lower_is_better: bool = False
    """The measure is a distance."""


@dataclass
class Arm:
    """One way of training, or an encoder as it is."""

    about: str = ""
    """What it is, in a few words."""
    recipe: dict[str, Any] = field(default_factory=dict)
    """What changes in the base recipe."""
    zero_shot: bool = False
    """Score model.name as it is; there is nothing to train, and so one run whatever the seeds."""
    seen: list[str] | None = None
    """Languages whose queries count as seen in training; unset takes those of the mixture that was trained on."""


@dataclass
class Scale:
    """What a study takes at one size."""

    base: list[str]
    """Recipes that are laid over one another, relative to the repository."""
    recipe: dict[str, Any] = field(default_factory=dict)
    """Changes to the base that all arms share."""
    tasks: list[str] = field(default_factory=list)
    """What every arm is scored on."""
    data_dir: str = "${HYBRID_DATA}"
    """Folder that holds a folder per task."""
    sample: dict[str, int] = field(default_factory=dict)
    """Of a folder below data_dir, score every n-th article (SQuAD's and LAReQA's form) or line, from the first."""
    mlqa_from: str | None = None
    """Folder in LAReQA's form out of which the files of the task mlqa are made, sampled as that folder is."""
    mlqa_languages: list[str] | None = None
    """Its languages; unset takes those of MLQA that are there."""
    seeds: int = 1
    """Seeds where the command names no number."""
    arms: dict[str, Arm | None] = field(default_factory=dict)
    """Arms that are other ones at this scale; null leaves one out."""
    comparisons: list[Comparison] | None = None
    """Comparisons at this scale, where they are other ones."""
    notes: list[str] = field(default_factory=list)
    """What a reader has to know of the figures: what stands in for what, what was seen in training."""
    beside: dict[str, str] = field(default_factory=dict)
    """By task, half a sentence that stands beside each of its figures: what it shares with the training data."""

    @property
    def own_data(self) -> bool:
        """Whether the benchmarks lie in a folder that the study makes."""
        return bool(self.sample or self.mlqa_from)

    def beside_of(self, task: str) -> str | None:
        """Return what has to stand beside each figure of a task, ``TASK: ...``; TASK-lir has the data of TASK."""
        said = self.beside.get(task) or self.beside.get(task.removesuffix(TREATED))
        return f"{task}: {said}." if said else None


@dataclass
class Study:
    """A declared grid of runs."""

    question: str
    """What is asked."""
    arms: dict[str, Arm]
    """By name."""
    scales: dict[str, Scale]
    """By name: tiny, small, full, and others that the file declares."""
    comparisons: list[Comparison]
    """The first one answers the question; the others stand beside it."""
    measures: list[str]
    """Measures of the report's tables."""
    means: list[str] = field(default_factory=list)
    """Measures that have no value for each query and so no interval: those of groups of languages, and of BUCC."""
    by_language: Literal["", "seen", "consistency"] = ""
    """A further table. seen: figures of seen and of unseen query languages; consistency: whether a question is answered
    alike in all languages."""
    path: Path = Path()
    """Where it was read from."""

    @property
    def name(self) -> str:
        """The file's name without its ending."""
        return self.path.stem

    def arms_at(self, scale: str) -> dict[str, Arm]:
        """Return the arms of a scale."""
        arms = self.arms | self.scales[scale].arms
        return {name: arm for name, arm in arms.items() if arm is not None}

    def comparisons_at(self, scale: str) -> list[Comparison]:
        """Return the comparisons of a scale."""
        own = self.scales[scale].comparisons
        return self.comparisons if own is None else own


def names() -> list[str]:
    """Return the names of the studies that come with the project."""
    return sorted(path.stem for path in HERE.glob("*.yaml"))


def read_study(name: str) -> Study:
    """Read a study by its name, or by the path of a file that ends in .yaml.

    Raises InputError, which names file and key, for what is unknown, missing, or named but not declared.
    """
    path = Path(name) if name.endswith(".yaml") else HERE / f"{name}.yaml"
    if not path.exists():
        known = names()
        raise InputError(f"study {name!r} is not known{nearest(name, known)}; there are {', '.join(known)}.")
    value = read_yaml(path)
    study = _study(path, value)
    study.path = path
    _check(study)
    return study


def _study(path: Path, value: Any) -> Study:
    from jsonargparse import ArgumentError, ArgumentParser

    from hybrid.config import sentence

    if not isinstance(value, dict):
        raise InputError(f"{path}: holds no keys; expected question, arms, scales, comparisons and measures.")
    _check_keys(path, "", value, Study)
    for name, inner in _named(path, "arms", value):
        _check_keys(path, f"arms.{name}.", inner, Arm)
    for name, inner in _named(path, "scales", value):
        _check_keys(path, f"scales.{name}.", inner, Scale)
        for arm, own in _named(path, f"scales.{name}.arms", inner):
            _check_keys(path, f"scales.{name}.arms.{arm}.", own or {}, Arm)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Study, skip={"path"})
    try:
        return Study(**parser.instantiate(parser.parse_object(value)).as_dict())
    except ArgumentError as error:
        raise InputError(f"{path}: {sentence(error, parser)}") from error


def _named(path: Path, place: str, holder: dict[str, Any]) -> Iterable[tuple[str, Any]]:
    """Return what stands by name under the last key of `place`; the names become folders and columns."""
    value = holder.get(place.rpartition(".")[2]) or {}
    if not isinstance(value, dict):
        raise InputError(f"{path}: {place} is {value!r}; expected a name for each, such as hybrid-50: {{recipe: ...}}.")
    for name in value:
        if not re.fullmatch(r"[\w.-]+", str(name)):
            raise InputError(f"{path}: {place} has the name {name!r}; expected letters, digits, '.', '_' and '-'.")
    return value.items()


def _check_keys(path: Path, place: str, value: Any, kind: type) -> None:
    if not isinstance(value, dict):
        raise InputError(
            f"{path}: {place.rstrip('.')} is {value!r}; expected keys such as {next(iter(kind.__annotations__))}."
        )
    known = [item.name for item in fields(kind) if item.name != "path"]
    for key in value:
        if key not in known:
            raise InputError(
                f"{path}: {place}{key} is not known{nearest(str(key), known)}; known are {', '.join(known)}."
            )


def _check(study: Study) -> None:
    """Raise InputError where a comparison, or `beside`, names what its scale has not: an arm, a task or a figure."""
    from hybrid.evaluation.task import find_task

    for scale, settings in study.scales.items():
        tasks = {(found := find_task(task)).name: found for task in settings.tasks}
        for task in settings.beside:
            _check_name(f"{study.path}: scales.{scale}.beside", "the task", task, tasks)
        arms = study.arms_at(scale)
        for number, comparison in enumerate(study.comparisons_at(scale)):
            place = f"{study.path}: comparisons[{number}] of scale {scale}"
            for arm in (*comparison.of, *comparison.against):
                _check_name(place, "the arm", arm, arms)
            # The task dev is the data's own; a scale without tasks is scored by hand.
            if tasks and comparison.task != "dev":
                task = comparison.task.removesuffix(TREATED)
                _check_name(place, "the task", task, tasks)
                known = {setting.name: setting.measures for setting in tasks[task].settings}
                _check_name(place, "the setting", comparison.setting, known)
                _check_name(place, "the measure", comparison.measure, known[comparison.setting])


def _check_name(place: str, kind: str, name: str, known: Collection[str]) -> None:
    if name not in known:
        raise InputError(
            f"{place} names {kind} {name!r}{nearest(name, known)}, which is not there; there are "
            f"{', '.join(known) or 'none'}."
        )
