"""Items in several languages, as arrays that are read through memory maps."""

import hashlib
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hybrid.data.texts import IDS, Texts
from hybrid.runtime.files import digest, read_json, write_json

META = "corpus.json"


class Block(NamedTuple):
    """Consecutive items that exist in the same languages."""

    start: int
    stop: int
    languages: tuple[int, ...]
    """Languages of the queries, as positions in the corpus's `languages`; of the passages too unless told apart."""
    passage_languages: tuple[int, ...] | None = None
    """Languages of the passages, where they are others than those of the queries."""

    @property
    def passages(self) -> tuple[int, ...]:
        """Languages of the passages."""
        return self.languages if self.passage_languages is None else self.passage_languages


@dataclass
class Tables:
    """What a corpus stores.

    I items; Q queries, one per item and query language, item by item within a block; P passages likewise; C candidates,
    texts that can be scored: a sentence in its paragraph, or a paragraph.
    """

    item_id: np.ndarray
    """int32 [I], number of the item's id in `ids`."""
    groups: np.ndarray
    """int64 [I], identity of the text that answers the item; dense from 0."""
    article: np.ndarray
    """int32 [I], document that the item is from."""
    named: np.ndarray
    """bool [I], whether a file gave the id."""
    query_text: np.ndarray
    """int32 [Q], text number."""
    answer: np.ndarray
    """int32 [P], candidate that answers the item."""
    pool_start: np.ndarray
    """int64 [P], where the passage's hard negatives begin in `pool`; the answer can be among them."""
    pool_stop: np.ndarray
    """int64 [P], where they end."""
    pool: np.ndarray
    """int32, candidates."""
    candidate_sentence: np.ndarray
    """int32 [C], text number of the sentence; -1 where the paragraph alone is scored."""
    candidate_passage: np.ndarray
    """int32 [C], text number of the paragraph."""
    candidate_start: np.ndarray
    """int32 [C], character of the paragraph at which the sentence begins."""
    candidate_group: np.ndarray
    """int64 [C], identity of the candidate: an item's group, or one of its own."""


