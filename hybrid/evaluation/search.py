"""The first k documents of each query in a corpus of any size: exact, whatever finds the candidates.

Documents are taken in blocks, so that neither the corpus nor all scores are ever in memory at once. A back-end proposes
candidates in float32; their scores are computed again in float64 and rounded to float32, as in `ranking`, and a query
whose candidates might not hold all of the first k is searched again for more. So all exact back-ends, blocks, devices
and numbers of ranks give the same result. Legend: B queries, N documents, D dimensions, K candidates.
"""

import mmap
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from hybrid.evaluation.best import Best
from hybrid.evaluation.config import SearchConfig
from hybrid.evaluation.faiss_index import GPU_LIMIT, device_of, faiss_gpus, finder
from hybrid.runtime.errors import InputError
from hybrid.runtime.logs import log, progress
from hybrid.runtime.processes import gather_objects, rank, world_size

_MARGIN = 32
# Scores of so many queries and documents are made at once: on a CPU they stay in its caches until they are looked at.
_QUERIES, _CPU_DOCUMENTS = 1024, 8192
_RESCORED = 8192
_SAMPLE = 200


class Matrix(Protocol):
    """What documents are: `Vectors`, an array or a memory map, of any float type."""

    shape: tuple[int, int]

    def __getitem__(self, wanted): ...


@dataclass(frozen=True)
class Found:
    """The first k documents of each query, in order: rows int64 [B, k], -1 beyond the corpus; scores float32 [B, k]."""

    rows: np.ndarray
    scores: np.ndarray


Candidates = Callable[[torch.Tensor, int, Best], None]
"""Adds what a block of documents [n, D], of any float type, whose first row has this number, holds to the best."""


def search(queries_BD: np.ndarray, documents: Matrix, ids: Sequence[str], k: int, config: SearchConfig) -> Found:
    """Return the exact first k documents of each query; every rank has to call it, and searches its part of them.

    Args:
        ids: of the documents; of equal scores the larger id, as bytes, comes first.

    Raises InputError for vectors of different dimensions.
    """
    if queries_BD.shape[1] != documents.shape[1]:
        raise InputError(
            f"queries have {queries_BD.shape[1]} dimensions, documents {documents.shape[1]}; they come from different "
            "models: encode both again (--evaluation.overwrite true)."
        )
    count = documents.shape[0]
    if k > count:
        log(f"search: {k} documents were asked for, the corpus has {count}; all of them are ranked.")
    bounds = np.linspace(0, count, world_size() + 1).astype(int)
    own = range(bounds[rank()], bounds[rank() + 1])
    queries = np.ascontiguousarray(queries_BD, dtype=np.float32)
    found = _search_part(queries, documents, own, ids, min(k, max(len(own), 1)), config)
    parts = gather_objects(found)
    rows = np.concatenate([part.rows for part in parts], axis=1)
    scores = np.concatenate([part.scores for part in parts], axis=1)
    return _in_order(rows, scores, ids, min(k, count))


