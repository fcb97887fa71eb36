"""From rows to a ParallelCorpus: joins languages by id, finds groups and articles, orders items by their languages."""

from array import array
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from hybrid.data.cache import counted
from hybrid.data.config import DataConfig
from hybrid.data.corpus import ParallelCorpus, Tables
from hybrid.data.joining import articles_of, blocks_of, conflicts, groups_of, key_of, pools_of
from hybrid.data.records import Row
from hybrid.data.report import Report
from hybrid.data.sentences import sentence_of, split_sentences
from hybrid.data.texts import IDS, Texts, TextWriter
from hybrid.runtime.errors import InputError


class Candidates:
    """Texts that can be scored, each once: a sentence in its paragraph, or a paragraph alone."""

    def __init__(self, texts: TextWriter):
        self.texts = texts
        self.numbers: dict[tuple[int, int], int] = {}
        self.starts = array("i")
        self.by_paragraph: dict[tuple[int, str], tuple[list[int], list[tuple[int, int]]]] = {}

    def paragraph(self, text: str) -> int:
        """Return the candidate that is a paragraph."""
        return self._number(-1, self.texts.add(text), 0)

    def sentences(self, row: Row) -> tuple[list[int], list[tuple[int, int]]]:
        """Return the candidates that are the sentences of a row's passage, and their spans."""
        text = self.texts.add(row.passage)
        key = (text, row.passage_language)
        if key not in self.by_paragraph:
            spans = row.sentences or split_sentences(row.passage, row.passage_language)
            left = len(row.passage) - len(row.passage.lstrip())  # white space that the stored text lacks
            numbers = [self._number(self.texts.add(row.passage[a:b]), text, max(0, a - left)) for a, b in spans]
            self.by_paragraph[key] = numbers, spans
        return self.by_paragraph[key]

    def _number(self, sentence: int, paragraph: int, start: int) -> int:
        number = self.numbers.setdefault((sentence, paragraph), len(self.starts))
        if number == len(self.starts):
            self.starts.append(start)
        return number


class Names:
    """Numbers for names, in the order of their first use."""

    def __init__(self):
        self.numbers: dict[str, int] = {}

    def __call__(self, name: str) -> int:
        return self.numbers.setdefault(name, len(self.numbers))