@dataclass
class ParallelCorpus:
    """A data set: items x languages, partly aligned. Items are ordered by the set of languages that they exist in."""

    name: str
    languages: tuple[str, ...]
    blocks: list[Block]
    tables: Tables
    texts: Texts
    ids: Texts
    counts: dict[str, int]
    """Rows left out or mended, and items dropped, by cause."""
    texts_digest: str
    """Digest of the texts alone; the token store goes by it."""
    folder: Path | None = None
    """Where `save` wrote it."""
    unlabelled: bool = False
    """Whether query and passage of a row are one text, for the self-supervised kind."""

    def __reduce__(self):
        return ParallelCorpus.load, (self.folder,)

    def __len__(self) -> int:
        return len(self.tables.groups)

    @property
    def groups(self) -> np.ndarray:
        """int64 [items], identity of the text that answers each item."""
        return self.tables.groups

    @cached_property
    def digest(self) -> str:
        """Digest of everything that training sees."""
        state = hashlib.blake2b(digest([self.languages, self.blocks, self.texts_digest]).encode(), digest_size=16)
        for field in fields(Tables):
            state.update(np.ascontiguousarray(getattr(self.tables, field.name)))
        return state.hexdigest()

    @cached_property
    def n_groups(self) -> int:
        """Number of identities, those of candidates that answer no item included."""
        return int(self.tables.candidate_group.max()) + 1

    def query_rows(self, items: np.ndarray, languages: np.ndarray) -> np.ndarray:
        """Return the rows of the Q arrays for items and language positions, elementwise."""
        return self._query_layout.rows(items, languages)

    def passage_rows(self, items: np.ndarray, languages: np.ndarray) -> np.ndarray:
        """Return the rows of the P arrays for items and language positions, elementwise."""
        return self._passage_layout.rows(items, languages)

    def block_of(self, item: int) -> Block:
        """Return the block of an item."""
        return self.blocks[bisect_right(self.blocks, item, key=lambda block: block.start) - 1]

    def item_name(self, item: int) -> str:
        """Return the id of an item."""
        return self.ids[int(self.tables.item_id[item])]

    def each_query(self) -> Iterator[tuple[np.ndarray, int, np.ndarray]]:
        """Yield (items, language, rows of the Q arrays) for every block and language."""
        return self._query_layout.ranges()

    def each_passage(self) -> Iterator[tuple[np.ndarray, int, np.ndarray]]:
        """Yield (items, language, rows of the P arrays) for every block and language."""
        return self._passage_layout.ranges()

    def with_negatives(self) -> float:
        """Return the part of all passages that have a hard negative: a candidate in their pool that is no answer."""
        tables, found = self.tables, 0
        for items, _, rows in self.each_passage():
            start, sizes = tables.pool_start[rows], tables.pool_stop[rows] - tables.pool_start[rows]
            owner = np.repeat(np.arange(len(rows)), sizes)
            candidate = tables.pool[ragged_range(start, sizes)]
            found += len(np.unique(owner[tables.candidate_group[candidate] != self.groups[items][owner]]))
        return found / len(tables.answer)

    def subset(self, keep: np.ndarray, counts: dict[str, int] | None = None) -> "ParallelCorpus":
        """Return the corpus of the items where bool [I] `keep` is true; texts and candidates stay as they are."""
        ends = np.concatenate([[0], np.cumsum(keep)])
        blocks = [block._replace(start=int(ends[block.start]), stop=int(ends[block.stop])) for block in self.blocks]
        queries = np.zeros(len(self.tables.query_text), bool)
        for items, _, rows in self.each_query():
            queries[rows] = keep[items]
        passages = np.zeros(len(self.tables.answer), bool)
        for items, _, rows in self.each_passage():
            passages[rows] = keep[items]
        old = self.tables
        number = renumber(old.groups[keep], self.n_groups)
        tables = replace(
            old,
            item_id=old.item_id[keep],
            groups=number[old.groups[keep]],
            article=old.article[keep],
            named=old.named[keep],
            query_text=old.query_text[queries],
            answer=old.answer[passages],
            pool_start=old.pool_start[passages],
            pool_stop=old.pool_stop[passages],
            candidate_group=number[old.candidate_group],
        )
        blocks = [block for block in blocks if block.start < block.stop]
        return replace(self, folder=None, blocks=blocks, tables=tables, counts=self.counts | (counts or {}))

    def save(self, folder: Path) -> None:
        """Write the arrays to a folder inside that of the texts."""
        folder.mkdir(parents=True)
        for field in fields(Tables):
            np.save(folder / f"{field.name}.npy", getattr(self.tables, field.name))
        keys = ("name", "languages", "blocks", "counts", "texts_digest", "digest", "unlabelled")
        meta = {key: getattr(self, key) for key in keys}
        write_json(folder / META, meta)

    @staticmethod
    def load(folder: Path) -> "ParallelCorpus":
        """Map what `save` wrote; reads no array until it is used."""
        texts, ids = Texts(folder.parent), Texts(folder.parent, IDS)
        meta = read_json(folder / META)
        tables = Tables(**{f.name: np.load(folder / f"{f.name}.npy", mmap_mode="r") for f in fields(Tables)})
        blocks = [Block(start, stop, tuple(q), p if p is None else tuple(p)) for start, stop, q, p in meta["blocks"]]
        languages = tuple(meta["languages"])
        known = meta["counts"], meta["texts_digest"], folder, meta["unlabelled"]
        corpus = ParallelCorpus(meta["name"], languages, blocks, tables, texts, ids, *known)
        corpus.__dict__["digest"] = meta["digest"]
        return corpus

    @cached_property
    def _query_layout(self) -> "_Layout":
        return _Layout([(block.start, block.stop, block.languages) for block in self.blocks], len(self.languages))

    @cached_property
    def _passage_layout(self) -> "_Layout":
        return _Layout([(block.start, block.stop, block.passages) for block in self.blocks], len(self.languages))


class _Layout:
    """Where the entry of an item and a language stands in an array that goes block by block, item by item."""

    def __init__(self, blocks: list[tuple[int, int, tuple[int, ...]]], n_languages: int):
        self.blocks = blocks
        self.starts = np.array([start for start, _, _ in blocks], np.int64)
        self.widths = np.array([len(languages) for _, _, languages in blocks], np.int64)
        sizes = np.array([stop - start for start, stop, _ in blocks], np.int64) * self.widths
        self.bases = np.cumsum(sizes) - sizes
        self.columns = np.full((len(blocks), n_languages), -1, np.int64)
        for number, (_, _, languages) in enumerate(blocks):
            self.columns[number, list(languages)] = np.arange(len(languages))

    def rows(self, items: np.ndarray, languages: np.ndarray) -> np.ndarray:
        block = np.searchsorted(self.starts, items, side="right") - 1
        column = self.columns[block, languages]
        if (column < 0).any():
            raise IndexError("an item was asked for in a language that it does not exist in")
        return self.bases[block] + (items - self.starts[block]) * self.widths[block] + column

    def ranges(self) -> Iterator[tuple[np.ndarray, int, np.ndarray]]:
        for number, (start, stop, languages) in enumerate(self.blocks):
            items = np.arange(start, stop)
            for column, language in enumerate(languages):
                yield items, language, self.bases[number] + (items - start) * self.widths[number] + column


def renumber(first: np.ndarray, n: int) -> np.ndarray:
    """Return int64 [n], a new number for each of n: those that occur in `first` come first, in rising order."""
    rest = np.ones(n, bool)
    rest[first] = False
    number = np.empty(n, np.int64)
    number[np.argsort(rest, kind="stable")] = np.arange(n)
    return number


def ragged_range(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return the ranges start, start + 1, ... of the given lengths, end to end."""
    first = np.cumsum(lengths) - lengths
    return np.repeat(starts - first, lengths) + np.arange(lengths.sum())
