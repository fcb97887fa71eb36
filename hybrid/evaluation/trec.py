"""TREC run and qrels files: written fast and in pieces, one per block of queries, so that every rank can write.

A line of a run is ``QUERY Q0 DOCUMENT RANK SCORE hybrid``. Scores are float32 in the shortest form that reads back to
the same value, so trec_eval and ir-measures, whose tie rule is ours, find the same order.
"""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hybrid.evaluation.collection import Collection
from hybrid.evaluation.ranking import key_columns, key_scores
from hybrid.evaluation.task import Setting, in_setting
from hybrid.runtime.files import atomic_file
from hybrid.runtime.processes import barrier, is_main

# Lines that are made at once: of many more, memory that the kernel clears takes most of the time.
_LINES = 32768


def ranking_names(collection: Collection, setting: Setting, query: np.ndarray, pool: np.ndarray) -> list[str]:
    """Return the query ids that stand in run and qrels: with the pool's language where a query has several pools."""
    ids = [collection.queries.ids[row] for row in query.tolist()]
    if setting.pools in ("same", "all"):
        return ids
    return [f"{name}>{collection.languages[number]}" for name, number in zip(ids, pool.tolist(), strict=True)]


class RunWriter:
    """Writes the rankings of blocks into ``FOLDER/SETTING.BLOCK.POOL.piece``, behind what lies there.

    Args:
        order: int64 [N], the document of each column that sort keys were made of.
    """

    def __init__(
        self, collection: Collection, order: np.ndarray, settings: Sequence[Setting], folder: Path, run_depth: int
    ):
        self.collection, self.order, self.folder = collection, order, Path(folder)
        self.depths = {setting: min(setting.depth, run_depth) for setting in settings}
        self.depth = max(self.depths.values())
        self.documents = pa.array(collection.documents.ids)
        self.folder.mkdir(parents=True, exist_ok=True)

    def write(self, block: int, query: np.ndarray, pool: int, keys: np.ndarray) -> None:
        """Add one pool's rankings of queries of a block, each to the settings that it belongs to.

        Args:
            query: int64 [n], rows of the collection, each block's in rising order.
            keys: int64 [n, k], the sort keys of each query's ranking, from the first document on.
        """
        pools = np.full(len(query), pool)
        for setting, depth in self.depths.items():
            chosen = in_setting(setting, self.collection.queries.language[query], pools)
            if chosen.any():
                names = ranking_names(self.collection, setting, query[chosen], pools[chosen])
                first = keys[chosen, :depth]
                step = max(1, _LINES // first.shape[1])
                with open(self.folder / f"{setting.name}.{block:06d}.{pool + 1:04d}.piece", "ab") as piece:
                    for start in range(0, len(names), step):
                        piece.write(self._lines(names[start : start + step], first[start : start + step]))

    def _lines(self, names: list[str], keys: np.ndarray) -> pa.Buffer:
        documents = self.documents.take(pa.array(self.order[key_columns(keys, len(self.order))].ravel()))
        return run_lines(names, documents, key_scores(keys))


def run_lines(names: Sequence[str], documents: pa.Array, scores_NK: np.ndarray) -> pa.Buffer:
    """Return the lines of N rankings, end to end.

    Args:
        names: N query ids.
        documents: N x K document ids, each ranking's from its first on.
        scores_NK: float32.
    """
    rows, width = scores_NK.shape
    column = np.tile(np.arange(width, dtype=np.int32), rows)
    lines = pc.binary_join_element_wise(
        pa.array([f"{name} Q0" for name in names]).take(pa.array(np.arange(rows, dtype=np.int32).repeat(width))),
        documents,
        pa.array([str(place) for place in range(1, width + 1)]).take(pa.array(column)),
        pa.array(scores_NK.ravel()).cast(pa.string()),
        "hybrid\n",
        " ",
    )
    # The strings lie end to end in the array's last buffer.
    return lines.buffers()[2]


def clear_pieces(folder: Path, run_depth: int) -> Path | None:
    """Return the folder of the pieces of a task's runs, None where there are no runs; every rank has to call it.

    It is empty: pieces of a killed job, perhaps of other files, would be taken where runs are joined.
    """
    pieces = folder / "pieces"
    if is_main():
        shutil.rmtree(pieces, ignore_errors=True)
        if run_depth:
            pieces.mkdir(parents=True)
    barrier()
    return pieces if run_depth else None


def join_runs(pieces: Path, name: str, path: Path) -> None:
    """Put the pieces of the run of a setting, by its name, together in one file and remove them."""
    with atomic_file(path, "wb") as file:
        for piece in sorted(pieces.glob(f"{name}.*.piece")):
            with open(piece, "rb") as part:
                _append(part, file)
            os.remove(piece)


def _append(part: IO[bytes], file: IO[bytes]) -> None:
    """Copy a file that has just been opened behind another, in the kernel where it can."""
    try:
        while os.copy_file_range(part.fileno(), file.fileno(), 1 << 30):
            pass
    except (AttributeError, OSError):
        shutil.copyfileobj(part, file, 1 << 16)
        file.flush()


def write_qrels(path: Path, collection: Collection, setting: Setting, entries) -> None:
    """Write the judgments of a setting: the relevant documents of each of its rankings (`PoolRanks`), grade 1."""
    names = ranking_names(collection, setting, entries.query, entries.pool)
    documents = collection.documents.ids
    with atomic_file(path) as file:
        file.writelines(
            f"{name} 0 {documents[row]} 1\n" for name, row in zip(names, entries.document.tolist(), strict=True)
        )