class Builder:
    """Takes rows and gives a corpus; the texts go to the folder.

    Memory: some 100 bytes a row and a text, and what finds a paragraph's sentences again: 3 kB where it has six.
    """

    columns = ("item", "query_language", "passage_language", "query", "answer", "pool_start", "pool_stop", "article")

    def __init__(self, folder: Path, config: DataConfig, report: Report):
        self.config, self.report = config, report
        self.texts, self.ids = TextWriter(folder), TextWriter(folder, IDS)
        self.folder = folder
        self.candidates = Candidates(self.texts)
        self.items, self.articles, self.languages, self.groups = Names(), Names(), Names(), Names()
        self.rows = {name: array("q") for name in self.columns}
        self.group_edges = array("q")
        self.pool, self.pools = array("i"), {}
        self.named, self.item_text = bytearray(), array("i")
        self.files: list[tuple[int, str]] = []
        self.unused = 0
        """Rows whose own negatives are not taken."""

    def add(self, rows: Iterable[Row], file: str) -> None:
        """Take the rows of one file."""
        self.files.append((len(self.rows["item"]), file))
        for row in counted(rows):
            try:
                self._add(row)
            except UnicodeEncodeError:
                self.report.note("half a character (a lone surrogate)", f"{file}, id {ascii(row.id)[1:-1]}")

    def _add(self, row: Row) -> None:
        # Texts and the id before any table: a row whose text cannot be written leaves no trace in them.
        answer, pool = self._answer(row)
        query = self.texts.add(row.query)
        row.id.encode()
        self.unused += bool(row.negatives) and self.config.negatives != "given"
        item = self.items(row.id)
        if item == len(self.named):
            self.named.append(row.named)
            self.item_text.append(self.ids.add(row.id))
        values = (
            item,
            self.languages(row.query_language),
            self.languages(row.passage_language),
            query,
            answer,
            *pool,
            self.articles(row.article) if row.article else -1,
        )
        for column, value in zip(self.rows.values(), values, strict=True):
            column.append(value)
        if row.group:
            self.group_edges.extend((item, self.groups(row.group)))

    def _answer(self, row: Row) -> tuple[int, tuple[int, int]]:
        """Return the candidate that answers a row, and the range of its hard negatives in the pool."""
        given = self.config.negatives == "given"
        pool = self._pool([self.candidates.paragraph(text) for text in row.negatives]) if given else (0, 0)
        if self.config.passage == "paragraph" or row.answer_start is None:
            return self.candidates.paragraph(row.passage), pool
        numbers, spans = self.candidates.sentences(row)
        return numbers[sentence_of(spans, row.answer_start)], pool if given else self._pool(numbers)

    def _pool(self, numbers: list[int]) -> tuple[int, int]:
        key = tuple(dict.fromkeys(numbers))
        if key not in self.pools:
            self.pools[key] = len(self.pool), len(self.pool) + len(key)
            self.pool.extend(key)
        return self.pools[key]

    def finish(self, name: str, expected: Iterable[str]) -> ParallelCorpus:
        """Return the corpus of all rows. Raises InputError if there is none, or none in an expected language."""
        self.texts.close()
        self.ids.close()
        if not self.rows["item"]:
            causes = "; ".join(self.report.lines()) or "they are empty"
            raise InputError(
                f"{self.report.name}: its files hold no usable row; {causes}. Mend or replace them, or take it out."
            )
        for language in expected:
            if language not in self.languages.numbers:
                raise InputError(
                    f"{self.report.name}: language {language!r} has no usable row; mend its files or leave it out. "
                    f"{' '.join(self.report.lines())}"
                )
        rows = {column: np.array(values, np.int64) for column, values in self.rows.items()}
        order = sorted(self.languages.numbers)
        place = np.argsort(np.argsort(list(self.languages.numbers)))
        for column in ("query_language", "passage_language"):
            rows[column] = place[rows[column]]
        rows = self._without_conflicts(rows)
        texts, ids = Texts(self.folder), Texts(self.folder, IDS)
        blocks, item_order = blocks_of(rows, len(self.items.numbers), len(order))
        tables = self._tables(rows, item_order)
        return ParallelCorpus(name, tuple(order), blocks, tables, texts, ids, dict(self.report.counts), texts.digest())

    def _without_conflicts(self, rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Leave out rows that give an item a second, different text in a language; what came first counts."""
        conflict = conflicts(key_of(rows["item"], rows["query_language"]), rows["query"])
        conflict |= conflicts(key_of(rows["item"], rows["passage_language"]), rows["answer"])
        names = list(self.items.numbers)
        starts = [start for start, _ in self.files]
        for row in np.flatnonzero(conflict).tolist():
            file = self.files[int(np.searchsorted(starts, row, side="right")) - 1][1]
            place = f"{file}, id {names[rows['item'][row]]}"
            self.report.note("id twice with different text (the first is kept)", place)
        return {column: values[~conflict] for column, values in rows.items()}

    def _tables(self, rows: dict[str, np.ndarray], item_order: np.ndarray) -> Tables:
        number = np.empty(len(item_order), np.int64)
        number[item_order] = np.arange(len(item_order))
        item = number[rows["item"]]
        keys = np.array(list(self.candidates.numbers), np.int32).reshape(-1, 2)
        queries = np.unique(key_of(item, rows["query_language"]), return_index=True)[1]
        passage_keys = key_of(item, rows["passage_language"])
        passages = np.unique(passage_keys, return_index=True)[1]
        pools = pools_of(passage_keys, rows["pool_start"], rows["pool_stop"], np.array(self.pool, np.int32))
        edges = np.array(self.group_edges, np.int64).reshape(-1, 2)
        groups, candidate_groups = groups_of(item, rows["answer"], number[edges[:, 0]], edges[:, 1], len(keys))
        return Tables(
            item_id=np.array(self.item_text, np.int32)[item_order],
            groups=groups,
            article=articles_of(item, rows["article"], keys[rows["answer"], 1]),
            named=np.frombuffer(bytes(self.named), np.uint8).astype(bool)[item_order],
            query_text=rows["query"][queries].astype(np.int32),
            answer=rows["answer"][passages].astype(np.int32),
            pool_start=pools.start,
            pool_stop=pools.stop,
            pool=pools.candidates,
            candidate_sentence=keys[:, 0],
            candidate_passage=keys[:, 1],
            candidate_start=np.array(self.candidates.starts, np.int32),
            candidate_group=candidate_groups,
        )
