"""What a comparison compares: results read from folders or from MLflow runs, one value per query."""

import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from pyarrow import parquet

from hybrid.evaluation.measures import Ranks, measure
from hybrid.evaluation.statistics import Values, combined, values
from hybrid.runtime.errors import InputError
from hybrid.runtime.files import read_json


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
        """Return a measure of every query of a setting, by question and cell."""
        table = self._table[self._table["setting"] == setting]
        cell = (table["query_language"].astype(str) + ">" + table["pool"].astype(str)).to_numpy()
        if name in table:
            return values(table["question"].to_numpy(), cell, table[name].to_numpy(np.float64))
        ranks = table["rank"].to_numpy()
        offsets = np.append(0, np.cumsum([len(row) for row in ranks]))
        found = measure(name)(Ranks(offsets, np.concatenate(ranks), table["pool_size"].to_numpy()))
        return values(table["question"].to_numpy(), cell, found)


@dataclass(frozen=True)
class Recipe:
    """One column of a comparison: a name and the results of one or several seeds, by task."""

    name: str
    seeds: tuple[dict[str, TaskResult], ...]
    configs: tuple[dict[str, Any], ...]

    @property
    def tasks(self) -> set[str]:
        """The tasks that every seed was scored on."""
        return set.intersection(*(set(seed) for seed in self.seeds))

    def settings(self, task: str) -> dict[str, Any]:
        """Return the settings of a task with the measures of the first seed."""
        return self.seeds[0][task].scores["settings"]

    def values(self, task: str, setting: str, name: str) -> tuple[Values, list[Values]]:
        """Return a measure's values, the seeds combined, and those of each seed."""
        parts = [seed[task].values(setting, name) for seed in self.seeds]
        return combined(parts), parts


def read_recipe(given: str, tracking_uri: str | None) -> Recipe:
    """Read ``PLACE`` or ``NAME=PLACE,PLACE``, each place a result folder, an MLflow run id or the name of a run.

    Raises InputError where a place holds no results.
    """
    name, sign, places = given.partition("=")
    places = places if sign else given
    folders = [_folder(place, tracking_uri) for place in places.split(",")]
    seeds = tuple(_results(folder, place) for folder, place in zip(folders, places.split(","), strict=True))
    short = name if sign else (Path(name).name if Path(name).is_dir() else name)
    return Recipe(short, seeds, tuple(_config(folder) for folder in folders))


def _results(folder: Path, place: str) -> dict[str, TaskResult]:
    found = {path.parent.name: TaskResult(path.parent) for path in sorted(folder.rglob("scores.json"))}
    found = {name: result for name, result in found.items() if (result.folder / "per_query.parquet").exists()}
    if not found:
        raise InputError(
            f"{place}: holds no results (scores.json with per_query.parquet beside it); give a folder that evaluate.py "
            "wrote, or an MLflow run with these files as artifacts."
        )
    return found


def _folder(place: str, tracking_uri: str | None) -> Path:
    if Path(place).is_dir():
        return Path(place)
    import mlflow
    from mlflow.exceptions import MlflowException

    client = mlflow.MlflowClient(tracking_uri=tracking_uri)
    try:
        run_id = client.get_run(place).info.run_id
    except MlflowException:
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        runs = client.search_runs(experiments, f"run_name = '{place}'", max_results=2)
        if len(runs) != 1:
            raise InputError(
                f"{place}: is no folder, no MLflow run id, and the name of {len(runs)} MLflow runs; give a folder, a "
                "run's id or a name that one run has (--tracking_uri says where runs are looked for)."
            ) from None
        run_id = runs[0].info.run_id
    target = tempfile.mkdtemp(prefix="hybrid-compare-")
    return Path(client.download_artifacts(run_id, "", target))


def _config(folder: Path) -> dict[str, Any]:
    """Return the flattened configuration beside the results or above them, empty where there is none."""
    for place in (folder, *folder.resolve().parents[:3]):
        if (place / "config.yaml").exists():
            return flattened(yaml.safe_load((place / "config.yaml").read_text(encoding="utf-8")))
    return {}


def flattened(value: Any, prefix: str = "") -> dict[str, Any]:
    """Return nested dictionaries as one, with keys joined by dots."""
    if not isinstance(value, dict) or not value:
        return {prefix: value}
    out: dict[str, Any] = {}
    for key, item in value.items():
        out |= flattened(item, f"{prefix}.{key}" if prefix else str(key))
    return out
