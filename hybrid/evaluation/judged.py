"""Collections with judgments in TREC's sense: corpus, topics, qrels; a part for each language, or one alone."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ir_measures
import numpy as np
import pyarrow as pa
from pyarrow import parquet

from hybrid.evaluation.config import SearchConfig
from hybrid.evaluation.search import Found, describe, recall_of, search
from hybrid.runtime.errors import InputError
from hybrid.runtime.files import atomic_file, digest, write_json
from hybrid.runtime.logs import log, warn
from hybrid.runtime.processes import barrier, is_main

MEASURES = {
    "ndcg_at_10": ir_measures.nDCG @ 10,
    "recall_at_10": ir_measures.R @ 10,
    "recall_at_100": ir_measures.R @ 100,
    "mrr_at_10": ir_measures.RR @ 10,
    "map_at_1000": ir_measures.AP @ 1000,
}
_SAMPLE = 200


@dataclass(frozen=True)
class Part:
    """One corpus with its queries and judgments: grades above 0 are relevant, 0 is judged and not relevant."""

    query_ids: Sequence[str]
    queries: Sequence[str]
    document_ids: Sequence[str]
    documents: Sequence[str]
    qrels: Mapping[str, Mapping[str, int]]
    counts: Mapping[str, int]


@dataclass(frozen=True)
class Judged:
    """Parts by language."""

    parts: Mapping[str, Part]

    @property
    def content(self) -> str:
        """Digest of all that is scored."""
        return digest({code: list(map(digest, vars(part).values())) for code, part in self.parts.items()})


def check_part(part: Part, place: str) -> Part:
    """Return the part with only the judgments that can count; what is left out is counted.

    Raises InputError where ids repeat, queries are empty, or more than one judgment in a hundred names an unknown query
    or document.
    """
    for side, ids in (("query", part.query_ids), ("document", part.document_ids)):
        if len(set(ids)) < len(ids):
            raise InputError(f"{place}: {len(ids) - len(set(ids))} {side} ids occur twice; remove the repetitions.")
    if empty := [name for name, text in zip(part.query_ids, part.queries, strict=True) if not text.strip()]:
        raise InputError(f"{place}: {len(empty)} queries are empty (first: {empty[0]!r}); remove or mend them.")
    queries, documents = set(part.query_ids), set(part.document_ids)
    pairs = [(query, document) for query, judged in part.qrels.items() for document in judged]
    unknown = [f"{query} {name}" for query, name in pairs if query not in queries or name not in documents]
    if len(unknown) > 0.01 * len(pairs):
        raise InputError(
            f"{place}: {len(unknown)} of {len(pairs)} judgments name an unknown query or document (first: "
            f"{', '.join(unknown[:3])}); corpus, topics and qrels must be of one version."
        )
    if unknown:
        warn(f"{place}: {len(unknown)} judgments name an unknown query or document: {', '.join(unknown[:5])}")
    qrels = {query: judged for query, judged in part.qrels.items() if query in queries}
    relevant = {query: judged for query, judged in qrels.items() if max(judged.values()) > 0}
    counts = {
        "judgments of unknown queries or documents": len(unknown),
        "queries without judgments": len(queries) - len(qrels),
        "queries without a relevant document": len(qrels) - len(relevant),
        "empty documents": sum(not text.strip() for text in part.documents),
    }
    if not relevant:
        raise InputError(f"{place}: no query has a relevant document; check that topics and qrels belong together.")
    kept = [row for row, name in enumerate(part.query_ids) if name in relevant]
    ids, texts = [part.query_ids[row] for row in kept], [part.queries[row] for row in kept]
    return Part(ids, texts, part.document_ids, part.documents, relevant, counts)


def score_judged(
    name: str, judged: Judged, embed: Callable, folder: Path, depth: int, config: SearchConfig, about: Mapping[str, Any]
) -> dict[str, Any]:
    """Encode, search and measure each part; returns what scores.json holds. Every rank has to call it.

    Args:
        embed: (texts, ``query`` or ``passage``, name of a folder) to embeddings.
        depth: documents of each query in run files.
    """
    start = time.monotonic()
    cells: dict[str, dict[str, float]] = {measure: {} for measure in MEASURES}
    tables, counts, recalls = [], {}, {}
    for code, part in judged.parts.items():
        queries = embed(part.queries, "query", f"query-{code}")[:]
        documents = embed(part.documents, "passage", f"passage-{code}")
        found = search(queries, documents, part.document_ids, depth, config)
        if not config.exact:
            recalls[code] = _recall(queries, documents, part, found, config)
        values = _measured(part, found)
        counts[code] = dict(part.counts)
        for measure, column in values.items():
            cells[measure][f"{code}>{code}"] = float(column.mean())
        tables.append(_per_query(code, part, values))
        if is_main():
            _write_run(folder / f"{code}.run", part, found)
            _write_qrels(folder / f"{code}.qrels", part)
    measures = {key: {"mean": float(np.mean(list(by.values()))), "cells": by} for key, by in cells.items()}
    scores = {
        "task": name,
        "languages": sorted(judged.parts),
        "left_out_in_reading": counts,
        "tie_rule": "equal float32 scores: the larger document id, as bytes, first",
        "search": describe(config),
        "settings": {"retrieval": {"measures": measures, "recall_of_search": recalls}},
        **about,
    }
    if is_main():
        with atomic_file(folder / "per_query.parquet", "wb") as file:
            parquet.write_table(pa.concat_tables(tables), file)
        write_json(folder / "scores.json", scores)
    barrier()
    log(f"{name}: scored in {time.monotonic() - start:.1f} s, {describe(config)}: {folder}")
    return scores


def _recall(queries, documents, part: Part, found: Found, config: SearchConfig) -> float:
    """Return the share of the exact first 100 documents of the first `_SAMPLE` queries that the search found."""
    width = min(100, found.rows.shape[1])
    exact = search(queries[:_SAMPLE], documents, part.document_ids, width, SearchConfig(device=config.device))
    return recall_of(Found(found.rows[:_SAMPLE, :width], found.scores[:_SAMPLE, :width]), exact)


def _measured(part: Part, found: Found) -> dict[str, np.ndarray]:
    """Return float64 [B] of each measure, by ir-measures, whose tie rule is that of the search."""
    run = {
        query: {part.document_ids[row]: float(score) for row, score in zip(rows, scores, strict=True) if row >= 0}
        for query, rows, scores in zip(part.query_ids, found.rows.tolist(), found.scores, strict=True)
    }
    number = {name: row for row, name in enumerate(part.query_ids)}
    names = {str(value): key for key, value in MEASURES.items()}
    out = {key: np.zeros(len(number)) for key in MEASURES}
    for value in ir_measures.iter_calc(list(MEASURES.values()), part.qrels, run):
        out[names[str(value.measure)]][number[value.query_id]] = value.value
    return out


def _per_query(code: str, part: Part, values: Mapping[str, np.ndarray]) -> pa.Table:
    count = len(part.query_ids)
    columns = {
        "setting": ["retrieval"] * count,
        "query": list(part.query_ids),
        "question": [f"{code} {name}" for name in part.query_ids],
        "query_language": [code] * count,
        "pool": [code] * count,
        "pool_size": np.full(count, len(part.document_ids)),
    }
    return pa.table({**columns, **values})


def _write_run(path: Path, part: Part, found: Found) -> None:
    with atomic_file(path) as file:
        for query, rows, scores in zip(part.query_ids, found.rows.tolist(), found.scores, strict=True):
            names = [part.document_ids[row] for row in rows if row >= 0]
            ranked = enumerate(zip(names, scores, strict=False), 1)
            file.writelines(f"{query} Q0 {name} {place} {score} hybrid\n" for place, (name, score) in ranked)


def _write_qrels(path: Path, part: Part) -> None:
    with atomic_file(path) as file:
        for query, judged in part.qrels.items():
            file.writelines(f"{query} 0 {name} {grade}\n" for name, grade in judged.items())
