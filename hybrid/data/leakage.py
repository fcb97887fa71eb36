"""Training items that occur in an evaluation set (contract 6)."""

import os
import unicodedata
from collections.abc import Iterable, Sequence

import numpy as np

from hybrid.data.cache import counted
from hybrid.data.config import DatasetConfig, Level
from hybrid.data.corpus import ParallelCorpus
from hybrid.data.records import Row


def normalised(text: str) -> str:
    """Return a text as it is compared: NFKC, case folded; letters, marks and digits of any script alone."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(character for character in folded if unicodedata.category(character)[0] in "LMN")


class Known:
    """What is in a set that must not be met again: ids, questions, passages."""

    def __init__(self):
        self.ids: set[str] = set()
        self.questions: set[str] = set()
        self.passages: set[str] = set()

    def add(self, rows: Iterable[Row]) -> None:
        """Take rows of an evaluation set."""
        seen: set[str] = set()
        for row in counted(rows):
            if row.named:
                self.ids.add(row.id)
            self.questions.add(normalised(row.query))
            if row.passage not in seen:
                seen.add(row.passage)
                self.passages.add(normalised(row.passage))

    def add_corpus(self, corpus: ParallelCorpus) -> None:
        """Take the items of a corpus."""
        tables = corpus.tables
        questions = np.unique(tables.query_text)
        self.ids |= {corpus.item_name(item) for item in counted(np.flatnonzero(tables.named).tolist())}
        self.questions |= {normalised(corpus.texts[text]) for text in counted(questions.tolist())}
        passages = np.unique(tables.candidate_passage[tables.answer])
        self.passages |= {normalised(corpus.texts[text]) for text in counted(passages.tolist())}


Hits = dict[str, np.ndarray]


def hits_in(corpus: ParallelCorpus, sets: Sequence[Known], level: Level) -> list[Hits]:
    """Return, for each of several sets, which texts of a corpus it knows: bool [texts] of questions, and of passages.

    A text is normalised once, however many sets there are. Numbers of texts are those of the corpus's subsets too.
    """
    tables = corpus.tables
    questions = _known_texts(corpus, tables.query_text, [known.questions for known in sets])
    found = [{"question": hit} for hit in questions]
    if level == "passage":
        passages = tables.candidate_passage[tables.answer]
        for one, hit in zip(found, _known_texts(corpus, passages, [known.passages for known in sets]), strict=True):
            one["passage"] = hit
    return found


def leaking(corpus: ParallelCorpus, known: Known, hits: Hits) -> tuple[np.ndarray, dict[str, int]]:
    """Return bool [I], which items leak, and how many do by id, by question, by passage, and in all.

    Args:
        hits: what `hits_in` found of `known`.
    """
    tables = corpus.tables
    names = (named and corpus.item_name(item) in known.ids for item, named in enumerate(counted(tables.named.tolist())))
    by = {"id": np.fromiter(names, bool, len(corpus)), "question": np.zeros(len(corpus), bool)}
    for items, _, rows in corpus.each_query():
        by["question"][items] |= hits["question"][tables.query_text[rows]]
    if "passage" in hits:
        by["passage"] = np.zeros(len(corpus), bool)
        for items, _, rows in corpus.each_passage():
            by["passage"][items] |= hits["passage"][tables.candidate_passage[tables.answer[rows]]]
    found = np.logical_or.reduce(list(by.values()))
    return found, {how: int(mask.sum()) for how, mask in by.items()} | {"any": int(found.sum())}


def evaluation_set(entry: str | DatasetConfig) -> DatasetConfig:
    """Return the data set of an entry of ``leakage.against``: a folder stands for its LANGUAGE.json files."""
    return DatasetConfig(files=os.path.join(entry, "{language}.json*")) if isinstance(entry, str) else entry


def _known_texts(corpus: ParallelCorpus, texts: np.ndarray, sets: Sequence[set[str]]) -> np.ndarray:
    """Return bool [sets, all texts], whether each of `texts` is in each set."""
    hit = np.zeros((len(sets), len(corpus.texts)), bool)
    for text in counted(np.unique(texts).tolist() if sets else ()):
        name = normalised(corpus.texts[text])
        hit[:, text] = [name in known for known in sets]
    return hit
