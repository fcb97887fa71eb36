"""What a comparison compares: results read from folders or from MLflow runs, one value per query."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from pyarrow import parquet

from hybrid.evaluation.measures import Ranks, measure, of_ranks
from hybrid.evaluation.statistics import Values, combined, values
from hybrid.evaluation.tracked import client_of, download, find_run
from hybrid.runtime.errors import InputError
from hybrid.runtime.files import read_json
from hybrid.runtime.logs import warn
from hybrid.runtime.tracking import JOURNAL

LOSS = "train/loss"


@dataclass(frozen=True)
class TaskResult:
    """One task's results of one model."""

    folder: Path

    @cached_property
    def scores(self) -> dict[str, Any]:
        """What stands in scores.json."""
        return read_json(self.folder / "scores.json")

    @cached_property
    def _table(self):
        return parquet.read_table(self.folder / "per_query.parquet").to_pandas()

    def values(self, setting: str, name: str) -> Values:
        """Return a measure of every query of a setting, by question and cell.

        Raises InputError for one that the files beside scores.json do not give query by query.
        """
        table = self._table[self._table["setting"] == setting]
        cell = (table["query_language"].astype(str) + ">" + table["pool"].astype(str)).to_numpy()
        if name in table:
            return values(table["question"].to_numpy(), cell, table[name].to_numpy(np.float64))
        if not (of_ranks(name) and "rank" in table):
            raise InputError(
                f"{self.folder}: {name} stands in scores.json, but per_query.parquet, which an older version wrote, "
                "does not give it by query; score again (evaluate.py), or leave it out of --measures."
            )
        ranks = table["rank"].to_numpy()
        offsets = np.append(0, np.cumsum([len(row) for row in ranks]))
        found = measure(name)(Ranks(offsets, np.concatenate(ranks), table["pool_size"].to_numpy()))
        return values(table["question"].to_numpy(), cell, found)


@dataclass(frozen=True)
class Seed:
    """One training of a recipe, or one encoder that was not trained here.

    Attributes:
        tasks: its results by task.
        config: the configuration of the training by dotted key, empty where it is not known.
        loss: float64 [n, 2], training steps and the loss there, from the log of the training.
    """

    tasks: dict[str, TaskResult]
    config: dict[str, Any]
    loss: np.ndarray


@dataclass(frozen=True)
class Recipe:
    """One column of a comparison: a name, and one or several seeds."""

    name: str
    seeds: tuple[Seed, ...]

    @property
    def tasks(self) -> set[str]:
        """The tasks that every seed was scored on."""
        return set.intersection(*(set(seed.tasks) for seed in self.seeds))

    def settings(self, task: str) -> dict[str, Any]:
        """Return the settings of a task with the measures of the first seed."""
        return self.seeds[0].tasks[task].scores["settings"]

    def measures(self, task: str, setting: str) -> set[str]:
        """Return the measures of a setting that every seed has; one that no query has a value of is left out."""
        found = [seed.tasks[task].scores["settings"].get(setting, {"measures": {}}) for seed in self.seeds]
        return set.intersection(
            *({name for name, value in one["measures"].items() if value["mean"] is not None} for one in found)
        )

    def values(self, task: str, setting: str, name: str) -> tuple[Values, list[Values]]:
        """Return a measure's values, the seeds combined, and those of each seed."""
        parts = [seed.tasks[task].values(setting, name) for seed in self.seeds]
        return combined(parts), parts

    def setting_of(self, key: str) -> list[Any]:
        """Return the values that a key of the configuration has in the seeds, each once, in their order."""
        return list(dict.fromkeys(str(seed.config[key]) for seed in self.seeds if key in seed.config))


def read_recipe(given: str, tracking_uri: str | None, dev: bool = False) -> Recipe:
    """Read ``PLACE`` or ``NAME=PLACE,PLACE``, each place a result folder, an MLflow run id or the name of a run.

    Args:
        dev: read a training's scores on its development split as well, which are those of its own data.

    A folder may have "=" in its own name. Raises InputError where a place holds no results, or several of one task.
    """
    name, sign, places = (given, "", "") if Path(given).is_dir() else given.partition("=")
    seeds = tuple(_seed(place, tracking_uri, dev) for place in (places if sign else given).split(","))
    short = name if sign else (Path(name).resolve().name if Path(name).is_dir() else name)
    return Recipe(short, seeds)


