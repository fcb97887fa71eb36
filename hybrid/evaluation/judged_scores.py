"""Scores of a collection with judgments: search in each part, then ir-measures, answer strings and a reader."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import ir_measures
import numpy as np
from pyarrow import parquet

from hybrid.evaluation.answers import exact_match, f1
from hybrid.evaluation.config import EvaluationConfig
from hybrid.evaluation.distinct import Joined
from hybrid.evaluation.faiss_index import check_index
from hybrid.evaluation.judged import Judged, Part, own_documents
from hybrid.evaluation.judged_files import (
    Places,
    cell,
    codes_of,
    per_query,
    relevant_places,
    write_map,
    write_qrels,
    write_run,
)
from hybrid.evaluation.reading import Reader, load_reader
from hybrid.evaluation.search import Found, describe, sampled_recall, search
from hybrid.evaluation.vectors import Vectors
from hybrid.runtime.files import atomic_file, write_json
from hybrid.runtime.logs import log
from hybrid.runtime.processes import barrier, gather_objects, is_main, rank, world_size

_BY_QRELS = {
    "ndcg": ir_measures.nDCG,
    "recall": ir_measures.R,
    "precision": ir_measures.P,
    "map": ir_measures.AP,
}
READ = {"answer_f1": f1, "exact_match": exact_match}
"""Measures of answers, which need a reader: without one they are not reported."""


def score_judged(
    task, judged: Judged, embed: Callable, folder: Path, config: EvaluationConfig, about: Mapping[str, Any]
) -> dict[str, Any]:
    """Encode, search and measure each part; returns what scores.json holds. Every rank has to call it.

    Args:
        task: its settings say which parts are averaged, and by what measures.
        embed: (texts, ``query`` or ``passage``, name of a folder) to embeddings.
    """
    start = time.monotonic()
    check_index(config.search, judged.smallest_pool)
    names = list(dict.fromkeys(name for setting in task.settings for name in setting.measures))
    reader, names = _reader(task, names, config)
    values, places, recalls = {}, {}, {}
    own = {code: own_documents(part) for code, part in judged.parts.items()} if judged.leaves_out_own else {}
    for code, part, queries, documents in _embedded(task, judged, embed):
        depth = min(max(setting.depth for setting in task.settings), len(part.documents))
        more = int((own[code] >= 0).any()) if own else 0
        found = search(queries, documents, part.document_ids, min(depth + more, len(part.documents)), config.search)
        if not config.search.exact:
            recalls[code] = sampled_recall(queries, documents, part.document_ids, found, config.search.device)
        if more:
            found = without(found, own[code], depth)
        places[code], values[code] = measured(part, found, names)
        if reader:
            answers = read_answers(reader, part, found, config.reader_passages)
            values[code] |= _judged_answers(answers, part, code.split(">")[-1], names)
        if is_main():
            name = code.replace(">", "-")
            if config.run_depth:
                write_run(folder / f"{name}.run", part, found, config.run_depth)
                write_qrels(folder / f"{name}.qrels", part, places[code])
            if part.answers and (reader or not part.qrels):
                write_json(folder / f"{name}.answers.json", dict(zip(part.query_ids, part.answers, strict=True)))
            if reader:
                # The form of MLQA's prediction files.
                answered = dict(zip(part.query_ids, answers, strict=True))
                write_json(folder / f"{name}.predictions.json", answered)
    scores = {
        "task": task.name,
        "languages": judged.languages,
        "left_out_in_reading": {code: dict(part.counts) for code, part in judged.parts.items()},
        "queries_whose_own_document_is_left_out": {code: int((rows >= 0).sum()) for code, rows in own.items()},
        "tie_rule": "equal float32 scores: the larger document id, as bytes, first",
        "search": describe(config.search),
        "reader": {"model": reader.digest, "passages": config.reader_passages} if reader else None,
        "settings": {
            setting.name: _setting(setting, values, names)
            | {"recall_of_search": {code: recalls[code] for code in codes_of(setting, recalls)}}
            for setting in task.settings
        },
        **about,
    }
    if is_main():
        with atomic_file(folder / "per_query.parquet", "wb") as file:
            parquet.write_table(per_query(task, judged, values, places, own), file)
        write_map(folder, task.name, names[0], values)
        write_json(folder / "scores.json", scores)
    barrier()
    if left_out := sum(scores["queries_whose_own_document_is_left_out"].values()):
        log(f"{task.name}: {left_out} queries have a document of their own id; it is left out of their rankings.")
    log(f"{task.name}: scored in {time.monotonic() - start:.1f} s, {describe(config.search)}: {folder}")
    return scores


def _reader(task, names: Sequence[str], config: EvaluationConfig) -> tuple[Reader | None, list[str]]:
    """Return the reader, if one is asked for and the task has answers, and the measures to report."""
    if config.reader and task.has_answers:
        import torch

        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return load_reader(config.reader, config.encoding.precision, device), list(names)
    return None, [name for name in names if name not in READ]


def _embedded(task, judged: Judged, embed: Callable) -> Iterator[tuple[str, Part, np.ndarray, Vectors]]:
    """Yield each part with its embeddings; a text is encoded once, however many parts it is in."""
    parts = judged.parts.values()
    corpora = {id(part.documents): part.documents for part in parts}
    queries = embed(list(chain.from_iterable(part.queries for part in parts)), task.prefixes[0], "query")
    documents = embed(Joined(list(corpora.values())), task.prefixes[1], "passage")
    starts = dict(zip(corpora, np.cumsum([0, *map(len, corpora.values())]).tolist(), strict=False))
    first = 0
    for code, part in judged.parts.items():
        own = documents.rows[starts[id(part.documents)] :][: len(part.documents)]
        yield code, part, queries[first : first + len(part.queries)], Vectors(documents.folder, own)
        first += len(part.queries)


def without(found: Found, document_B: np.ndarray, k: int) -> Found:
    """Return the first k documents of each query without this one of it; places that become free are beyond the corpus.

    Args:
        document_B: int64 [B], a row for each query; one that does not occur, such as -2, leaves out none.
    """
    out = found.rows == document_B[:, None]
    order = np.argsort(out, axis=1, kind="stable")[:, :k]
    rows, scores = np.where(out, -1, found.rows), np.where(out, np.float32(-np.inf), found.scores)
    return Found(np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1))


def measured(part: Part, found: Found, names: Sequence[str]) -> tuple[Places, dict[str, np.ndarray]]:
    """Return where the relevant documents stand, and float64 [B] of each measure; ranks share the queries."""
    rows = np.arange(rank(), len(part.query_ids), world_size())
    own, own_found = _share(part, rows.tolist()), Found(found.rows[rows], found.scores[rows])
    own_places = relevant_places(own, own_found)
    shares = gather_objects((own_places, _measured(own, own_found, own_places, names)))
    places: list[Sequence[tuple[int, str]]] = [()] * len(part.query_ids)
    values = {name: np.empty(len(places)) for name in shares[0][1]}
    for number, (some_places, some_values) in enumerate(shares):
        places[number :: world_size()] = some_places
        for name, some in some_values.items():
            values[name][number :: world_size()] = some
    return places, values


def _share(part: Part, rows: Sequence[int]) -> Part:
    """Return the part with these of its queries."""
    names = [part.query_ids[row] for row in rows]
    return replace(
        part,
        query_ids=names,
        queries=[part.queries[row] for row in rows],
        qrels={name: part.qrels[name] for name in names} if part.qrels else {},
        answers=part.answers and [part.answers[row] for row in rows],
    )


def _measured(part: Part, found: Found, places: Places, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Return float64 [B] of each measure: trec_eval's, whose tie rule is that of the search, or by answer strings."""
    out = {}
    split = {name: name.rpartition("_at_") for name in names}
    by_qrels = {name: _BY_QRELS[base] @ int(cut) for name, (base, _, cut) in split.items() if base in _BY_QRELS}
    if by_qrels:
        out |= _by_qrels(part, found, by_qrels)
    first = np.array([own[0][0] if own else np.inf for own in places])
    for name, (base, _, cut) in split.items():
        if base == "mrr":
            # Not ir-measures': its RR with a cutoff is another program's, of equal scores the smaller id first.
            out[name] = np.where(first <= int(cut), 1 / first, 0.0)
        elif base == "hit_rate":
            out[name] = (first <= int(cut)).astype(np.float64)
    return out


