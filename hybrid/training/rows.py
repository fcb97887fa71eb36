"""The gradient of the token embeddings as the rows that occurred, where nothing spreads the weights.

Autograd makes a matrix of the vocabulary's size for every forward pass, nearly all zeros, adds them up, and DDP sends
the sum. Here a backward pass adds its rows to one matrix that is kept, ranks exchange the rows that occurred on any of
them, and the norm is theirs. AdamW gets that matrix and does what it always did: it moves every row, by momentum and
decay. Shapes: V rows of the vocabulary, D dimensions, R rows that occurred, T tokens.
"""

from typing import Any

import torch
import torch.distributed as group
from torch import Tensor, nn
from torch.nn import functional as F

from hybrid.runtime.errors import InputError
from hybrid.runtime.processes import world_size


class RowGradient:
    """Collects what backward passes give the rows of one embedding matrix, on every rank."""

    def __init__(self, weight: nn.Parameter, tables: list[nn.Embedding]):
        """Have the lookups of `tables`, which share `weight` [V, D], send their gradients here, until it is closed."""
        self.weight = weight
        self._matrix: Tensor | None = None
        self._touched: list[Tensor] = []
        self._rows: Tensor | None = None
        self._tables = tables
        for table in tables:
            table.forward = _Send(self, table)

    def agree(self) -> None:
        """Give all ranks the main rank's weights, which DDP sees to for what it is not told to leave alone."""
        if world_size() > 1:
            group.broadcast(self.weight.data, 0)

    def add(self, ids: Tensor, gradient_TD: Tensor) -> None:
        """Add the gradient of a lookup."""
        if self._matrix is None:
            self._matrix = torch.zeros_like(self.weight)
        rows, places = ids.unique(return_inverse=True)
        # As autograd does it, on fewer rows: each row's tokens in their order, so that the sums are the same.
        sums = torch.ops.aten.embedding_dense_backward(gradient_TD, places, len(rows), -1, False)
        self._matrix.index_add_(0, rows, sums)
        self._touched.append(rows)

    def reduce(self) -> nn.Parameter:
        """Average over the ranks; returns an empty stand-in for the weight, whose gradient [R, D] is to be clipped."""
        # Every rank has texts in a step, so there is a matrix.
        self._rows = _of_all_ranks(torch.cat(self._touched).unique())
        sums = self._matrix[self._rows]
        if world_size() > 1:
            group.all_reduce(sums.div_(world_size()))
        stand_in = nn.Parameter(torch.empty_like(sums))
        stand_in.grad = sums
        return stand_in

    def give(self, stand_in: nn.Parameter) -> None:
        """Give the weight its gradient [V, D], from what `reduce` has returned.

        Raises InputError where the weight has got another one: the encoder's own code uses it in another way as well.
        """
        if self.weight.grad is not None:
            raise InputError(
                "the encoder uses its token embeddings otherwise than by looking tokens up, which is trained under "
                "ZeRO only; launch it with one of ds_configs/, or set model.freeze_embeddings."
            )
        self._matrix[self._rows] = stand_in.grad
        self.weight.grad = self._matrix

    def clear(self) -> None:
        """Begin anew."""
        self.weight.grad = None
        # The rows of all ranks hold this rank's; before `reduce` there are but these.
        for rows in self._touched if self._rows is None else [self._rows]:
            self._matrix.index_fill_(0, rows, 0)
        self._touched, self._rows = [], None

    def close(self) -> None:
        """Give the tables back as they were, and the memory."""
        for table in self._tables:
            # Set on the object, so that without it the class's own is there again.
            del table.forward
        self._tables, self._matrix, self._touched, self._rows = [], None, [], None


class _Send:
    """What a table does in place of its own forward."""

    def __init__(self, sink: RowGradient, table: nn.Embedding):
        self.sink, self.table = sink, table

    def __call__(self, ids: Tensor) -> Tensor:
        return _Lookup.apply(self.table.weight, ids, self)


class _Lookup(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, ids: Tensor, send: _Send) -> Tensor:
        ctx.save_for_backward(ids)
        ctx.send = send
        return F.embedding(ids, weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, None, None]:
        ids = ctx.saved_tensors[0].flatten()
        gradient = gradient.reshape(len(ids), -1)
        padding_id = ctx.send.table.padding_idx
        if padding_id is not None:
            tokens = ids != padding_id
            ids, gradient = ids[tokens], gradient[tokens]
        ctx.send.sink.add(ids, gradient)
        return None, None, None


def row_gradient(module: nn.Module, embedding: nn.Module) -> RowGradient | None:
    """Return the collector of a trained embedding matrix of `module`, or None: frozen, or used as more than a table."""
    weight = getattr(embedding, "weight", None)
    users = [part for part in module.modules() if any(value is weight for value in part._parameters.values())]
    plain = all(type(part) is nn.Embedding and not part.scale_grad_by_freq and part.max_norm is None for part in users)
    if not plain or not users or not weight.requires_grad:
        return None
    names = [name for name, value in module.named_parameters(remove_duplicate=False) if value is weight]
    nn.parallel.DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(module, names)
    return RowGradient(weight, users)


def _of_all_ranks(rows: Tensor) -> Tensor:
    """Return the sorted union of the ranks' rows."""
    if world_size() == 1:
        return rows
    counts = rows.new_zeros(world_size())
    group.all_gather_into_tensor(counts, rows.new_tensor([len(rows)]))
    most = int(counts.max())
    found = rows.new_full((world_size(), most), -1)
    group.all_gather_into_tensor(found.view(-1), F.pad(rows, (0, most - len(rows)), value=-1))
    return found[found >= 0].unique()
