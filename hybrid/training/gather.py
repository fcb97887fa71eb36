"""Rows of all ranks on every rank, with the right gradient. Shapes: M rows of this rank, N rows of all ranks."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor
from torch import distributed as group

from hybrid.runtime.errors import InputError
from hybrid.runtime.watchdog import note

_apart: ContextVar[bool] = ContextVar("apart", default=False)


@contextmanager
def apart() -> Iterator[None]:
    """Let this process compute as if there were no others: the single-process reference of the gradient check."""
    token = _apart.set(True)
    try:
        yield
    finally:
        _apart.reset(token)


def _alone() -> bool:
    return _apart.get() or not group.is_initialized() or group.get_world_size() == 1


def most_chunks(count: int, lengths_N: Tensor) -> int:
    """Return the largest number of chunks that a rank needs for its texts; every rank calls it.

    Raises InputError, on all ranks alike, where a rank has fewer texts than that.
    """
    if _alone():
        return count
    note()
    told = torch.tensor([count, -len(lengths_N)], device=lengths_N.device)
    group.all_reduce(told, group.ReduceOp.MAX)
    most, fewest = int(told[0]), -int(told[1])
    if most > fewest:
        raise InputError(
            f"a rank cuts its texts into {most} chunks and another has only {fewest} texts, but under ZeRO-3 all make "
            "as many; set training.cache_tokens and model.chunk_tokens to a few times the longest text."
        )
    return most


def _spread(rows: Tensor, counts: list[int]) -> Tensor:
    """Collect `counts[r]` rows of each rank r; ranks may hold different numbers, the collective needs equal ones."""
    most = max(counts)
    padded = rows.new_zeros(most, *rows.shape[1:])
    padded[: len(rows)] = rows
    parts = [torch.empty_like(padded) for _ in counts]
    group.all_gather(parts, padded)
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])


class _Gather(torch.autograd.Function):
    """all_gather whose gradient is the sum of what every rank has for this rank's rows."""

    @staticmethod
    def forward(ctx, rows: Tensor, counts: list[int], start: int) -> Tensor:
        ctx.start, ctx.stop = start, start + len(rows)
        return _spread(rows, counts)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None, None]:
        gradient = gradient.contiguous()
        group.all_reduce(gradient)
        return gradient[ctx.start : ctx.stop], None, None


class Gathered:
    """How the rows of this rank lie among those of all: built once a batch, used for vectors and their groups.

    With the mean over local rows as the loss and the mean over ranks that DDP and ZeRO take of gradients, the gradient
    is that of one process on the joined batch; no factor of the world size is needed (design.md, contract 3).
    """

    def __init__(self, rows: int, device: torch.device):
        """Every rank calls this with its number of rows."""
        self.alone = _alone()
        self.start, self.counts = 0, [rows]
        if not self.alone:
            # A rank that hangs before it is behind those that wait for it here.
            note()
            mine = torch.tensor([rows], device=device)
            parts = [torch.empty_like(mine) for _ in range(group.get_world_size())]
            group.all_gather(parts, mine)
            self.counts = torch.cat(parts).tolist()
            self.start = sum(self.counts[: group.get_rank()])

    def __call__(self, rows: Tensor) -> Tensor:
        """Return the rows [N, ...] of all ranks in rank order; floating-point rows carry gradient."""
        if self.alone:
            return rows
        if rows.requires_grad:
            return _Gather.apply(rows, self.counts, self.start)
        return _spread(rows, self.counts)
