"""Ranks of every relevant document in whole pools: each language's documents, and those of all languages together.

Each query is scored once against all documents; every setting then takes the pools it needs. Legend: B queries of a
block, N documents, D dimensions.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from hybrid.evaluation.collection import Collection
from hybrid.evaluation.measures import Ranks
from hybrid.evaluation.ranking import ahead, key_columns, key_scores, score_block, sort_keys, tie_order, top_keys
from hybrid.evaluation.search import Matrix
from hybrid.evaluation.task import ALL, Setting, in_setting
from hybrid.evaluation.trec import RunWriter
from hybrid.runtime.processes import cores, gather_objects, poll, rank, world_size

# Scores of the queries of a block, whose rankings are written together, and of those that are ranked at once: the
# kernel clears the pages of larger arrays anew each time, which took longer than all sorting.
_BLOCK_BYTES, _STRIP_BYTES = 32 << 20, 8 << 20
_FEWEST_QUERIES = 64
# Documents are turned to float64 once if they take no more than this, else block by block for each block of queries.
_KEPT_BYTES = 256 << 20
_DOCUMENTS = 16384
# What threads may hold at once, and what each holds for a score: the score, its key, and both in order.
_THREADS_BYTES, _SCORE_BYTES = 4 << 30, 28


@dataclass(frozen=True)
class PoolRanks:
    """One row for each query, pool and relevant document in it; sorted by query, pool, rank.

    Attributes:
        query, document: int64 [E], rows of the collection.
        pool: int64 [E], a language, or `ALL`.
        rank: int64 [E], from 1.
        score: float32 [E].
    """

    query: np.ndarray
    pool: np.ndarray
    document: np.ndarray
    rank: np.ndarray
    score: np.ndarray

    def pick(self, chosen: np.ndarray) -> "PoolRanks":
        """Return the rows where `chosen` is true, or the rows of these numbers."""
        return PoolRanks(*(getattr(self, name)[chosen] for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class Ranking:
    """What ranking all pools gives: see `PoolRanks`, and how often which language is among the first documents.

    `top_LL` is int64: query language by document language, over the first `top` of the pool of all languages.
    """

    entries: PoolRanks
    top_LL: np.ndarray


@dataclass(frozen=True)
class _Pools:
    """The documents in the order of ties, the columns of each language in it, and the embeddings if they are kept."""

    order: np.ndarray
    column: np.ndarray
    columns: dict[int, np.ndarray]
    documents_ND: Matrix
    kept: np.ndarray | None

    def scores(self, queries_BD: np.ndarray) -> np.ndarray:
        """Return float32 [B, N], columns in the order of ties."""
        if self.kept is not None:
            return score_block(queries_BD, self.kept)
        starts = range(0, len(self.order), _DOCUMENTS)
        blocks = (np.asarray(self.documents_ND[self.order[start : start + _DOCUMENTS]]) for start in starts)
        return np.concatenate([score_block(queries_BD, block.astype(np.float64)) for block in blocks], axis=1)


def _pools(collection: Collection, documents_ND: Matrix) -> _Pools:
    order = tie_order(list(collection.documents.ids))
    column = np.empty_like(order)
    column[order] = np.arange(len(order))
    language = collection.documents.language[order]
    columns = {number: np.flatnonzero(language == number) for number in np.unique(language).tolist()}
    few = 8 * np.prod(documents_ND.shape) <= _KEPT_BYTES
    kept = np.asarray(documents_ND[order]).astype(np.float64) if few else None
    return _Pools(order, column, columns, documents_ND, kept)


def pool_sizes(collection: Collection) -> dict[int, int]:
    """Return the number of documents of each pool: a language's, and all under `ALL`."""
    numbers, counts = np.unique(collection.documents.language, return_counts=True)
    return {**dict(zip(numbers.tolist(), counts.tolist(), strict=True)), ALL: len(collection.documents)}


