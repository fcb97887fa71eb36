"""Texts of different lengths in one flat tensor: what goes from the collator to the encoder, without padding."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Ragged:
    """N tokenised texts, laid end to end. T is the number of tokens of all of them."""

    ids: Tensor
    """int64 [T], token ids, special tokens and prefixes included."""
    lengths: Tensor
    """int64 [N], the number of tokens of each text, at least 1."""

    def __len__(self) -> int:
        return len(self.lengths)

    def to(self, device: torch.device) -> "Ragged":
        """Copy to a device; does not wait where the memory is pinned."""
        return Ragged(self.ids.to(device, non_blocking=True), self.lengths.to(device, non_blocking=True))

    def pin_memory(self) -> "Ragged":
        """Copy to page-locked memory."""
        return Ragged(self.ids.pin_memory(), self.lengths.pin_memory())

    def select(self, rows: Tensor) -> "Ragged":
        """Return the texts numbered `rows`, in that order."""
        lengths = self.lengths[rows]
        starts = (self.lengths.cumsum(0) - self.lengths)[rows]
        shift = torch.repeat_interleave(starts - (lengths.cumsum(0) - lengths), lengths)
        return Ragged(self.ids[shift + torch.arange(len(shift), device=shift.device)], lengths)

    @staticmethod
    def join(parts: list["Ragged"]) -> "Ragged":
        """Return all texts of several ragged batches in one."""
        return Ragged(torch.cat([part.ids for part in parts]), torch.cat([part.lengths for part in parts]))
