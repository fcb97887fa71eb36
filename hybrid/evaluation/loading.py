"""Tasks by name, with what was read for them: what is wrong with names and files is told before a model is loaded."""

from dataclasses import dataclass
from pathlib import Path

from hybrid.evaluation.collection import Collection
from hybrid.evaluation.config import TREATED
from hybrid.evaluation.task import Scored, Task, find_task, load, task_place
from hybrid.runtime.errors import InputError
from hybrid.runtime.files import digest


@dataclass(frozen=True)
class LoadedTask:
    """A task, what was read for it, and a digest of both."""

    task: Task
    collection: Collection | Scored
    digest: str


def find_tasks(names: list[str], data_dir: str | Path) -> list[Task]:
    """Return tasks by name; raises InputError for an unknown name, missing files, or two tasks of one name."""
    tasks = [find_task(name) for name in names]
    _refuse_repeated(tasks, names)
    for task in tasks:
        task_place(task, data_dir)
    return tasks


def load_tasks(names: list[str], data_dir: str | Path, lir: int = 0) -> list[LoadedTask]:
    """Read tasks by name; raises InputError as `find_tasks` does, before anything is read.

    Args:
        lir: as in `EvaluationConfig`; a task that is called as another's treated scores is refused.
    """
    tasks = [loaded_task(task, load(task, data_dir)) for task in find_tasks(names, data_dir)]
    called = {loaded.task.name for loaded in tasks}
    for loaded in tasks:
        if lir and isinstance(loaded.collection, Collection) and (name := treated_name(loaded.task.name)) in called:
            raise InputError(
                f"--tasks: with evaluation.lir the treated scores of {loaded.task.name} would lie in one folder with "
                f"the task {name}; score the two in calls of their own with another --out_dir each, or give one of the "
                "places another name."
            )
    return tasks


def _refuse_repeated(tasks: list[Task], given: list[str]) -> None:
    first: dict[str, str] = {}
    for task, name in zip(tasks, given, strict=True):
        if task.name in first:
            raise InputError(
                f"--tasks: {first[task.name]} and {name} are both called {task.name} and would lie in one folder; "
                "remove one, or give one of the places another name (the last two parts of its path count)."
            )
        first[task.name] = name


def loaded_task(task: Task, collection: Collection | Scored) -> LoadedTask:
    """Return a task with a collection that was read or made elsewhere."""
    settings = [task.name, task.settings, task.query_max_length, task.passage_max_length]
    return LoadedTask(task, collection, digest([settings, collection.content]))


def treated_name(task: str) -> str:
    """Return what a task's scores after language information removal are called."""
    return f"{task}{TREATED}"
