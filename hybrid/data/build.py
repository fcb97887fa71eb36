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
        self.columns = {name: array("i") for name in ("sentence", "passage", "start")}
        self.alone = array("i")
        """By text number, the candidate that it is alone, or -1."""
        self.in_paragraph: dict[tuple[int, int], int] = {}
        self.by_paragraph: dict[tuple[int, str], tuple[list[int], list[tuple[int, int]]]] = {}

    def __len__(self) -> int:
        return len(self.columns["passage"])

    def paragraph(self, text: str) -> int:
        """Return the candidate that is a paragraph."""
        number = self.texts.add(text)
        if number >= len(self.alone):
            self.alone.extend([-1] * (number + 1 - len(self.alone)))
        if self.alone[number] < 0:
            self.alone[number] = self._append(-1, number, 0)
        return self.alone[number]

    def sentences(self, row: Row) -> tuple[list[int], list[tuple[int, int]]]:
        """Return the candidates that are the sentences of a row's passage, and their spans."""
        text = self.texts.add(row.passage)
        key = (text, row.passage_language)
        if key not in self.by_paragraph:
            spans = row.sentences or split_sentences(row.passage, row.passage_language)
            left = len(row.passage) - len(row.passage.lstrip())  # white space that the stored text lacks
            numbers = [self._sentence(self.texts.add(row.passage[a:b]), text, max(0, a - left)) for a, b in spans]
            self.by_paragraph[key] = numbers, spans
        return self.by_paragraph[key]

    def _sentence(self, sentence: int, paragraph: int, start: int) -> int:
        number = self.in_paragraph.setdefault((sentence, paragraph), len(self))
        return self._append(sentence, paragraph, start) if number == len(self) else number

    def _append(self, *values: int) -> int:
        for column, value in zip(self.columns.values(), values, strict=True):
            column.append(value)
        return len(self) - 1


class Names:
    """Numbers for names, in the order of their first use."""

    def __init__(self):
        self.numbers: dict[str, int] = {}

    def __call__(self, name: str) -> int:
        return self.numbers.setdefault(name, len(self.numbers))


