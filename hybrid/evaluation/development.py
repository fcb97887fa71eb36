"""The development split of the training corpora as tasks of the three settings, one a data set."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hybrid.data.config import DataConfig
from hybrid.data.corpus import ParallelCorpus
from hybrid.data.joining import components
from hybrid.data.sentences import candidate_text
from hybrid.evaluation.collection import Collection, Texts, check
from hybrid.evaluation.loading import LoadedTask, loaded_task
from hybrid.evaluation.task import THREE_SETTINGS, Task


def development_tasks(corpora: Sequence[ParallelCorpus], config: DataConfig) -> list[LoadedTask]:
    """Return a task for each held-out corpus, ``dev`` or, of several, ``dev-NAME``."""
    names = ["dev"] if len(corpora) == 1 else [f"dev-{corpus.name}" for corpus in corpora]
    return [_task(name, corpus, config) for name, corpus in zip(names, corpora, strict=True)]


def _task(name: str, corpus: ParallelCorpus, config: DataConfig) -> LoadedTask:
    def read(_: Path | None = None) -> Collection:
        return corpus_collection(corpus)

    entry = (config.dev.sets if config.dev else {}).get(corpus.name) or config.sets.get(corpus.name)
    own = entry and entry.max_length
    task = Task(
        name=name,
        read=read,
        folder="",
        settings=THREE_SETTINGS,
        source="the training corpus",
        licence="that of the training corpus",
        citation="",
        query_max_length=own or config.query_max_length,
        passage_max_length=own or config.passage_max_length,
    )
    return loaded_task(task, check(read(), f"data.dev of {corpus.name}"))


def corpus_collection(corpus: ParallelCorpus) -> Collection:
    """Return the queries of a corpus and the passages that answer them, as training encodes both.

    Beside a sentence in its paragraph stand the paragraph's other sentences; it is relevant to the questions of its
    item (LAReQA, arXiv 2004.05484). A passage that is scored whole is relevant to all questions of its group, so that
    none counts as wrong which training takes for an answer. A question that several items of a group ask is asked once.
    """
    documents = _Documents(corpus)
    item_Q, language_Q, text_Q = _asked(corpus)
    group_Q = corpus.groups[item_Q]
    questions_3Q = np.stack([group_Q, text_Q, language_Q])
    _, first, number_Q = np.unique(questions_3Q, axis=1, return_index=True, return_inverse=True)
    question = components(item_Q, len(corpus) + number_Q.ravel(), len(corpus))
    once = np.sort(first)
    items, languages = item_Q[once].tolist(), language_Q[once]
    names = ["_".join(corpus.item_name(item).split()) for item in items]
    of_question: dict[int, list[int]] = defaultdict(list)
    for item, found in documents.of_item.items():
        of_question[int(question[item])] += found
    of_group = {group: np.array(found, np.int64) for group, found in documents.of_group.items()}
    answers = [
        np.union1d(np.array(of_question[number], np.int64), of_group.get(group, np.empty(0, np.int64)))
        for number, group in zip(question[items].tolist(), group_Q[once].tolist(), strict=True)
    ]
    rows = np.repeat(np.arange(len(answers)), [len(found) for found in answers])
    return Collection(
        languages=corpus.languages,
        queries=Texts(
            [f"{corpus.languages[code]}-{name}" for code, name in zip(languages.tolist(), names, strict=True)],
            [corpus.texts[text] for text in text_Q[once].tolist()],
            languages.astype(np.int32),
        ),
        documents=Texts(documents.names, documents.texts, np.array(documents.languages, np.int32)),
        relevant=np.stack([rows, np.concatenate(answers)], axis=1),
        question=np.unique(question[items], return_inverse=True)[1],
    )


def _asked(corpus: ParallelCorpus) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return item, language and text of every query, language by language."""
    parts = sorted(corpus.each_query(), key=lambda part: part[1])
    items, rows = (np.concatenate([part[side] for part in parts]) for side in (0, 2))
    languages = np.repeat([language for _, language, _ in parts], [len(part) for part, _, _ in parts])
    return items, languages, corpus.tables.query_text[rows]


class _Documents:
    """Every candidate of the passages that answer a corpus's items, language by language."""

    def __init__(self, corpus: ParallelCorpus):
        self.corpus = corpus
        self.texts: list[str] = []
        self.names: list[str] = []
        self.languages: list[int] = []
        self.of_item: dict[int, list[int]] = defaultdict(list)
        self.of_group: dict[int, list[int]] = defaultdict(list)
        self.numbers: dict[tuple[int, int], int] = {}  # by language and candidate
        tables = corpus.tables
        self.by_passage = np.argsort(tables.candidate_passage, kind="stable")
        self.passages = tables.candidate_passage[self.by_passage]
        self.places = [0] * len(corpus.languages)  # passages so far of each language
        for items, language, rows in sorted(corpus.each_passage(), key=lambda part: part[1]):
            for item, answer in zip(items.tolist(), tables.answer[rows].tolist(), strict=True):
                if (language, answer) not in self.numbers:
                    self._add(language, answer)
                self.of_item[item].append(self.numbers[language, answer])

    def _add(self, language: int, answer: int) -> None:
        """Take a candidate, and the other sentences of its paragraph."""
        tables, texts = self.corpus.tables, self.corpus.texts
        name = f"{self.corpus.languages[language]}-{self.places[language]:05d}"
        self.places[language] += 1
        passage = int(tables.candidate_passage[answer])
        if tables.candidate_sentence[answer] < 0:
            self.of_group[int(tables.candidate_group[answer])].append(len(self.texts))
            self._append(language, answer, texts[passage], name)
            return
        own = self.by_passage[slice(*np.searchsorted(self.passages, [passage, passage + 1]))]
        own = own[tables.candidate_sentence[own] >= 0]
        for number, candidate in enumerate(own[np.argsort(tables.candidate_start[own], kind="stable")].tolist()):
            sentence = texts[int(tables.candidate_sentence[candidate])]
            self._append(language, candidate, candidate_text(sentence, texts[passage]), f"{name}-{number:02d}")

    def _append(self, language: int, candidate: int, text: str, name: str) -> None:
        self.numbers[language, candidate] = len(self.texts)
        self.texts.append(text)
        self.names.append(name)
        self.languages.append(language)
