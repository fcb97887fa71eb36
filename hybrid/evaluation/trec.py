"""TREC run and qrels files: written fast and in pieces, one per block of queries, so that every rank can write.

A line of a run is ``QUERY Q0 DOCUMENT RANK SCORE hybrid``. Scores are float32 in the shortest form that reads back to
the same value, so trec_eval and ir-measures, whose tie rule is ours, find the same order.
"""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import csv

from hybrid.evaluation.collection import Collection
from hybrid.evaluation.ranking import key_columns, key_scores
from hybrid.evaluation.task import Setting, in_setting
from hybrid.runtime.files import atomic_file

_OPTIONS = csv.WriteOptions(include_header=False, delimiter=" ", quoting_style="none")


def ranking_names(collection: Collection, setting: Setting, query: np.ndarray, pool: np.ndarray) -> list[str]:
    """Return the query ids that stand in run and qrels: with the pool's language where a query has several pools."""
    ids = [collection.queries.ids[row] for row in query.tolist()]
    if setting.pools in ("same", "all"):
        return ids
    return [f"{name}>{collection.languages[number]}" for name, number in zip(ids, pool.tolist(), strict=True)]


class RunWriter:
    """Writes the rankings of blocks into ``FOLDER/SETTING.BLOCK.POOL.piece``.

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
        """Write one pool's rankings of one block of queries, each to the settings that it belongs to.

        Args:
            query: int64 [n], rows of the collection.
            keys: int64 [n, k], the sort keys of each query's ranking, from the first document on.
        """
        pools = np.full(len(query), pool)
        for setting, depth in self.depths.items():
            chosen = in_setting(setting, self.collection.queries.language[query], pools)
            if chosen.any():
                piece = self.folder / f"{setting.name}.{block:06d}.{pool + 1:04d}.piece"
                names = ranking_names(self.collection, setting, query[chosen], pools[chosen])
                self._write(piece, names, keys[chosen, :depth])

    def _write(self, piece: Path, names: list[str], keys: np.ndarray) -> None:
        rows, width = keys.shape
        document = self.order[key_columns(keys, len(self.order))]
        constant = pa.array(np.zeros(keys.size, np.int32))
        columns = [
            pa.DictionaryArray.from_arrays(
                pa.array(np.repeat(np.arange(rows, dtype=np.int32), width)), pa.array(names)
            ),
            pa.DictionaryArray.from_arrays(constant, pa.array(["Q0"])),
            pa.DictionaryArray.from_arrays(pa.array(document.ravel().astype(np.int32)), self.documents),
            pa.array(np.tile(np.arange(1, width + 1, dtype=np.int32), rows)),
            pa.array(key_scores(keys).ravel()),
            pa.DictionaryArray.from_arrays(constant, pa.array(["hybrid"])),
        ]
        with pa.OSFile(str(piece), "wb") as file:
            csv.write_csv(pa.table(columns, names=list("qzdrst")), file, _OPTIONS)


def join_runs(pieces: Path, setting: Setting, path: Path) -> None:
    """Put the pieces of a setting's run together in one file and remove them."""
    with atomic_file(path, "wb") as file:
        for piece in sorted(pieces.glob(f"{setting.name}.*.piece")):
            with open(piece, "rb") as part:
                shutil.copyfileobj(part, file, 1 << 20)
            os.remove(piece)


def write_qrels(path: Path, collection: Collection, setting: Setting, entries) -> None:
    """Write the judgments of a setting: the relevant documents of each of its rankings (`PoolRanks`), grade 1."""
    names = ranking_names(collection, setting, entries.query, entries.pool)
    documents = collection.documents.ids
    with atomic_file(path) as file:
        file.writelines(
            f"{name} 0 {documents[row]} 1\n" for name, row in zip(names, entries.document.tolist(), strict=True)
        )