def _search_part(queries_BD, documents: Matrix, own: range, ids: Sequence[str], k: int, config: SearchConfig) -> Found:
    """Search the documents `own`; ask for ever more candidates until none beyond them can be among the first k."""
    rows = np.full((len(queries_BD), k), -1, np.int64)
    scores = np.full((len(queries_BD), k), -np.inf, np.float32)
    open_queries = np.arange(len(queries_BD))
    # Scores lie the closer the further down: most queries are to be sure at once for any k.
    wanted = min(k + max(_MARGIN, k // 4), len(own))
    while len(open_queries) and len(own):
        part = queries_BD[open_queries]
        approximate, candidates, norm = _candidates(part, documents, own, wanted, config)
        exact = exact_scores(part, documents, candidates)
        best = _in_order(candidates, exact, ids, k)
        rows[open_queries], scores[open_queries] = best.rows, best.scores
        # A float32 inner product is off by at most D u / (1 - D u) |q| |d| in any order of the sum, u = eps / 2 (Higham
        # 2002, eq. 3.5). A document that was not proposed has in float32 at most the last candidate's score, so exactly
        # at most that and one such error; the best scores are exact but for a last rounding, u |q| |d|. Eight more u
        # are for that rounding, the norms' own errors and the divisor, up to 4,096 dimensions.
        unit = np.finfo(np.float32).eps / 2
        error = (queries_BD.shape[1] + 8) * unit * np.linalg.norm(part, axis=1) * norm
        others = approximate[:, -1].astype(np.float64) + error
        sure = (best.scores[:, -1] > others) | (wanted == len(own)) | (not config.exact)
        open_queries = open_queries[~sure]
        wanted = min(2 * wanted, len(own))
    return Found(rows, scores)


def _candidates(queries_BD, documents: Matrix, own: range, wanted: int, config: SearchConfig):
    """Return scores [B, K] in descending order, rows [B, K] of the documents proposed, and the largest norm of any."""
    if config.backend == "faiss":
        propose = _faiss(queries_BD, documents, own, wanted, config)
    else:
        propose = _torch(queries_BD, config)
    best, norm = Best(len(queries_BD), wanted), 0.0
    with progress(len(own), "searching", "documents") as bar:
        for start, block in _blocks(documents, own, config.block_rows):
            norm = max(norm, propose(block, start, best))
            _release(documents)
            bar.update(len(block))
    return *best.result(), norm


def _blocks(documents: Matrix, own: range, rows: int) -> Iterator[tuple[int, torch.Tensor]]:
    for start in range(own.start, own.stop, rows):
        block = np.asarray(documents[start : min(start + rows, own.stop)])
        with warnings.catch_warnings():
            # A memory map that is only read makes a tensor that torch warns not to write to.
            warnings.simplefilter("ignore", UserWarning)
            yield start, torch.from_numpy(block)


def _release(documents: Matrix) -> None:
    """Let go of the pages of a memory map that have been read: they would count as this process's memory."""
    pages = getattr(documents, "_mmap", None)
    if pages is not None and hasattr(mmap, "MADV_DONTNEED"):
        pages.madvise(mmap.MADV_DONTNEED)


def _torch(queries_BD: np.ndarray, config: SearchConfig) -> Candidates:
    device = device_of(config)
    queries = torch.from_numpy(queries_BD).to(device).split(_QUERIES)
    piece_rows = _CPU_DOCUMENTS if device.type == "cpu" else config.block_rows

    def propose(block: torch.Tensor, first_row: int, best: Best) -> float:
        norm = 0.0
        for start, piece in zip(range(0, len(block), piece_rows), block.split(piece_rows), strict=True):
            documents = piece.to(device).float()
            norm = max(norm, float(torch.linalg.vector_norm(documents, dim=1).max()))
            for number, part in enumerate(queries):
                best.add(part @ documents.T, _QUERIES * number, first_row + start)
        return norm

    return propose


def _faiss(queries_BD: np.ndarray, documents: Matrix, own: range, wanted: int, config: SearchConfig) -> Candidates:
    if config.exact and wanted > GPU_LIMIT and faiss_gpus(config):
        return _torch(queries_BD, config)
    find = finder(queries_BD, documents, own, wanted, config)

    def propose(block: torch.Tensor, first_row: int, best: Best) -> float:
        documents = np.ascontiguousarray(block.float().numpy())
        norm = float(np.sqrt(np.einsum("nd,nd->n", documents, documents).max()))
        scores, rows = find(documents, min(best.wanted, len(documents)))
        best.add_found(scores, np.where(rows < 0, -1, rows + first_row))
        return norm

    return propose


def exact_scores(queries_BD: np.ndarray, documents: Matrix, rows_BK: np.ndarray) -> np.ndarray:
    """Return float32 [B, K], the exact scores of documents by row, computed in float64; -inf where the row is -1."""
    out = np.full(rows_BK.shape, -np.inf, np.float32)
    query, column = np.nonzero(rows_BK >= 0)
    order = np.argsort(rows_BK[query, column], kind="stable")
    for start in range(0, len(order), _RESCORED):
        where = query[order[start : start + _RESCORED]], column[order[start : start + _RESCORED]]
        vectors = np.asarray(documents[rows_BK[where]], np.float64)
        out[where] = np.einsum("nd,nd->n", vectors, queries_BD[where[0]].astype(np.float64))
        _release(documents)
    return out


def _in_order(rows_BK: np.ndarray, scores_BK: np.ndarray, ids: Sequence[str], k: int) -> Found:
    """Return the first k of each row of candidates by score, then by id from the largest."""
    order = np.argsort(-scores_BK, axis=1, kind="stable")
    scores, rows = np.take_along_axis(scores_BK, order, axis=1), np.take_along_axis(rows_BK, order, axis=1)
    as_before = (scores[:, 1:] == scores[:, :-1]) & (rows[:, 1:] >= 0)
    for number in np.flatnonzero(as_before.any(axis=1)).tolist():
        edges = np.flatnonzero(np.diff(as_before[number], prepend=False, append=False))
        for start, last in edges.reshape(-1, 2).tolist():
            tied = rows[number, start : last + 1].tolist()
            rows[number, start : last + 1] = sorted(tied, key=lambda row: ids[row].encode(), reverse=True)
    return Found(rows[:, :k], scores[:, :k])


def recall_of(found: Found, exact: Found) -> float:
    """Return the share of the exact first documents that an approximate search found, the mean over queries."""
    return float(np.mean([len(np.intersect1d(a, b)) / len(b) for a, b in zip(found.rows, exact.rows, strict=True)]))


def sampled_recall(
    queries_BD: np.ndarray, documents: Matrix, ids: Sequence[str], found: Found, device: str | None
) -> float:
    """Return `recall_of` for the exact first 100 documents (all, of fewer) of the first `_SAMPLE` queries.

    Every rank has to call it.
    """
    width = min(100, found.rows.shape[1])
    exact = search(queries_BD[:_SAMPLE], documents, ids, width, SearchConfig(device=device))
    return recall_of(Found(found.rows[:_SAMPLE, :width], found.scores[:_SAMPLE, :width]), exact)


def describe(config: SearchConfig) -> str:
    """Return what searches: the back-end and the device that is really used."""
    device = device_of(config)
    if config.backend == "torch":
        return f"torch on {torch.cuda.get_device_name(device) if device.type == 'cuda' else 'the CPU'}"
    gpus = faiss_gpus(config)
    where = "the CPU" if not gpus else "a GPU of each rank" if world_size() > 1 else f"{gpus} GPUs"
    return f"FAISS {config.factory} on {where}"
