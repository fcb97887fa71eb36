"""What a task's scoring leaves behind: scores.json, per-query Parquet, TREC files, heat maps."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from hybrid.evaluation.bias import MEASURES, bias_values, summary, top_shares
from hybrid.evaluation.collection import Collection
from hybrid.evaluation.measures import measure
from hybrid.evaluation.plots import bars, heat_map
from hybrid.evaluation.task import ALL, Setting, in_setting
from hybrid.evaluation.trec import join_runs, write_qrels
from hybrid.evaluation.whole_pool import PoolRanks, Ranking, setting_ranks
from hybrid.runtime.files import atomic_file


def setting_bias(entries: PoolRanks, collection: Collection, setting: Setting) -> dict[str, Any]:
    """Return what `bias_values` does of a setting's rankings; nothing where pools are of one language."""
    if setting.pools != "all":
        return {}
    part, ranks, _ = setting_ranks(entries, collection, setting)
    return bias_values(part, ranks, collection)


def setting_scores(
    entries: PoolRanks, collection: Collection, setting: Setting, bias: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a setting's measures: the mean over its cells (query language, pool) and each cell's own mean.

    Cells weigh the same whatever their number of queries. A query without a relevant document in a pool is no part of
    that cell; ``left_out`` counts them, those of cells in which no query has one too.

    Args:
        bias: from `setting_bias`.
    """
    _, ranks, where = setting_ranks(entries, collection, setting)
    language = collection.queries.language[where[:, 0]].astype(np.int64)
    cell_of = np.stack([language, where[:, 1]], axis=1)
    cells, inverse = np.unique(cell_of, axis=0, return_inverse=True)
    names = [cell_name(collection, query, pool) for query, pool in cells.tolist()]
    out: dict[str, Any] = {"rankings": len(where), "left_out": _asked(collection, setting) - len(where), "measures": {}}
    found: dict[str, Any] = {name: measure(name)(ranks) for name in setting.measures} | dict(bias)
    out["undefined"] = {name: reason for name, reason in found.items() if isinstance(reason, str)}
    for name in [name for name in found if name not in out["undefined"]]:
        values = cell_means(found[name], inverse.ravel(), len(cells))
        scored = values[~np.isnan(values)]
        out["measures"][name] = {
            "mean": float(scored.mean()) if len(scored) else None,
            "cells": {
                cell: None if np.isnan(value) else value for cell, value in zip(names, values.tolist(), strict=True)
            },
        }
    return out


def cell_means(values: np.ndarray, cell: np.ndarray, cells: int) -> np.ndarray:
    """Return float64 [cells], the mean of the values of each cell that are not NaN, NaN where there are none."""
    known = ~np.isnan(values)
    count = np.bincount(cell[known], minlength=cells)
    total = np.bincount(cell[known], values[known], minlength=cells)
    return np.divide(total, count, out=np.full(cells, np.nan), where=count > 0)


def cell_name(collection: Collection, query: int, pool: int) -> str:
    """Return ``de>en`` for German queries in the English pool, ``de>all`` in that of all languages."""
    return f"{collection.languages[query]}>{'all' if pool == ALL else collection.languages[pool]}"


def _asked(collection: Collection, setting: Setting) -> int:
    """Return how many rankings a setting asks for: pairs of a query and a pool."""
    language = collection.queries.language.astype(np.int64)
    pools = (ALL, *range(len(collection.languages)))
    return sum(int(in_setting(setting, language, np.full(len(language), pool)).sum()) for pool in pools)


def write_setting(folder: Path, entries: PoolRanks, collection: Collection, setting: Setting) -> None:
    """Write a setting's run (from its pieces) and qrels."""
    join_runs(folder / "pieces", setting.name, folder / f"{setting.name}.run")
    write_qrels(folder / f"{setting.name}.qrels", collection, setting, setting_ranks(entries, collection, setting)[0])


def write_per_query(
    path: Path,
    entries: PoolRanks,
    collection: Collection,
    settings: Sequence[Setting],
    bias: Mapping[str, Mapping[str, Any]],
) -> None:
    """Write one row per setting and ranking: the rank of every relevant document, the size of the pool, and what ranks
    do not give: the measures of language bias.

    Args:
        bias: of each setting by name, from `setting_bias`.
    """
    tables = [_per_query(entries, collection, setting, bias[setting.name]) for setting in settings]
    with atomic_file(path, "wb") as file:
        parquet.write_table(pa.concat_tables(tables), file)


def _per_query(entries: PoolRanks, collection: Collection, setting: Setting, bias: Mapping[str, Any]) -> pa.Table:
    part, ranks, where = setting_ranks(entries, collection, setting)
    query, pool = where[:, 0], where[:, 1]
    languages = pa.array([*collection.languages, "all"])
    offsets = pa.array(ranks.offsets.astype(np.int32))

    def taken(names: pa.Array, rows: np.ndarray) -> pa.Array:
        return pa.DictionaryArray.from_arrays(pa.array(rows.astype(np.int32)), names)

    def lists(values: pa.Array) -> pa.Array:
        return pa.ListArray.from_arrays(offsets, values)

    documents = pa.array(collection.documents.ids)
    known = {name: values for name, values in bias.items() if not isinstance(values, str)}
    undefined = np.full(len(query), np.nan)
    return pa.table(
        {
            "setting": taken(pa.array([setting.name]), np.zeros(len(query))),
            "query": taken(pa.array(collection.queries.ids), query),
            "question": collection.question[query],
            "query_language": taken(languages, collection.queries.language[query]),
            "pool": taken(languages, np.where(pool == ALL, len(collection.languages), pool)),
            "pool_size": ranks.pool_size,
            "relevant": lists(documents.take(pa.array(part.document))),
            "relevant_language": lists(languages.take(pa.array(collection.documents.language[part.document]))),
            "rank": lists(pa.array(part.rank)),
            "score": lists(pa.array(part.score)),
            **{name: known.get(name, undefined) for name in MEASURES},
        }
    )


def map_cells(collection: Collection, settings: Sequence[dict[str, Any]], name: str) -> np.ndarray:
    """Return float64 [languages, languages], a measure by query language (row) and pool language, NaN if absent."""
    cells = {cell: value for measures in settings for cell, value in measures[name]["cells"].items()}
    grid = [[cells.get(f"{query}>{pool}") for pool in collection.languages] for query in collection.languages]
    return np.array(grid, dtype=np.float64)


def write_heat_map(path: Path, collection: Collection, scores: dict[str, Any], title: str) -> None:
    """Draw mAP by query and pool language, if the task has settings with pools of one language.

    Where they do not all have mAP, their first common measure is drawn; the map's scale ends at 1.
    """
    settings = [scores[name]["measures"] for name in ("monolingual", "cross_lingual") if name in scores]
    common = [name for name in settings[0] if all(name in one for one in settings)] if settings else []
    common = [name for name in common if not name.startswith("rank_distance")]
    if not common:
        return
    name = "map" if "map" in common else common[0]
    grid = map_cells(collection, settings, name)
    if not np.isnan(grid).all():
        title = f"{title}: {'mAP' if name == 'map' else name}"
        heat_map(path, grid, collection.languages, title, "language of the passages", "language of the queries")


def language_shares(ranking: Ranking, collection: Collection, setting: Setting) -> dict[str, Any]:
    """Return what share of the first documents and of the relevant ones each language has; empty for single pools."""
    if setting.pools != "all":
        return {}
    part, _, _ = setting_ranks(ranking.entries, collection, setting)
    return top_shares(ranking.top_LL, part, collection)


def write_bars(path: Path, shares: dict[str, Any], title: str) -> None:
    """Draw the shares of the languages, averaged over query languages."""
    means = summary(shares)
    names = list(next(iter(means.values())))
    bars(path, np.array([[mean[name] for name in names] for mean in means.values()]), names, list(means), title)