class Builder:
    """Takes rows and gives a corpus; the texts go to the folder.

    Memory: some 40 bytes a text and 30 a row, twice that while the tables are made, and what finds a paragraph's
    sentences again: 3 kB where it has six.
    """

    columns = dict.fromkeys(("item", "query_language", "passage_language", "query", "answer", "pool", "article"), "i")
    columns |= dict.fromkeys(("query_language", "passage_language"), "h")

    def __init__(self, folder: Path, config: DataConfig, report: Report):
        self.config, self.report = config, report
        self.texts, self.ids = TextWriter(folder), TextWriter(folder, IDS)
        self.folder = folder
        self.candidates = Candidates(self.texts)
        self.articles, self.languages, self.groups = Names(), Names(), Names()
        self.rows = {name: array(kind) for name, kind in self.columns.items()}
        self.group_edges = array("i")
        self.pool, self.pool_ends, self.pools = array("i"), array("q", [0]), {(): 0}
        self.named = bytearray()
        self.files: list[tuple[int, str]] = []
        self.unused = 0
        """Rows whose own negatives are not taken."""
        self.unlike = 0
        """Rows with negatives of their own, paragraphs, beside a positive that is a sentence in its paragraph."""

    def add(self, rows: Iterable[Row], file: str) -> None:
        """Take the rows of one file."""
        self.files.append((len(self.rows["item"]), file))
        for row in counted(rows):
            try:
                self._add(row)
            except UnicodeEncodeError:
                self.report.note("half a character (a lone surrogate)", f"{file}, id {row.id}")

    def _add(self, row: Row) -> None:
        # Before any table: a row of which something cannot be written leaves no trace in them.
        answer, pool = self._answer(row)
        query, name = self.texts.add(row.query), row.id.encode()
        (row.query_language + row.passage_language).encode()
        item = self.ids.add_bytes(name)
        self.unused += bool(row.negatives) and self.config.negatives != "given"
        if item == len(self.named):
            self.named.append(row.named)
        values = (
            item,
            self.languages(row.query_language),
            self.languages(row.passage_language),
            query,
            answer,
            pool,
            self.articles(row.article) if row.article else -1,
        )
        for column, value in zip(self.rows.values(), values, strict=True):
            column.append(value)
        if row.group:
            self.group_edges.extend((item, self.groups(row.group)))

    def _answer(self, row: Row) -> tuple[int, int]:
        """Return the candidate that answers a row, and the number of the pool of its hard negatives."""
        given = self.config.negatives == "given"
        pool = self._pool([self.candidates.paragraph(text) for text in row.negatives]) if given else 0
        if self.config.passage == "paragraph" or row.answer_start is None:
            return self.candidates.paragraph(row.passage), pool
        self.unlike += bool(pool)
        numbers, spans = self.candidates.sentences(row)
        return numbers[sentence_of(spans, row.answer_start)], pool if given else self._pool(numbers)

    def _pool(self, numbers: list[int]) -> int:
        key = tuple(dict.fromkeys(numbers))
        if key not in self.pools:
            self.pools[key] = len(self.pool_ends)
            self.pool.extend(key)
            self.pool_ends.append(len(self.pool))
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
        rows = {column: np.frombuffer(values, values.typecode) for column, values in self.rows.items()}
        order = sorted(self.languages.numbers)
        place = np.argsort(np.argsort(list(self.languages.numbers))).astype(np.int16)
        for column in ("query_language", "passage_language"):
            rows[column] = place[rows[column]]
        texts, ids = Texts(self.folder), Texts(self.folder, IDS)
        rows = self._without_conflicts(rows, ids)
        blocks, item_order = blocks_of(rows, len(ids), len(order))
        tables = self._tables(rows, item_order)
        return ParallelCorpus(name, tuple(order), blocks, tables, texts, ids, dict(self.report.counts), texts.digest())

    def _without_conflicts(self, rows: dict[str, np.ndarray], ids: Texts) -> dict[str, np.ndarray]:
        """Leave out rows that give an item a second, different text in a language; what came first counts."""
        conflict = conflicts(key_of(rows["item"], rows["query_language"]), rows["query"])
        conflict |= conflicts(key_of(rows["item"], rows["passage_language"]), rows["answer"])
        starts = [start for start, _ in self.files]
        for row in np.flatnonzero(conflict).tolist():
            file = self.files[int(np.searchsorted(starts, row, side="right")) - 1][1]
            place = f"{file}, id {ids[int(rows['item'][row])]}"
            self.report.note("id twice with different text (the first is kept)", place)
        return {column: values[~conflict] for column, values in rows.items()} if conflict.any() else rows

    def _tables(self, rows: dict[str, np.ndarray], item_order: np.ndarray) -> Tables:
        number = np.empty(len(item_order), np.int32)
        number[item_order] = np.arange(len(item_order), dtype=np.int32)
        item = number[rows["item"]]
        sentence, passage, start = (np.array(column, np.int32) for column in self.candidates.columns.values())
        queries = np.unique(key_of(item, rows["query_language"]), return_index=True)[1]
        passage_keys = key_of(item, rows["passage_language"])
        passages = np.unique(passage_keys, return_index=True)[1]
        pools = pools_of(passage_keys, rows["pool"], np.array(self.pool_ends), np.array(self.pool, np.int32))
        groups, candidate_groups = self._groups(item, number, rows, passage)
        return Tables(
            item_id=item_order.astype(np.int32),
            groups=groups,
            article=articles_of(item, rows["article"], passage[rows["answer"]]),
            named=np.frombuffer(bytes(self.named), np.uint8).astype(bool)[item_order],
            query_text=rows["query"][queries],
            answer=rows["answer"][passages],
            pool_start=pools.start,
            pool_stop=pools.stop,
            pool=pools.candidates,
            candidate_sentence=sentence,
            candidate_passage=passage,
            candidate_start=start,
            candidate_group=candidate_groups,
        )

    def _groups(self, item: np.ndarray, number: np.ndarray, rows: dict, passage: np.ndarray):
        """Return the group of each item and candidate; a paragraph that is a candidate by itself answers, too, what its
        sentences answer."""
        edges = np.array(self.group_edges, np.int64).reshape(-1, 2)
        alone = np.full(int(passage.max()) + 1, -1, np.int32)
        alone[: len(self.candidates.alone)] = self.candidates.alone[: len(alone)]
        whole = alone[passage[rows["answer"]]]
        there = (whole >= 0) & (whole != rows["answer"])
        items, answers = np.concatenate([item, item[there]]), np.concatenate([rows["answer"], whole[there]])
        return groups_of(items, answers, number[edges[:, 0]], edges[:, 1], len(passage))
