"""What the collator hands to the training step: one rank's part of a global batch."""

from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from hybrid.runtime.ragged import Ragged


@dataclass
class Batch:
    """B rows of this rank and their M hard negatives, as tokens. Row i's own passage is passage i."""

    step: int
    """Number of the step, from 0."""
    kind: str
    """Kind of the rows, or "mixed"."""
    queries: Ragged
    """B queries."""
    passages: Ragged
    """B + M passages: the B positives first, then the hard negatives."""
    query_groups: Tensor
    """int64 [B]: identity of the scored text that answers each query, the same across languages and data sets."""
    passage_groups: Tensor
    """int64 [B + M]: identity of each passage; equal to a query's group where it answers that query."""
    negative_owner: Tensor
    """int64 [M]: the row that each hard negative was chosen for."""
    rows: np.ndarray
    """int64 [B, 4]: data set, item, query language, passage language."""

    def to(self, device: torch.device) -> "Batch":
        """Copy all tensors to a device."""
        return self._each(lambda value: value.to(device, non_blocking=True), lambda value: value.to(device))

    def pin_memory(self) -> "Batch":
        """Copy all tensors to page-locked memory; the data loader calls this."""
        return self._each(lambda value: value.pin_memory(), lambda value: value.pin_memory())

    def _each(self, tensor, ragged) -> "Batch":
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        changed = {k: tensor(v) for k, v in values.items() if isinstance(v, Tensor)}
        changed |= {k: ragged(v) for k, v in values.items() if isinstance(v, Ragged)}
        return replace(self, **changed)
