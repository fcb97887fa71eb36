"""Embeddings in shards: written one by one as they are done, read memory-mapped, never needed whole."""

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

import numpy as np

from hybrid.runtime.files import atomic_file

# Enough shards for every rank of a node to have several even of a development set; few files for large corpora.
_SHARDS = 64
_FEWEST_ROWS, _MOST_ROWS = 64, 2048
FULL = _SHARDS * _MOST_ROWS
"""So many embeddings fill their shards; of fewer a shard has too few texts of like length."""


class Vectors:
    """N embeddings whose distinct ones lie in ``FOLDER/00000.npy`` and so on, as many rows in each but the last.

    Reads like an array of two dimensions: ``vectors.shape``, ``vectors[10:20]``, ``vectors[rows]`` give float32.

    Args:
        folder: of the shards, which must all be there.
        rows: int64 [N], the distinct embedding of each of the N texts.
    """

    def __init__(self, folder: Path, rows: np.ndarray):
        self.folder, self.rows = Path(folder), rows

    def _shard(self, number: int) -> np.ndarray:
        # Mapped anew each time, so that the pages read are let go of again.
        return np.load(shard_path(self.folder, number), mmap_mode="r")

    @cached_property
    def shape(self) -> tuple[int, int]:
        """N and D."""
        return len(self.rows), self._shard(0).shape[1]

    @cached_property
    def _shard_rows(self) -> int:
        return len(self._shard(0))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, wanted) -> np.ndarray:
        rows = self.rows[wanted]
        out = np.empty((len(rows), self.shape[1]), np.float32)
        shard = rows // self._shard_rows
        for number in np.unique(shard).tolist():
            here = np.flatnonzero(shard == number)
            out[here] = self._shard(number)[rows[here] - number * self._shard_rows]
        return out


def write_map(folder: Path, rows_N: np.ndarray, ids: Iterable[str] | None) -> None:
    """Write which embedding each of N texts has: ``rows.npy``, int64 [N], a row of all shards one after the other, and
    ``ids.txt``, N lines in the same order, where the texts have ids."""
    with atomic_file(Path(folder) / "rows.npy", "wb") as file:
        np.save(file, rows_N)
    if ids is not None:
        with atomic_file(Path(folder) / "ids.txt") as file:
            file.writelines(f"{name}\n" for name in ids)


def shard_path(folder: Path, number: int) -> Path:
    """Return the file of a shard."""
    return Path(folder) / f"{number:05d}.npy"


def shards(count: int) -> list[slice]:
    """Return the rows of each shard of `count` embeddings: 64 shards, of 64 to 2,048 rows; whatever the world size."""
    rows = min(max(-(-count // _SHARDS), _FEWEST_ROWS), _MOST_ROWS)
    return [slice(start, min(start + rows, count)) for start in range(0, count, rows)]
