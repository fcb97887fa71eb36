"""Floating-point operations of a step, counted on tokens that are no padding: the log line, the plan and the roofline.

Shapes: N texts, B queries of a rank, C candidates of all ranks.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

PEAKS = {
    "B200": 2250e12,
    "H200 NVL": 835e12,
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "A10G": 70e12,
}
"""Dense bf16 operations per second, from the makers' data sheets; the first name that is part of a device's counts."""


@dataclass(frozen=True)
class Costs:
    """What an encoder's operations depend on, beside the lengths of the texts."""

    matrices: int
    """Entries of all weights that hidden states are multiplied with: no embedding tables, biases or norms."""
    trained: int
    """Those of them that get a gradient."""
    attention: int
    """Layers x heads x dimensions of a head."""
    dimensions: int
    """Dimensions of the vectors that are compared."""

    def forward(self, lengths: Tensor) -> float:
        """Return the operations of one forward pass over texts of these lengths (int64 [N]).

        2 per entry and token, and per layer 4 x width x length² for scores and weighted sums of attention (Kaplan et
        al. 2020, section 2.1; Chowdhery et al. 2022, appendix B).
        """
        squares = float((lengths.double() ** 2).sum())
        return 2.0 * self.matrices * float(lengths.sum()) + 4.0 * self.attention * squares

    def training(self, lengths: Tensor) -> float:
        """Return the operations of one forward and backward pass; what is computed again does not count.

        The backward pass does the forward's once for the gradient of hidden states, and once more for that of weights
        which are trained (and for the second factor of attention's products).
        """
        forward = self.forward(lengths)
        frozen = 2.0 * (self.matrices - self.trained) * float(lengths.sum())
        return 3 * forward - frozen

    def scores(self, queries: int, candidates: int) -> float:
        """Return the operations of B x C scores and their two gradients."""
        return 6.0 * queries * candidates * self.dimensions


def costs(backbone: nn.Module, dimensions: int | None = None) -> Costs:
    """Count a backbone's weights; `dimensions` of its vectors where a projection changes them."""
    tables = {id(p) for m in backbone.modules() if isinstance(m, nn.Embedding) for p in m.parameters(recurse=False)}
    products = [p for p in backbone.parameters() if id(p) not in tables and len(_shape(p)) > 1]
    config = backbone.config
    return Costs(
        matrices=sum(_entries(p) for p in products),
        trained=sum(_entries(p) for p in products if p.requires_grad),
        attention=config.num_hidden_layers * attention_width(config),
        dimensions=dimensions or config.hidden_size,
    )


def attention_width(config) -> int:
    """Return heads x dimensions of a head, which in T5's family is not the hidden size."""
    head = getattr(config, "d_kv", None) or getattr(config, "head_dim", None)
    return config.num_attention_heads * head if head else config.hidden_size


def peak_flops(device: torch.device, precision: str) -> float:
    """Return what this device can do at most, operations per second, by its data sheet or measured."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        for chip, peak in PEAKS.items():
            if chip in name and precision == "bf16":
                return peak
    return measured_flops(device, torch.bfloat16 if precision == "bf16" else torch.float32)


def measured_flops(device: torch.device, dtype: torch.dtype) -> float:
    """Return the operations per second of square matrix products, of the best size and the best of five.

    Of a CPU one thread is measured, for as many as torch uses here: what other threads of a process have done in a few
    milliseconds its clock does not tell yet. Ranks that call it at once share what they share in training.
    """
    # A GPU has done a small product before the next one is launched; in a CPU's caches a small one is the faster.
    sizes, products = ((4096, 8192), 10) if device.type == "cuda" else ((512, 1536), 1)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        rate = max(2 * products * size**3 / _product_seconds(size, products, device, dtype) for size in sizes)
    finally:
        torch.set_num_threads(threads)
    return rate if device.type == "cuda" else rate * threads


def _product_seconds(size: int, products: int, device: torch.device, dtype: torch.dtype) -> float:
    left = torch.randn(size, size, device=device).to(dtype)

    def work() -> None:
        for _ in range(products):
            result = left @ left
        result[0, 0].item()

    return best_seconds(work, device)


def best_seconds(work: Callable[[], object], device: torch.device) -> float:
    """Return the least time of five runs; on a CPU, of the time that this process had its threads' cores to itself."""
    clock = time.perf_counter if device.type == "cuda" else lambda: time.process_time() / torch.get_num_threads()
    work()
    best = float("inf")
    for _ in range(5):
        begun = clock()
        work()
        best = min(best, clock() - begun)
    return best


def _shape(parameter: nn.Parameter) -> torch.Size:
    # Under ZeRO-3 a rank's own part has another shape.
    return getattr(parameter, "ds_shape", parameter.shape)


def _entries(parameter: nn.Parameter) -> int:
    return _shape(parameter).numel()
