"""From a study to its runs: every arm and seed with its resolved recipe, checked before anything runs."""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from hybrid.config import Config, read_config
from hybrid.evaluation.runs import flattened, result_places
from hybrid.runtime.errors import InputError
from hybrid.runtime.files import read_json
from hybrid.sampling.config import MixtureError
from hybrid.studies.study import ROOT, Arm, Scale, Study
from hybrid.training.folder import FINISHED

NO_DIFFERENCE = (
    *(f"training.{key}" for key in ("name", "output", "workers", "log_every", "stall_seconds")),
    *(f"training.{key}" for key in ("checkpoint_every", "checkpoint_copy", "keep_last")),
    *(f"benchmark.{key}" for key in ("data_dir", "tasks", "note", "before", "settings.reader")),
    *(f"benchmark.settings.{key}" for key in ("run_depth", "keep_embeddings", "overwrite", "encoding.batch_tokens")),
    *("tracking", "data.cache", "model.chunk_tokens", "model.attention", "resume", "overwrite"),
)
"""Keys, or beginnings of keys, that change nothing of what a run comes to, or no more than rounding, and the reader: a
run is scored again with another one."""


@dataclass(frozen=True)
class Job:
    """One arm with one seed: a run in a folder of its own."""

    arm: str
    seed: int
    config: Config
    zero_shot: bool

    @property
    def name(self) -> str:
        """The run's name and that of its folder: ``hybrid-50-s0``."""
        return self.config.training.name

    @property
    def folder(self) -> Path:
        """Where the run keeps everything."""
        return ROOT / self.config.folder

    @property
    def tasks(self) -> list[str]:
        """What it is to be scored on."""
        return self.config.benchmark.tasks

    @property
    def trained(self) -> bool:
        """Whether there is nothing left to train."""
        return self.zero_shot or (self.folder / FINISHED).exists()

    def unscored(self) -> list[str]:
        """Return the tasks that have no results yet, or whose answers the study's reader has not read.

        Results of the encoder before its training are none.
        """
        from hybrid.evaluation.task import find_task

        scored = result_places(self.folder)
        tasks = {name: find_task(name) for name in self.tasks}
        return [
            name
            for name, task in tasks.items()
            if task.name not in scored or (task.has_answers and not self._read(scored[task.name]))
        ]

    def _read(self, places: Sequence[Path]) -> bool:
        """Return whether one of a task's results is by the study's reader, if it has one; older results do not say."""
        reader = self.config.benchmark.settings.reader
        used = [read_json(place / "scores.json").get("evaluation", {"reader": reader})["reader"] for place in places]
        return not reader or os.path.realpath(reader) in [os.path.realpath(name) for name in used if name]

    def done(self) -> bool:
        """Whether nothing is left to do."""
        return self.trained and not self.unscored()


@dataclass(frozen=True)
class Choice:
    """What the command says beside the study's name."""

    scale: str
    runs: Path
    """Folder of the study's runs, relative to the repository or absolute."""
    seeds: int
    arms: tuple[str, ...] = ()
    """Only these arms; none for all."""
    model: str | None = None
    """The pretrained encoder of the arms that name none."""
    reader: str | None = None
    """The reader that answers are taken from, for tasks with answers."""
    accelerate: str | None = None
    """The launcher's file where the command names one."""

    @property
    def data(self) -> Path:
        """Folder of the sampled benchmarks."""
        return self.runs / "data"


def resolve(study: Study, choice: Choice) -> list[Job]:
    """Return the runs of a study, seed by seed, so that what is done first can be compared already.

    Raises InputError that names the study's file, the arm and the key for whatever its recipe cannot be.
    """
    scale, arms = study.scales[choice.scale], study.arms_at(choice.scale)
    if scale.recipe:
        _config(f"{study.path}: scales.{choice.scale}.recipe", scale, [scale.recipe])
    found = []
    for name in choice.arms or arms:
        for seed in range(1 if arms[name].zero_shot else choice.seeds):
            config = _config(f"{study.path}: arms.{name}", scale, _layers(choice, scale, name, arms[name], seed))
            if not (config.model.name or config.model.from_scratch):
                raise InputError(
                    f"{study.path}: arms.{name} starts from a pretrained encoder at scale {choice.scale}; give its "
                    "directory or hub id as --model."
                )
            found.append(Job(name, seed, config, arms[name].zero_shot))
    return sorted(found, key=lambda job: job.seed)


def _layers(choice: Choice, scale: Scale, name: str, arm: Arm, seed: int) -> list[dict[str, Any]]:
    run = {
        "training": {"name": f"{name}-s{seed}", "output": str(choice.runs), "seed": seed},
        "benchmark": {"tasks": scale.tasks, "data_dir": str(choice.data) if scale.own_data else scale.data_dir},
    }
    if choice.reader:
        run["benchmark"]["settings"] = {"reader": choice.reader}
    model = [{"model": {"name": choice.model}}] if choice.model else []
    return [*model, scale.recipe, arm.recipe, run]


def _config(place: str, scale: Scale, layers: Sequence[dict[str, Any]]) -> Config:
    arguments = [item for recipe in scale.base for item in ("--config", str(ROOT / recipe))]
    with tempfile.TemporaryDirectory() as folder:
        for number, layer in enumerate(layers):
            path = Path(folder) / f"{number}.yaml"
            path.write_text(yaml.safe_dump(layer), encoding="utf-8")
            arguments += ["--config", str(path)]
        try:
            return read_config(arguments)
        except (InputError, MixtureError) as error:
            raise InputError(f"{place}: {error}") from error


def with_tags(job: Job, tags: dict[str, str]) -> Job:
    """Return the run with tags under which MLflow shows it."""
    tracking = replace(job.config.tracking, tags=job.config.tracking.tags | tags)
    value = yaml.safe_load(job.config.text)
    value["tracking"]["tags"] = tracking.tags
    text = yaml.safe_dump(value, sort_keys=False, allow_unicode=True)
    return replace(job, config=replace(job.config, tracking=tracking, text=text))


def check_same(job: Job) -> None:
    """Raise InputError if the run's folder holds a run of another recipe, whoever made it."""
    path = job.folder / "config.yaml"
    if not path.exists():
        return
    there, here = (_settings(config) for config in (read_config(["--config", str(path)]), job.config))
    for key in sorted(there.keys() | here.keys()):
        if there.get(key) != here.get(key):
            raise InputError(
                f"{job.folder} holds a run with {key} {there.get(key)!r}, but the study says {here.get(key)!r}; remove "
                "that folder, or keep these runs elsewhere by --runs_dir."
            )


def _settings(config: Config) -> dict[str, Any]:
    settings = flattened(yaml.safe_load(config.text))
    if (name := settings.get("model.name")) and Path(name).is_dir():
        settings["model.name"] = os.path.realpath(name)
    return {
        key: value
        for key, value in settings.items()
        if value not in (None, {}) and not any(key == part or key.startswith(f"{part}.") for part in NO_DIFFERENCE)
    }
