"""What a rank holds under DeepSpeed, counted from its engine's tensors: each piece of memory once."""

import torch
from torch import Tensor

from hybrid.training.engine import Engine


def held(engine: Engine) -> dict[str, int]:
    """Return bytes of weights, gradients, optimizer, buckets, and weights gathered from other ranks (ZeRO-3)."""
    zero, parameters = engine.model.optimizer, list(engine.module.parameters())
    inner = [value for group in zero.optimizer.param_groups for value in group["params"]]
    inner += getattr(zero, "fp32_partitioned_groups_flat", [])
    found = {
        "parameters": [getattr(value, "ds_tensor", value.data) for value in parameters],
        "optimizer": [*inner, *(v for state in zero.optimizer.state.values() for v in state.values())],
        "buffers": [bucket.buffer for bucket in zero.ipg_buckets.values()],
        "gathered": [value.data for value in parameters],
        "gradients": [
            *(value.grad for value in [*parameters, *inner]),
            zero.averaged_gradients,
            getattr(zero, "grads_in_partition", None),
            getattr(zero, "grad_partitions_flat_buffer", None),
        ],
    }
    seen, sizes = set(), {}
    for name, values in found.items():
        storages = {value.untyped_storage().data_ptr(): value.untyped_storage().nbytes() for value in _tensors(values)}
        sizes[name] = sum(size for place, size in storages.items() if place not in seen)
        seen |= storages.keys()
    return sizes


def _tensors(values) -> list[Tensor]:
    if torch.is_tensor(values):
        return [values.detach()]
    if isinstance(values, dict):
        values = values.values()
    return [each for value in values or [] for each in _tensors(value)] if not isinstance(values, int | float) else []