def _seed(place: str, tracking_uri: str | None, dev: bool) -> Seed:
    if Path(place).is_dir():
        training = _training(Path(place))
        return Seed(_results(Path(place), place, dev), _config(training), _journal(training))
    run = find_run(place, tracking_uri).info.run_id
    folder = download(run, tracking_uri)
    history = client_of(tracking_uri).get_metric_history(run, LOSS)
    points = [(metric.step, metric.value) for metric in history]
    training = _training(folder)
    return Seed(_results(folder, place, dev), _config(training), _points(points) if points else _journal(training))


def result_places(folder: Path, dev: bool = False) -> dict[str, list[Path]]:
    """Return the folders of results by task below `folder`, less those of the encoder before its training, and during
    it but for `dev`."""
    found: dict[str, list[Path]] = {}
    left_out = ("before",) if dev else ("before", "dev")
    for path in sorted(folder.rglob("scores.json")):
        if _stage(path, folder) not in left_out:
            found.setdefault(path.parent.name, []).append(path.parent)
    return found


def task_folders(folder: Path, given: str, dev: bool = False) -> dict[str, Path]:
    """Return the one folder of results of each task below `folder`: what evaluate.py gave later stands for what the
    training gave at its end.

    Args:
        given: how the user calls the folder, for errors.

    Raises InputError where there are several of one task.
    """
    return {task: _one(task, places, folder, given) for task, places in result_places(folder, dev).items()}


def _results(folder: Path, place: str, dev: bool) -> dict[str, TaskResult]:
    """Return the results by task below a folder.

    Raises InputError where there are none, or several of one task.
    """
    found = task_folders(folder, place, dev)
    whole = {task: path for task, path in found.items() if (path / "per_query.parquet").exists()}
    if missing := sorted(found.keys() - whole.keys()):
        warn(f"{place}: {', '.join(missing)} is not compared: its scores are no means over queries.")
    if not whole:
        raise InputError(
            f"{place}: holds no results (scores.json with per_query.parquet beside it); give a folder that evaluate.py "
            "wrote, or an MLflow run with these files as artifacts (of a training's development split: with --dev)."
        )
    return {task: TaskResult(path) for task, path in whole.items()}


def _one(task: str, places: list[Path], folder: Path, given: str) -> Path:
    """Return a task's one result: what evaluate.py gave later stands for what the training gave at its end."""
    later = [place for place in places if _stage(place / "scores.json", folder) != "after"] or places
    if len(later) > 1:
        names = ", ".join(str(place.relative_to(folder)) for place in later)
        raise InputError(
            f"{given}: holds {len(later)} results of task {task} ({names}); give the folder above one of them, such as "
            f"{later[0].parent}."
        )
    return later[0]


def _stage(path: Path, folder: Path) -> str:
    """Return the folder that a task's results lie in below `folder`, ``before`` or ``after`` in that of a training."""
    parts = path.relative_to(folder).parts
    return parts[-3] if len(parts) > 2 else ""


def _training(folder: Path) -> Path | None:
    """Return the folder of the training whose encoder was scored: it holds config.yaml; None where it is not here."""
    places = [folder, *folder.resolve().parents[:3]]
    origins = [place / "model.json" for place in places if (place / "model.json").exists()]
    places += [Path(read_json(origin)["path"]).parent for origin in origins]
    return next((place for place in places if (place / "config.yaml").exists()), None)


def _config(training: Path | None) -> dict[str, Any]:
    """Return the flattened configuration of a training."""
    if training is None:
        return {}
    return flattened(yaml.safe_load((training / "config.yaml").read_text(encoding="utf-8")))


def _journal(training: Path | None) -> np.ndarray:
    """Return the losses that a training noted for MLflow."""
    if training is None or not (training / JOURNAL).exists():
        return _points([])
    with open(training / JOURNAL, encoding="utf-8") as file:
        events = [json.loads(line) for line in file if line.endswith("\n")]
    metrics = [event for event in events if event["kind"] == "metrics" and LOSS in event["values"]]
    return _points([(event["step"], event["values"][LOSS]) for event in metrics])


def _points(points: list[tuple[int, float]]) -> np.ndarray:
    return np.array(sorted(dict(points).items()), np.float64).reshape(-1, 2)


def flattened(value: Any, prefix: str = "") -> dict[str, Any]:
    """Return nested dictionaries as one, with keys joined by dots."""
    if not isinstance(value, dict) or not value:
        return {prefix: value}
    out: dict[str, Any] = {}
    for key, item in value.items():
        out |= flattened(item, f"{prefix}.{key}" if prefix else str(key))
    return out
