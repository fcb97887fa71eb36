"""ParallelCorpus: items x languages, in the order of the set of languages that they have.

An item is one question-and-answer identity. Text arrays hold numbers of texts, -1 where an item lacks a language. A
*node* is one paragraph of one language; a *place* one sentence of one node.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from hybrid.data.records import Paragraph
from hybrid.runtime.files import digest


class Block(NamedTuple):
    """Consecutive items that have the same languages (indices)."""

    start: int
    stop: int
    languages: tuple[int, ...]


@dataclass
class ParallelCorpus:
    """A data set as arrays. I items, L languages, P nodes, S places."""

    name: str
    languages: tuple[str, ...]
    """Sorted codes."""
    ids: list[str]
    """[I]"""
    articles: list[str]
    """[I], the title of each item's article in the first language that has it."""
    texts: list[str]
    """Every distinct text once."""
    query: np.ndarray
    """int64 [I, L], text number of the question."""
    place: np.ndarray
    """int64 [I, L], the sentence that holds the answer."""
    node: np.ndarray
    """int64 [I, L], the paragraph."""
    node_text: np.ndarray
    """int64 [P], text number of each paragraph."""
    node_places: np.ndarray
    """int64 [P + 1], where each paragraph's sentences start among the places."""
    place_text: np.ndarray
    """int64 [S], text number of each sentence."""
    place_group: np.ndarray
    """int64 [S], identity of each sentence across languages and items."""
    node_group: np.ndarray
    """int64 [P], identity of each paragraph across languages."""
    groups: np.ndarray
    """int64 [I], identity of the text that is scored, dense."""
    blocks: list[Block]
    digest: str
    """Of texts, alignment and passage form."""

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, keep: np.ndarray) -> "ParallelCorpus":
        """Return the corpus with the items of bool [I] alone; texts, nodes and places stay as they are."""
        rows = np.flatnonzero(keep)
        _, dense = np.unique(self.groups[rows], return_inverse=True)
        smaller = replace(
            self,
            ids=[self.ids[row] for row in rows],
            articles=[self.articles[row] for row in rows],
            query=self.query[rows],
            place=self.place[rows],
            node=self.node[rows],
            groups=dense.astype(np.int64),
        )
        smaller.blocks = _blocks(smaller.query >= 0)
        smaller.digest = digest([self.digest, smaller.ids])
        return smaller


def build_corpus(name: str, paragraphs: dict[str, Sequence[Paragraph]], sentence_groups: bool) -> ParallelCorpus:
    """Join the paragraphs of several languages by question id.

    Args:
        name: of the data set.
        paragraphs: by language code.
        sentence_groups: whether the scored text is the paragraph and its sentence, or the paragraph alone.
    """
    languages = tuple(sorted(paragraphs))
    numbers: dict[str, int] = {}
    text = lambda value: numbers.setdefault(value, len(numbers))
    items: dict[str, int] = {}
    articles: list[str] = []
    cells: list[tuple[int, int, int, int, int]] = []
    node_text, node_places, place_text = [], [0], []
    for language, code in enumerate(languages):
        for paragraph in paragraphs[code]:
            node = len(node_text)
            node_text.append(text(paragraph.context.strip()))
            first = len(place_text)
            place_text += [text(paragraph.context[start:stop].strip()) for start, stop in paragraph.sentences]
            node_places.append(len(place_text))
            starts = [start for start, _ in paragraph.sentences]
            for question in paragraph.questions:
                item = items.setdefault(question.id, len(items))
                if item == len(articles):
                    articles.append(paragraph.article)
                sentence = max(0, int(np.searchsorted(starts, question.answer_start, side="right")) - 1)
                cells.append((item, language, text(question.question), first + sentence, node))
    table = np.array(cells, np.int64)
    grids = np.full((3, len(items), len(languages)), -1, np.int64)
    grids[:, table[:, 0], table[:, 1]] = table[:, 2:].T
    query, place, node = grids
    place_group = _joined(place, len(place_text))
    node_group = _joined(node, len(node_text))
    has = query >= 0
    order = np.lexsort((*has.T, -has.sum(1)))
    one = np.take_along_axis(place if sentence_groups else node, has.argmax(1)[:, None], 1)[:, 0]
    groups = (place_group if sentence_groups else node_group)[one]
    ids = list(items)
    corpus = ParallelCorpus(
        name=name,
        languages=languages,
        ids=[ids[row] for row in order],
        articles=[articles[row] for row in order],
        texts=list(numbers),
        query=query[order],
        place=place[order],
        node=node[order],
        node_text=np.array(node_text),
        node_places=np.array(node_places),
        place_text=np.array(place_text),
        place_group=place_group,
        node_group=node_group,
        groups=np.unique(groups[order], return_inverse=True)[1].astype(np.int64),
        blocks=_blocks(has[order]),
        digest="",
    )
    corpus.digest = digest([corpus.ids, corpus.texts, query.tolist(), place.tolist(), node.tolist(), sentence_groups])
    return corpus


def _joined(cells: np.ndarray, count: int) -> np.ndarray:
    """Return int64 [count]: the number of the set that each one is in when those of one item are the same text."""
    rows, columns = [], []
    for language in range(1, cells.shape[1]):
        for other in range(language):
            both = (cells[:, language] >= 0) & (cells[:, other] >= 0)
            rows.append(cells[both, language])
            columns.append(cells[both, other])
    edges = (np.concatenate(rows), np.concatenate(columns)) if rows else (np.zeros(0, int), np.zeros(0, int))
    graph = coo_matrix((np.ones(len(edges[0]), bool), edges), shape=(count, count))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def _blocks(has: np.ndarray) -> list[Block]:
    """Return the runs of equal rows of bool [I, L]."""
    if not len(has):
        return []
    new = np.flatnonzero((has[1:] != has[:-1]).any(1)) + 1
    bounds = [0, *new.tolist(), len(has)]
    return [Block(a, b, tuple(np.flatnonzero(has[a]).tolist())) for a, b in zip(bounds, bounds[1:], strict=False)]