def rank_pools(
    collection: Collection,
    queries_BD: Matrix,
    documents_ND: Matrix,
    settings: Sequence[Setting],
    run_folder: Path | None = None,
    run_depth: int = 1000,
    top: int = 20,
) -> Ranking:
    """Rank every pool that a setting asks for, on all ranks, and return the whole result on each of them.

    Args:
        queries_BD, documents_ND: embeddings in the order of the collection; they are read in blocks.
        run_folder: where the first `run_depth` documents of each ranking go as TREC runs, in pieces that
            `trec.join_runs` puts together; None writes nothing.
        top: the first documents of the pool of all languages whose languages are counted.
    """
    pools = _pools(collection, documents_ND)
    by_query = _relevant_by_query(collection)
    size = max(1 if pools.kept is not None else _FEWEST_QUERIES, _BLOCK_BYTES // (8 * len(pools.order)))
    starts = range(0, len(queries_BD), size)
    # Documents that are not kept are read once for each block.
    strip = max(1, _STRIP_BYTES // (8 * len(pools.order))) if pools.kept is not None else size
    writer = RunWriter(collection, pools.order, settings, run_folder, run_depth) if run_folder else None

    def work(number: int) -> list[Ranking]:
        stop = min(starts[number] + size, len(queries_BD))
        strips = [np.arange(first, min(first + strip, stop)) for first in range(starts[number], stop, strip)]
        return [
            _rank_strip(collection, pools, by_query, rows, queries_BD[rows], settings, writer, number, top)
            for rows in strips
        ]

    mine = range(len(starts))[rank() :: world_size()]
    fit = max(1, _THREADS_BYTES // (_SCORE_BYTES * size * len(pools.order)))
    with ThreadPoolExecutor(min(_threads(), fit)) as threads:
        strips = []
        for found in threads.map(work, mine):
            strips += found
            poll()
    strips = [part for share in gather_objects(strips) for part in share]
    joined = _join([part.entries for part in strips])
    order = np.lexsort((joined.rank, joined.pool, joined.query))
    return Ranking(joined.pick(order), np.sum([part.top_LL for part in strips], axis=0))


def _threads() -> int:
    import torch

    # accelerate gives each process of a GPU job one thread, whatever the machine has, and there is no other work here.
    given = 0 if torch.cuda.is_available() else int(os.environ.get("OMP_NUM_THREADS", 0))
    return given or max(1, cores() // int(os.environ.get("LOCAL_WORLD_SIZE", world_size())))


def _relevant_by_query(collection: Collection) -> np.ndarray:
    """Return int64 [queries + 1], where each query's rows begin in `collection.relevant`."""
    return np.searchsorted(collection.relevant[:, 0], np.arange(len(collection.queries) + 1))


def _rank_strip(collection, pools, by_query, rows, queries_BD, settings, writer, number, top) -> Ranking:
    """Rank the consecutive queries `rows` of block `number` in every pool that a setting asks for."""
    keys_BN = sort_keys(pools.scores(queries_BD.astype(np.float64)))
    in_order = {language: _sorted(keys_BN[:, columns]) for language, columns in pools.columns.items()}
    bounds = by_query[rows[0] : rows[-1] + 2]
    query, document = collection.relevant[bounds[0] : bounds[-1]].T
    own = keys_BN[query - rows[0], pools.column[document]]
    ahead_EL = _ahead_by_language(in_order, own, bounds - bounds[0])
    query_language = collection.queries.language[query].astype(np.int64)
    found = []
    top_LL = np.zeros((len(collection.languages), len(collection.languages)), np.int64)
    for pool in (*in_order, ALL):
        wanted = np.zeros(len(query), bool)
        for setting in settings:
            wanted |= in_setting(setting, query_language, np.full(len(query), pool))
        if pool != ALL:
            wanted &= collection.documents.language[document] == pool
        if not wanted.any():
            continue
        rank = 1 + (ahead_EL.sum(axis=1) if pool == ALL else ahead_EL[:, list(in_order).index(pool)])[wanted]
        pool_E = np.full(len(rank), pool)
        found.append(PoolRanks(query[wanted], pool_E, document[wanted], rank, key_scores(own[wanted])))
        asked, first_entry = np.unique(query[wanted], return_index=True)
        at = asked - rows[0]
        if pool == ALL:
            first = top_keys(keys_BN[at], max(top, writer.depth if writer else 0))
            language = collection.documents.language[pools.order[key_columns(first[:, :top], len(pools.order))]]
            np.add.at(top_LL, (query_language[wanted][first_entry][:, None], language), 1)
        if writer:
            writer.write(number, asked, pool, first if pool == ALL else in_order[pool][at, ::-1])
    return Ranking(_join(found), top_LL)


def _sorted(keys_Bn: np.ndarray) -> np.ndarray:
    keys_Bn.sort(axis=1)
    return keys_Bn


def _ahead_by_language(in_order: dict[int, np.ndarray], own: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Return int64 [E, L], how many documents of each language come before each relevant one.

    Args:
        in_order: the keys of each language, row by row in ascending order.
        own: int64 [E], keys of the relevant documents.
        bounds: int64 [rows + 1], where each row's begin in `own`.
    """
    ahead_EL = np.empty((len(own), len(in_order)), np.int64)
    for row, (start, stop) in enumerate(pairwise(bounds.tolist())):
        for place, member in enumerate(in_order.values()):
            ahead_EL[start:stop, place] = ahead(member[row], own[start:stop])
    return ahead_EL


def _join(parts: Sequence[PoolRanks]) -> PoolRanks:
    if not parts:
        empty = np.zeros(0, np.int64)
        return PoolRanks(empty, empty, empty, empty, empty.astype(np.float32))
    return PoolRanks(
        *(np.concatenate([getattr(part, name) for part in parts]) for name in PoolRanks.__dataclass_fields__)
    )


def setting_ranks(entries: PoolRanks, collection: Collection, setting: Setting) -> tuple[PoolRanks, Ranks, np.ndarray]:
    """Return a setting's part of the ranks, the same as `Ranks`, and int64 [n, 2]: query and pool of each ranking."""
    query_language = collection.queries.language[entries.query].astype(np.int64)
    part = entries.pick(in_setting(setting, query_language, entries.pool))
    key = np.stack([part.query, part.pool], axis=1)
    first = np.flatnonzero(np.r_[True, (key[1:] != key[:-1]).any(axis=1)]) if len(key) else np.zeros(0, np.int64)
    sizes = pool_sizes(collection)
    pool_size = np.array([sizes[pool] for pool in key[first, 1].tolist()], dtype=np.int64)
    return part, Ranks(np.append(first, len(key)), part.rank, pool_size), key[first]
