"""Which of the documents found for a question are its hard negatives. B questions, K documents found for each."""

import math
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from hybrid.data.joining import components
from hybrid.evaluation.collection import Collection
from hybrid.evaluation.search import Found
from hybrid.runtime.errors import InputError


@dataclass
class MiningConfig:
    """Which candidates are kept as negatives."""

    count: int = 8
    """Negatives of each pair at the most."""
    first_rank: int = 1
    """Rank, among the candidates in the languages asked for, from which negatives are taken."""
    last_rank: int = 100
    """Rank up to which they are taken."""
    margin: float = 0.0
    """A negative's score is below the positive's by more than this."""
    ratio: float = 1.0
    """A negative's score is below the positive's by more than 1 - ratio of that score's size: below this share of it,
    where it is positive."""
    languages: Literal["own", "others", "both"] = "both"
    """Language of the negatives, as seen from the question."""
    query_max_length: int = 64
    """Tokens of a question."""
    passage_max_length: int = 256
    """Tokens of a paragraph."""
    filter: str | None = None
    """Cross-encoder (sequence classification, directory or hub id) that removes candidates it takes for answers."""
    filter_below: float = 0.5
    """A negative's probability of being an answer, by the cross-encoder, is below this."""
    filter_depth: int = 24
    """Candidates of each question, those ranked first of all that passed the other tests, that it reads."""

    def __post_init__(self) -> None:
        for key in ("count", "query_max_length", "passage_max_length", "filter_depth"):
            if getattr(self, key) < 1:
                raise InputError(f"mining.{key} is {getattr(self, key)}; give a whole number of at least 1.")
        for key in ("margin", "ratio", "filter_below"):
            if not math.isfinite(getattr(self, key)):
                raise InputError(f"mining.{key} is {getattr(self, key)}; give a number.")
        for key in ("filter_below", "filter_depth"):
            if not self.filter and getattr(self, key) != getattr(MiningConfig, key):
                raise InputError(
                    f"mining.{key} is set, but mining.filter names no cross-encoder; give one, or remove it."
                )
        if not 1 <= self.first_rank <= self.last_rank:
            raise InputError(
                f"mining.first_rank is {self.first_rank}, last_rank {self.last_rank}; expected 1 <= first <= last."
            )
        if self.filter and self.filter_depth < self.count:
            raise InputError(
                f"mining.filter_depth is {self.filter_depth}, less than mining.count ({self.count}); the filter has to "
                "read as many candidates as are kept, or more."
            )


@dataclass(frozen=True)
class Mined:
    """The negatives of each question, documents by row; how many were kept by rank; what became of all candidates.

    `beneath` counts the questions of which every candidate in the window is too near to the positive, or above it.
    """

    negatives: list[list[int]]
    ranks: Counter
    counts: Counter
    beneath: int

    def fewer(self, count: int) -> int:
        """Return how many questions have fewer negatives than that."""
        return sum(len(negatives) < count for negatives in self.negatives)


Relevance = Callable[[np.ndarray], np.ndarray]
"""Pairs (query row, document row), int64 [n, 2], to the probability that the document answers the query, [n]."""


def document_groups(collection: Collection) -> np.ndarray:
    """Return int64 [documents]: the same number for documents that answer a question in common, in any language."""
    documents = len(collection.documents)
    query, document = collection.relevant.T
    return components(document, documents + collection.question[query], documents)[:documents]


def normalised(text: str) -> str:
    """Return text for comparing answers with passages: NFKD, lower case, single spaces."""
    return " ".join(unicodedata.normalize("NFKD", text).casefold().split())


def positives(collection: Collection) -> np.ndarray:
    """Return int64 [queries], a document that answers it, in its own language if there is one, -1 where none is."""
    query, document = collection.relevant.T
    own = collection.documents.language[document] == collection.queries.language[query]
    found = np.full(len(collection.queries), -1, np.int64)
    found[query[::-1]] = document[::-1]
    found[query[own]] = document[own]
    return found


