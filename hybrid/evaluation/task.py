"""A task as data, and the registry of all tasks: one file each in `hybrid/evaluation/tasks/`."""

import glob
import importlib
import pkgutil
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from hybrid.evaluation.collection import Collection, check
from hybrid.evaluation.config import EvaluationConfig
from hybrid.runtime.errors import InputError, nearest
from hybrid.runtime.logs import warn

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
        measures: names of `hybrid.evaluation.measures`, or of those that the task's own form of texts has.
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


class Scored(Protocol):
    """What a task may hold besides a `Collection`: texts and judgments of another form, which know how to be scored."""

    content: str
    """Digest of all that is scored."""
    languages: Sequence[str]
    """Codes of languages, or of pairs such as ``de>en``, for which there are texts."""
    smallest_pool: int
    """Documents of the smallest pool."""
    searched: bool
    """Whether the first documents are searched for as ``evaluation.search`` says; else whole pools are ranked."""

    def text_ids(self) -> Mapping[str, Iterable[str]]:
        """Return an id of each text that `score` has embedded, in that order, by the name of the embeddings' folder."""

    def score(
        self, task: "Task", embed: Callable, folder: Path, config: EvaluationConfig, about: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Score, write all files to `folder` and return what stands in its scores.json; every rank calls it.

        Args:
            embed: (texts, ``query`` or ``passage``, name of a folder) to `Vectors`.
            about: goes into scores.json as it is.
        """


@dataclass(frozen=True)
class Task:
    """A benchmark: what is read, how it is encoded, what is scored.

    Attributes:
        name: on the command line, in metric names and folders.
        read: the collection from the task's folder.
        folder: below the data folder; the reader is given the joined path.
        settings: see `Setting`, their measures included; their order is the order of the report.
        source: where the files are published: shown where they are missing.
        query_max_length, passage_max_length: in tokens, prefix and special tokens included.
        prefixes: which of the encoder's prefixes queries and documents get. Sentences and their translations are of one
            kind, so both get the query's.
        languages: codes, or pairs, of the published files; one that is missing is told.
        revision: the version that was published, as its publisher calls it.
        digest: of the content that the published files give (``content`` of what `read` returns); other files are told.
    """

    name: str
    read: Callable[[Path], Collection | Scored]
    folder: str
    settings: tuple[Setting, ...]
    source: str
    licence: str
    citation: str
    query_max_length: int = 64
    passage_max_length: int = 256
    prefixes: tuple[str, str] = ("query", "passage")
    languages: tuple[str, ...] = ()
    revision: str = ""
    digest: str = ""

    @property
    def has_answers(self) -> bool:
        """Whether what a reader answers can be scored."""
        return any("answer_f1" in setting.measures for setting in self.settings)


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


def load(task: Task, data_dir: str | Path) -> Collection | Scored:
    """Read and check a task's files below `data_dir`; warns where they are not all, or not those, that were published.

    Raises InputError where they cannot be scored.
    """
    place = task_place(task, data_dir)
    found = task.read(place)
    if isinstance(found, Collection):
        check(found, f"task {task.name} in {place}")
    for sentence in doubts(task, found):
        warn(f"task {task.name} in {place}: {sentence}")
    return found


def doubts(task: Task, found: Collection | Scored) -> list[str]:
    """Return sentences on what makes scores other than published ones: missing languages, other files, small pools."""
    sentences = []
    if missing := sorted(set(task.languages) - set(found.languages)):
        sentences.append(
            f"{len(missing)} of {len(task.languages)} published languages are missing ({', '.join(missing[:8])}"
            f"{', ...' if len(missing) > 8 else ''}); means are over those that are there."
        )
    elif task.digest and task.digest != found.content:
        sentences.append(f"the files are not those of {task.revision}; scores may differ from published ones.")
    names = sorted({name for setting in task.settings for name in setting.measures})
    cuts = {name: re.search(r"_at_(\d+)$", name) for name in names}
    deep = [name for name, cut in cuts.items() if cut and int(cut[1]) > found.smallest_pool]
    if deep:
        sentences.append(
            f"the smallest pool has {found.smallest_pool} documents, fewer than {', '.join(deep)} look at: every "
            "document is among the first there."
        )
    return sentences
