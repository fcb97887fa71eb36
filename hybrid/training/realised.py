"""How many rows of each stream have really been trained on, to be held against the sampler's audit."""

import numpy as np

from hybrid.runtime.processes import is_main, sum_of_all

MOST = 200
"""Streams that are logged one by one; of more, their kinds and data sets."""


class Realised:
    """Counts this rank's rows; `total` is what all ranks have trained on."""

    def __init__(self, names: list[str]):
        """`names` are those of the mixture's streams: kind/data set/languages."""
        self.names = names
        self.rows = np.zeros(len(names), np.int64)

    def add(self, streams: np.ndarray) -> None:
        """Count rows by the numbers of their streams, int64 [B]."""
        self.rows += np.bincount(streams, minlength=len(self.rows))

    def total(self) -> dict[str, int]:
        """Return the rows of all ranks by stream, without those that have none; every rank calls it."""
        rows = np.array(sum_of_all(self.rows.tolist()))
        return {self.names[number]: int(rows[number]) for number in np.flatnonzero(rows).tolist()}

    def restore(self, total: dict[str, int]) -> None:
        """Go on from the total of a checkpoint."""
        self.rows[:] = [total.get(name, 0) if is_main() else 0 for name in self.names]

    def metrics(self, total: dict[str, int]) -> dict[str, float]:
        """Return the rows of each branch for the log: ``rows/monolingual``, ``rows/monolingual/squad`` ..."""
        found: dict[str, float] = {}
        for name, count in total.items():
            parts = name.split("/")
            for depth in range(1, len(parts) + (len(self.names) <= MOST)):
                # MLflow admits no colon in a metric's name on every system.
                branch = "rows/" + "/".join(parts[:depth]).replace(":", "-")
                found[branch] = found.get(branch, 0.0) + count
        return found
