"""A task as data, and the registry of all tasks: one file each in `hybrid/evaluation/tasks/`."""

import glob
import importlib
import pkgutil
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from hybrid.evaluation.bitext import Bitext
from hybrid.evaluation.collection import Collection, check
from hybrid.evaluation.judged import Judged
from hybrid.runtime.errors import InputError, nearest

# The pool of the documents of all languages; every other pool is a language, by its number.
ALL = -1

POOL_MEASURES = (
    "map",
    "map_at_20",
    "recall_at_1",
    "recall_at_10",
    "precision_at_1",
    "precision_at_5",
    "precision_at_10",
    "precision_at_20",
)


@dataclass(frozen=True)
class Setting:
    """Which pool each query is ranked in, and what is reported.

    Attributes:
        name: stands in metric names.
        pools: ``same`` language as the query, each ``other`` language, ``each`` language, or ``all`` languages in one.
        measures: names of `hybrid.evaluation.measures`.
        depth: how many documents of a ranking the run file keeps.
    """

    name: str
    pools: str
    measures: tuple[str, ...] = POOL_MEASURES
    depth: int = 1000


# A query has a ranking for each other language, ten in XQuAD-R: the run then ends at the largest cut of the measures.
THREE_SETTINGS = (
    Setting("monolingual", "same"),
    Setting("cross_lingual", "other", depth=20),
    Setting("multilingual", "all", (*POOL_MEASURES, "capped_recall_at_10", "rank_distance", "rank_distance_share")),
)


def in_setting(setting: Setting, query_language: np.ndarray, pool: np.ndarray) -> np.ndarray:
    """Return bool [n], which (query, pool) belong to a setting."""
    if setting.pools == "all":
        return pool == ALL
    one = pool != ALL
    if setting.pools == "same":
        return one & (pool == query_language)
    return one & (pool != query_language) if setting.pools == "other" else one


@dataclass(frozen=True)
class Task:
    """A benchmark: what is read, how it is encoded, what is scored.

    Attributes:
        name: on the command line, in metric names and folders.
        read: the collection from the task's folder.
        folder: below the data folder; the reader is given the joined path.
        settings: see `Setting`; their order is the order of the report. A bitext has its two directions.
        query_max_length, passage_max_length: in tokens, prefix and special tokens included.
        source: where the files are published: shown where they are missing.
    """

    name: str
    read: Callable[[Path], Collection | Bitext | Judged]
    folder: str
    settings: tuple[Setting, ...]
    source: str
    licence: str
    citation: str
    query_max_length: int = 64
    passage_max_length: int = 256


@cache
def registry() -> dict[str, Task]:
    """Return all tasks by name: every ``TASK`` or ``TASKS`` of the modules in `hybrid.evaluation.tasks`."""
    package = importlib.import_module("hybrid.evaluation.tasks")
    tasks: dict[str, Task] = {}
    for info in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"{package.__name__}.{info.name}")
        for task in getattr(module, "TASKS", None) or filter(None, [getattr(module, "TASK", None)]):
            tasks[task.name] = task
    return tasks


def find_task(name: str) -> Task:
    """Return the task of a name, or of ``NAME:PLACE`` for files elsewhere than the task looks for them.

    PLACE is relative to the data folder or absolute; the reader says what it may be besides a folder. It becomes part
    of the task's name, so that several sets of files can be scored in one call. Raises InputError for an unknown name.
    """
    base, _, place = name.partition(":")
    tasks = registry()
    if base not in tasks:
        known = ", ".join(sorted(tasks))
        raise InputError(f"--tasks: {base!r} is not known{nearest(base, tasks)}; known tasks: {known}.")
    if not place:
        return tasks[base]
    return replace(tasks[base], name=f"{base}-{_slug(place)}", folder=place)


def _slug(place: str) -> str:
    """Return ``squad-dev`` for ``squad/dev.{language}.json.gz``: its last two parts without endings."""
    stem = re.sub(r"\{language\}|\*|\.jsonl?|\.tsv|\.gz", "", place)
    return "-".join(re.findall(r"[\w-]+(?:\.[\w-]+)*", stem)[-2:])


def task_place(task: Task, data_dir: str | Path) -> Path:
    """Return the task's folder or pattern below `data_dir`; raises InputError saying where to get the files."""
    place = Path(data_dir) / task.folder
    if not glob.glob(str(place).replace("{language}", "*")):
        raise InputError(f"task {task.name}: there is nothing at {place}; get the files from {task.source}.")
    return place


def load(task: Task, data_dir: str | Path) -> Collection | Bitext | Judged:
    """Read and check a task's files below `data_dir`."""
    place = task_place(task, data_dir)
    found = task.read(place)
    return check(found, f"task {task.name} in {place}") if isinstance(found, Collection) else found
