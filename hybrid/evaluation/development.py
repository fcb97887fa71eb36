"""The development split of the training corpora as a task of the three settings."""

from collections.abc import Sequence

import numpy as np

from hybrid.data.corpus import ParallelCorpus
from hybrid.data.sentences import candidate_text
from hybrid.evaluation.collection import Collection, Texts, check
from hybrid.evaluation.evaluator import LoadedTask, loaded_task
from hybrid.evaluation.task import THREE_SETTINGS, Task


def development_task(corpora: Sequence[ParallelCorpus], sentences: bool, query_length: int, length: int) -> LoadedTask:
    """Return the task ``dev``: held-out items, and as candidates all sentences (or paragraphs) of their paragraphs.

    Args:
        sentences: whether a candidate is a sentence and its paragraph, or a paragraph.
        query_length, length: tokens of queries and of passages.
    """
    languages = tuple(sorted({code for corpus in corpora for code in corpus.languages}))
    queries: list[tuple[str, str, int, int]] = []
    documents: list[tuple[str, str, int]] = []
    relevant: list[tuple[int, int]] = []
    for corpus in corpora:
        number = {code: languages.index(code) for code in corpus.languages}
        cells = np.argwhere(corpus.query >= 0)
        where = (corpus.place if sentences else corpus.node)[cells[:, 0], cells[:, 1]]
        nodes, first = np.unique(corpus.node[cells[:, 0], cells[:, 1]], return_index=True)
        row_of: dict[int, int] = {}
        for node, cell in zip(nodes.tolist(), first.tolist(), strict=True):
            language = number[corpus.languages[cells[cell, 1]]]
            paragraph = corpus.texts[corpus.node_text[node]]
            places = range(*corpus.node_places[node : node + 2].tolist()) if sentences else [node]
            for place in places:
                row_of[place] = len(documents)
                text = candidate_text(corpus.texts[corpus.place_text[place]], paragraph) if sentences else paragraph
                documents.append((f"{corpus.name}-{place}", text, language))
        answers: dict[int, list[int]] = {}
        for (item, _), place in zip(cells.tolist(), where.tolist(), strict=True):
            answers.setdefault(item, []).append(row_of[place])
        for item, column in cells.tolist():
            relevant += [(len(queries), row) for row in sorted(set(answers[item]))]
            code = corpus.languages[column]
            name = f"{corpus.name}-{'_'.join(corpus.ids[item].split())}-{code}"
            queries.append((name, corpus.texts[corpus.query[item, column]], number[code], item))
    collection = Collection(
        languages=languages,
        queries=_texts(queries),
        documents=_texts(documents),
        relevant=np.array(relevant, np.int64).reshape(-1, 2),
        question=np.array([row[3] for row in queries], np.int64),
    )
    return loaded_task(_task(query_length, length), check(collection, "data.dev"))


def _texts(rows: Sequence[tuple]) -> Texts:
    return Texts([row[0] for row in rows], [row[1] for row in rows], np.array([row[2] for row in rows], np.int32))


def _task(query_length: int, length: int) -> Task:
    return Task(
        name="dev",
        read=lambda folder: None,
        folder="",
        settings=THREE_SETTINGS,
        source="the training corpus",
        licence="that of the training corpus",
        citation="",
        query_max_length=query_length,
        passage_max_length=length,
    )
