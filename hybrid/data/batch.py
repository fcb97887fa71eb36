"""What one rank computes a step on."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hybrid.runtime.ragged import Ragged


@dataclass
class Batch:
    """One rank's part of a global batch: B queries and B + M passages, tokenised, with prefixes and special tokens."""

    step: int
    """The step it belongs to."""
    kind: str
    """The kind it was drawn from, or "mixed"."""
    queries: Ragged
    """B queries."""
    passages: Ragged
    """B + M passages: the answer of query i is passage i; the hard negatives of all rows follow, by row."""
    query_groups: Tensor
    """int64 [B], identity of the text that answers the query; unique over all data sets."""
    passage_groups: Tensor
    """int64 [B + M], identity of each passage; equal to a query's group where the passage answers the query."""
    negative_owner: Tensor
    """int64 [M], the row that each hard negative belongs to; rows may have different numbers of them."""
    rows: np.ndarray
    """int64 [B, 4], the sampler's rows: data set, item, query language, passage language."""
    streams: np.ndarray
    """int64 [B], the stream of the mixture that each row was drawn for."""

    def to(self, device: torch.device) -> "Batch":
        """Copy to a device; does not wait where the memory is pinned."""
        return self._map(lambda part: part.to(device, non_blocking=True), lambda part: part.to(device))

    def pin_memory(self) -> "Batch":
        """Copy to page-locked memory."""
        return self._map(Tensor.pin_memory, Ragged.pin_memory)

    def _map(self, tensor, ragged) -> "Batch":
        return Batch(
            step=self.step,
            kind=self.kind,
            queries=ragged(self.queries),
            passages=ragged(self.passages),
            query_groups=tensor(self.query_groups),
            passage_groups=tensor(self.passage_groups),
            negative_owner=tensor(self.negative_owner),
            rows=self.rows,
            streams=self.streams,
        )