def _by_qrels(part: Part, found: Found, measures: Mapping[str, Any]) -> dict[str, np.ndarray]:
    run = {
        query: {part.document_ids[row]: float(score) for row, score in zip(rows, scores, strict=True) if row >= 0}
        for query, rows, scores in zip(part.query_ids, found.rows.tolist(), found.scores, strict=True)
    }
    number = {name: row for row, name in enumerate(part.query_ids)}
    names = {str(value): key for key, value in measures.items()}
    out = {key: np.zeros(len(number)) for key in measures}
    if not run:
        return out
    for value in ir_measures.iter_calc(list(measures.values()), part.qrels, run):
        out[names[str(value.measure)]][number[value.query_id]] = value.value
    return out


def read_answers(reader: Reader, part: Part, found: Found, count: int) -> list[str]:
    """Return the reader's answer to each query out of its first `count` documents; ranks share the queries."""
    rows = range(rank(), len(part.queries), world_size())
    texts = [[part.documents[number] for number in found.rows[row, :count].tolist() if number >= 0] for row in rows]
    shares = gather_objects(reader.read([part.queries[row] for row in rows], texts))
    out = [""] * len(part.queries)
    for number, share in enumerate(shares):
        out[number :: world_size()] = share
    return out


def _judged_answers(answers: Sequence[str], part: Part, language: str, names: Sequence[str]) -> dict[str, np.ndarray]:
    pairs = list(zip(answers, part.answers, strict=True))
    return {
        name: np.array([READ[name](answer, truths, language) for answer, truths in pairs])
        for name in names
        if name in READ
    }


def _setting(setting, values: Mapping[str, Mapping[str, np.ndarray]], names: Sequence[str]) -> dict[str, Any]:
    """Return each measure's mean over parts, and that of each part over its queries."""
    measures = {}
    for name in (name for name in setting.measures if name in names):
        cells = {cell(code): float(values[code][name].mean()) for code in codes_of(setting, values)}
        measures[name] = {"mean": float(np.mean(list(cells.values()))) if cells else None, "cells": cells}
    return {"measures": measures}
