"""The development split of the training corpora as tasks of the three settings, one a data set."""

from collections.abc import Sequence
from pathlib import Path

from hybrid.data.config import DataConfig
from hybrid.data.corpus import ParallelCorpus
from hybrid.evaluation.collection import Collection, check
from hybrid.evaluation.loading import LoadedTask, loaded_task
from hybrid.evaluation.passages import passage_collection
from hybrid.evaluation.task import THREE_SETTINGS, Task


def development_tasks(corpora: Sequence[ParallelCorpus], config: DataConfig) -> list[LoadedTask]:
    """Return a task for each held-out corpus, ``dev`` or, of several, ``dev-NAME``.

    Its candidates are all sentences (or the paragraphs, as `config.passage` says) of the held-out items' paragraphs.
    """
    names = ["dev"] if len(corpora) == 1 else [f"dev-{corpus.name}" for corpus in corpora]
    return [_task(name, corpus, config) for name, corpus in zip(names, corpora, strict=True)]


def _task(name: str, corpus: ParallelCorpus, config: DataConfig) -> LoadedTask:
    def read(_: Path | None = None) -> Collection:
        return passage_collection(corpus.paragraphs(), config.passage)

    task = Task(
        name=name,
        read=read,
        folder="",
        settings=THREE_SETTINGS,
        source="the training corpus",
        licence="that of the training corpus",
        citation="",
        query_max_length=config.query_max_length,
        passage_max_length=config.passage_max_length,
    )
    return loaded_task(task, check(read(), f"data.dev of {corpus.name}"))
