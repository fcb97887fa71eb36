"""Embeddings in shards: written one by one as they are done, read memory-mapped, never needed whole."""

from functools import cached_property
from pathlib import Path

import numpy as np

SHARD = 2048


class Vectors:
    """N embeddings whose distinct ones lie in ``FOLDER/00000.npy`` and so on, `SHARD` rows each.

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

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, wanted) -> np.ndarray:
        rows = self.rows[wanted]
        out = np.empty((len(rows), self.shape[1]), np.float32)
        shard = rows // SHARD
        for number in np.unique(shard).tolist():
            here = np.flatnonzero(shard == number)
            out[here] = self._shard(number)[rows[here] - number * SHARD]
        return out


def shard_path(folder: Path, number: int) -> Path:
    """Return the file of a shard."""
    return Path(folder) / f"{number:05d}.npy"


def shard_count(distinct: int) -> int:
    """Return the number of shards that so many embeddings fill."""
    return -(-distinct // SHARD)