def allowed(collection: Collection, languages: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return groups of queries, int64 [b], each with the documents that may be negatives of them, int64 [n], by row.

    Raises InputError where no query has such a document.
    """
    asked, written = collection.queries.language, collection.documents.language
    if languages == "both":
        return [(np.arange(len(asked)), np.arange(len(written)))]
    pairs = [
        (np.flatnonzero(asked == number), np.flatnonzero((written == number) == (languages == "own")))
        for number in range(len(collection.languages))
    ]
    groups = [(queries, documents) for queries, documents in pairs if len(queries) and len(documents)]
    if not groups:
        raise InputError(
            f"mining.languages is {languages!r}, but no question (languages: {', '.join(collection.languages)}) has "
            "passages in such a language; set it to both, or give files of more languages."
        )
    return groups


def choose(
    collection: Collection,
    answers: Sequence[set[str]],
    found: Found,
    positive_scores_B: np.ndarray,
    config: MiningConfig,
    relevance: Relevance | None = None,
) -> Mined:
    """Choose negatives among the first documents of each question.

    Args:
        answers: `normalised` answers of each question number, in all languages.
        found: the first documents of each query, in order, of those that are `allowed`.
        positive_scores_B: float32 [B], of the passage of `positives`, which need not be among those found.
        relevance: of the cross-encoder; None leaves it out.
    """
    near = _near(found, positive_scores_B, config)
    reasons = _reasons(collection, found, near, config)
    window = slice(config.first_rank - 1, config.last_rank)
    beneath = int((near | (found.rows < 0))[positives(collection) >= 0, window].all(axis=1).sum())
    texts = [normalised(text) for text in collection.documents.texts]
    most = config.filter_depth if relevance else config.count
    places, counts = [], Counter()
    for query, row in enumerate(reasons == ""):
        strings, taken = answers[int(collection.question[query])], 0
        for column in np.flatnonzero(row).tolist():
            if taken == most:
                reasons[query, column] = "enough already"
            elif any(answer in texts[found.rows[query, column]] for answer in strings):
                reasons[query, column] = "contains the answer"
            else:
                places.append((query, column))
                taken += 1
    query, column = np.array(places, np.int64).reshape(-1, 2).T
    if relevance:
        answer = relevance(np.stack([query, found.rows[query, column]], axis=1)) >= config.filter_below
        reasons[query[answer], column[answer]] = "an answer to the cross-encoder"
        query, column = query[~answer], column[~answer]
        order = np.arange(len(query)) - np.searchsorted(query, query)
        reasons[query[order >= config.count], column[order >= config.count]] = "enough already"
        query, column = query[order < config.count], column[order < config.count]
    reasons[query, column] = "kept"
    counts = Counter(dict(zip(*(part.tolist() for part in np.unique(reasons, return_counts=True)), strict=True)))
    ends = np.searchsorted(query, np.arange(len(reasons) + 1))
    rows = found.rows[query, column].tolist()
    negatives = [rows[start:stop] for start, stop in pairwise(ends.tolist())]
    return Mined(negatives, Counter((column + 1).tolist()), counts, beneath)


def _near(found: Found, positive_scores_B: np.ndarray, config: MiningConfig) -> np.ndarray:
    """Return bool [B, K], which candidates are not far enough below the positive; of no positive, by a score of 0."""
    score = np.where(np.isfinite(positive_scores_B), positive_scores_B, 0)[:, None]
    # Of a score below zero the share is nearer to zero, and so above it: the size is what a part is taken of.
    highest = np.minimum(score - config.margin, score - np.abs(score) * (1 - config.ratio))
    return found.scores >= highest


def _reasons(collection: Collection, found: Found, near: np.ndarray, config: MiningConfig) -> np.ndarray:
    """Return str [B, K], why a candidate is no negative as far as ranks, scores, groups and languages tell, or ''."""
    group = document_groups(collection)
    positive = positives(collection)
    rank = np.arange(1, found.rows.shape[1] + 1)
    reasons = np.full(found.rows.shape, "", dtype="U32")
    reasons[near] = "too near to the positive"
    reasons[group[found.rows] == group[positive][:, None]] = "same group"
    reasons[positive < 0] = "no positive"
    reasons[:, (rank < config.first_rank) | (rank > config.last_rank)] = "outside the window"
    reasons[found.rows < 0] = "beyond the pool"
    return reasons
