"""What scoring a collection with judgments leaves behind: TREC files, per-query Parquet, a heat map."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from hybrid.evaluation.answers import first_hits
from hybrid.evaluation.judged import Judged, Part
from hybrid.evaluation.plots import heat_map
from hybrid.evaluation.search import Found
from hybrid.runtime.files import atomic_file

Places = Sequence[Sequence[tuple[int, str]]]
"""Of each query: (rank, document id) of its relevant documents among those found; by answers, of the first only."""


def relevant_places(part: Part, found: Found) -> Places:
    """Return where the relevant documents of each query stand, as far as the search looked.

    A part without judgments is judged by answer strings: the first document that holds an answer of the query counts.
    """
    if not part.qrels:
        first = first_hits(found.rows, part.documents, part.answers).tolist()
        return [
            [(rank, part.document_ids[int(rows[rank - 1])])] if rank else []
            for rank, rows in zip(first, found.rows, strict=True)
        ]
    return [list(_relevant(part, name, rows)) for name, rows in zip(part.query_ids, found.rows.tolist(), strict=True)]


def _relevant(part: Part, query: str, rows: Sequence[int]) -> Iterable[tuple[int, str]]:
    grades = part.qrels[query]
    for rank, row in enumerate(rows, 1):
        if row >= 0 and grades.get(name := part.document_ids[row], 0) > 0:
            yield rank, name


def codes_of(setting, codes: Iterable[str]) -> list[str]:
    """Return the parts that belong to a setting."""
    same = {code: len(set(code.split(">"))) == 1 for code in codes}
    return [code for code in same if setting.pools not in ("same", "other") or same[code] == (setting.pools == "same")]


def cell(code: str) -> str:
    """Return a part's code as language of the queries > language of the documents."""
    return code if ">" in code else f"{code}>{code}"


def per_query(
    task,
    judged: Judged,
    values: Mapping[str, Mapping[str, np.ndarray]],
    places: Mapping[str, Places],
    own: Mapping[str, np.ndarray],
) -> pa.Table:
    """Return one row per setting and query: its measures, and which relevant documents were found at which ranks.

    Args:
        own: by part `hybrid.evaluation.judged.own_documents`, where these are left out.
    """
    tables = []
    for setting in task.settings:
        for code in codes_of(setting, judged.parts):
            part, count = judged.parts[code], len(judged.parts[code].query_ids)
            query_language, pool = cell(code).split(">")
            columns = {
                "setting": [setting.name] * count,
                "query": list(part.query_ids),
                "question": [name if judged.parallel else f"{code} {name}" for name in part.query_ids],
                "query_language": [query_language] * count,
                "pool": [pool] * count,
                "pool_size": len(part.document_ids) - (own.get(code, np.full(count, -2)) >= 0),
                "found": pa.array([[name for _, name in own] for own in places[code]], pa.list_(pa.string())),
                "found_rank": pa.array([[rank for rank, _ in own] for own in places[code]], pa.list_(pa.int64())),
            }
            tables.append(pa.table({**columns, **values[code]}))
    return pa.concat_tables(tables)


def write_run(path: Path, part: Part, found: Found, depth: int) -> None:
    """Write the first `depth` documents of each query."""
    with atomic_file(path) as file:
        for query, rows, scores in zip(part.query_ids, found.rows[:, :depth].tolist(), found.scores, strict=True):
            names = [part.document_ids[row] for row in rows if row >= 0]
            ranked = enumerate(zip(names, scores, strict=False), 1)
            file.writelines(f"{query} Q0 {name} {place} {score} hybrid\n" for place, (name, score) in ranked)


def write_qrels(path: Path, part: Part, places: Places) -> None:
    """Write a part's judgments.

    Where answer strings judge, a query has one line: its first hit with grade 1, or grade 0 for any document where
    there is none. Success@k of the run by these is the hit rate.
    """
    with atomic_file(path) as file:
        for query, judged in part.qrels.items():
            file.writelines(f"{query} 0 {name} {grade}\n" for name, grade in judged.items())
        if not part.qrels:
            for query, own in zip(part.query_ids, places, strict=True):
                file.write(f"{query} 0 {own[0][1] if own else part.document_ids[0]} {len(own)}\n")


def write_map(folder: Path, task: str, measure: str, values: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """Draw a measure by language of query and documents, where there are pairs of them."""
    pairs = {tuple(code.split(">")): float(found[measure].mean()) for code, found in values.items() if ">" in code}
    if pairs:
        names = sorted({code for pair in pairs for code in pair})
        grid = np.array([[pairs.get((query, pool), np.nan) for pool in names] for query in names])
        title = f"{task}: {measure}"
        heat_map(folder / "map.png", grid, names, title, "language of the passages", "language of the queries")
