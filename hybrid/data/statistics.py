"""What a corpus holds: items per language and pair, lengths, duplicates."""

from collections.abc import Callable, Iterator

import numpy as np

from hybrid.data.config import DataConfig
from hybrid.data.corpus import ParallelCorpus
from hybrid.data.store import TokenStore

PERCENTILES = (5, 50, 95, 99, 100)
PAIRS = 400  # ordered pairs up to which the table of pairs is printed
Lengths = Callable[[np.ndarray], np.ndarray]


def describe(corpus: ParallelCorpus, config: DataConfig, store: TokenStore | None, number: int = 0) -> Iterator[str]:
    """Yield lines about a corpus; `store` holds its tokens as those of corpus `number`, without it characters count."""
    lengths: Lengths = (lambda texts: store.spans(number, texts)[1]) if store else _characters(corpus)
    groups = np.bincount(corpus.groups)
    yield f"{corpus.name}: {len(corpus)} items in {len(corpus.languages)} languages, {len(groups)} groups (answers)"
    yield f"  the largest group has {groups.max()} items; {len(np.unique(corpus.tables.article))} articles"
    yield from _table(["language", "queries", "passages", "equal queries", "queries a passage"], _languages(corpus))
    if len(corpus.languages) ** 2 <= PAIRS:
        yield "  items by language of the query (rows) and of the passage"
        pairs = pair_counts(corpus).tolist()
        yield from _table(
            ["", *corpus.languages], [[code, *row] for code, row in zip(corpus.languages, pairs, strict=True)]
        )
    yield f"  lengths in {'tokens' if store else 'characters'}, without prefix and special tokens"
    head = ["", *(f"{percentile}%" if percentile < 100 else "longest" for percentile in PERCENTILES)]
    limits = config.query_max_length, config.passage_max_length
    yield from _table(
        [*head, f"over {limits[0]}/{limits[1]}"] if store else head, _lengths(corpus, lengths, limits, store)
    )


def pair_counts(corpus: ParallelCorpus) -> np.ndarray:
    """Return int64 [L, L], the items that have a query in the one language and a passage in the other."""
    counts = np.zeros((len(corpus.languages),) * 2, np.int64)
    for block in corpus.blocks:
        counts[np.ix_(block.languages, block.passages)] += block.stop - block.start
    return counts


def _languages(corpus: ParallelCorpus) -> Iterator[list]:
    tables = corpus.tables
    queries = _by_language(corpus, corpus.each_query(), tables.query_text)
    passages = _by_language(corpus, corpus.each_passage(), tables.candidate_passage[tables.answer])
    for code, query, passage in zip(corpus.languages, queries, passages, strict=True):
        distinct = max(1, len(np.unique(passage)))
        yield [code, len(query), len(passage), len(query) - len(np.unique(query)), f"{len(passage) / distinct:.2f}"]


def _lengths(corpus: ParallelCorpus, lengths: Lengths, limits: tuple[int, int], share: object) -> Iterator[list]:
    tables = corpus.tables
    answers = _by_language(corpus, corpus.each_passage(), tables.answer)
    for code, texts in zip(corpus.languages, _by_language(corpus, corpus.each_query(), tables.query_text), strict=True):
        yield _percentiles(f"{code} queries", lengths(texts), limits[0], share)
    for code, own in zip(corpus.languages, answers, strict=True):
        size = lengths(tables.candidate_sentence[own]) + lengths(tables.candidate_passage[own])
        yield _percentiles(f"{code} passages", size, limits[1], share)


def _percentiles(name: str, values: np.ndarray, limit: int, share: object) -> list:
    if not len(values):
        return [name]
    row = [name, *np.percentile(values, PERCENTILES, method="nearest").tolist()]
    return [*row, f"{100 * np.mean(values > limit):.1f}%"] if share else row


def _by_language(corpus: ParallelCorpus, ranges: Iterator, values: np.ndarray) -> list[np.ndarray]:
    parts: list[list[np.ndarray]] = [[np.empty(0, np.int64)] for _ in corpus.languages]
    for _, language, rows in ranges:
        parts[language].append(values[rows])
    return [np.concatenate(part) for part in parts]


def _characters(corpus: ParallelCorpus) -> Lengths:
    return lambda texts: np.array([len(corpus.texts[text]) if text >= 0 else 0 for text in texts.tolist()], np.int64)


def _table(head: list[str], rows) -> Iterator[str]:
    """Yield a table's lines: the first column to the left, the others to the right."""
    cells = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(row[column]) for row in cells if column < len(row)) for column in range(len(head))]
    for row in cells:
        first, *others = (cell.rjust(width) for cell, width in zip(row, widths, strict=False))
        yield "    " + "  ".join([row[0].ljust(len(first)), *others])
