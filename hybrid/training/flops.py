"""Floating-point operations of a transformer encoder, counted on tokens that are no padding."""

import time

import torch
from torch import Tensor, nn

_PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "A10G": 70e12}
"""Dense bf16 operations per second, from the makers' data sheets."""


def training_flops(backbone: nn.Module, lengths: Tensor) -> float:
    """Return the operations of one forward and backward pass over texts of these lengths (int64 [N]).

    6 per parameter outside the embedding matrices and token, and 12 x layers x hidden size x length² for attention
    (Kaplan et al. 2020, section 2.1; Chowdhery et al. 2022, appendix B). What is computed again does not count.
    """
    config = backbone.config
    parameters = sum(p.numel() for n, p in backbone.named_parameters() if "embedding" not in n and "shared" not in n)
    squares = float((lengths.double() ** 2).sum())
    return 6.0 * parameters * float(lengths.sum()) + 12.0 * config.num_hidden_layers * config.hidden_size * squares


def peak_flops(device: torch.device, precision: str) -> float:
    """Return what this device can do at most, operations per second, by its data sheet or measured."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        for chip, peak in _PEAKS.items():
            if chip in name and precision == "bf16":
                return peak
    return _measured(device, torch.bfloat16 if precision == "bf16" else torch.float32)


def _measured(device: torch.device, dtype: torch.dtype, size: int = 1536) -> float:
    left = torch.randn(size, size, device=device).to(dtype)
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        (left @ left)[0, 0].item()
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best
