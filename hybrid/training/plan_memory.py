"""Bytes that a rank holds, by how weights, gradients and optimizer states are spread (DDP, ZeRO).

Rajbhandari et al. 2020 (arXiv 1910.02054, section 5) for the shares; what DeepSpeed and DDP hold beside them was
read in their code. W ranks, T entries that are trained.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from hybrid.training.plan_encoder import Anatomy

CONFIGS = Path(__file__).parents[2] / "ds_configs"
_LIVE = 1_000_000_000
"""stage3_max_live_parameters and stage3_max_reuse_distance where the file does not set them."""


@dataclass(frozen=True)
class Layout:
    """One way to spread a training job over ranks."""

    name: str
    stage: int | None = None
    """ZeRO stage; None is DDP."""
    offload_optimizer: bool = False
    """Optimizer states, and the gradients that they are fed, in the host's memory."""
    offload_parameters: bool = False
    """ZeRO-3's parts of the weights in the host's memory."""

    @property
    def settings(self) -> dict:
        """DeepSpeed's `zero_optimization`, from the stage's file in ds_configs/."""
        file = CONFIGS / f"zero{self.stage}.json"
        return json.loads(file.read_text(encoding="utf-8"))["zero_optimization"] if file.exists() else {}


LAYOUTS = (
    Layout("DDP"),
    Layout("ZeRO-1", 1),
    Layout("ZeRO-2", 2),
    Layout("ZeRO-3", 3),
    Layout("ZeRO-2, optimizer on the host", 2, offload_optimizer=True),
    Layout("ZeRO-3, optimizer on the host", 3, offload_optimizer=True),
    Layout("ZeRO-3, optimizer and weights on the host", 3, offload_optimizer=True, offload_parameters=True),
)
"""The fastest first where several fit."""


@dataclass
class States:
    """Bytes of one rank that do not depend on the batch."""

    parameters: float = 0.0
    gradients: float = 0.0
    optimizer: float = 0.0
    """AdamW's two moments, and the fp32 copy of the weights that ZeRO steps on."""
    buffers: float = 0.0
    """Buckets in which gradients wait for the other ranks; under ZeRO-3 weights that are gathered as well."""
    host: float = 0.0
    """In the host's memory, of this rank."""

    @property
    def device(self) -> float:
        return self.parameters + self.gradients + self.optimizer + self.buffers


def states(layout: Layout, sizes: Anatomy, world: int, precision: str, cached: bool = False) -> States:
    """Return what one of `world` ranks holds at the end of its backward passes, in bytes.

    Args:
        layout: how it is spread.
        sizes: of the encoder.
        world: W.
        precision: the recipe's: "bf16" under DDP means fp32 weights and bf16 products, under ZeRO bf16 weights and
            gradients beside an fp32 copy of what is trained.
        cached: whether there is a gradient cache: gradients stay whole until its last chunk, under every stage.
    """
    if layout.stage is None:
        # Gradients lie in the buckets that are sent; those that occur of the embeddings' rows go beside them.
        return States(4.0 * sizes.entries, 4.0 * sizes.trained, 8.0 * sizes.trained, 0.0)
    width = 2 if precision == "bf16" else 4
    share = sizes.trained / world
    whole = layout.stage < 3
    found = States(
        parameters=width * (sizes.entries if whole else sizes.entries / world),
        gradients=width * _gradients(layout.stage, sizes, share, cached),
        optimizer=12.0 * share,
        buffers=float(_buckets(layout, sizes, width)),
    )
    if layout.offload_optimizer:
        # The step is on the host, in fp32, from gradients that go there one by one.
        found.host += found.optimizer + 4.0 * share
        found.optimizer = 0.0
        found.gradients = width * (sizes.trained if cached else 2.0 * sizes.largest)
    if layout.offload_parameters:
        found.host += found.parameters
        found.parameters = 0.0
    return found


def _gradients(stage: int, sizes: Anatomy, share: float, cached: bool) -> float:
    """Return how many entries of gradients the rank with the most of them keeps; those on their way are in buckets.

    Under stages 1 and 2 a rank keeps the whole gradient of each matrix that its part begins or ends in. A gradient
    cache adds up whole gradients until its last chunk; stage 3 has laid out its part beside them.
    """
    if stage == 3:
        return share + (sizes.trained if cached else 0)
    return sizes.trained if cached else min(sizes.trained, share + sizes.largest)


def _buckets(layout: Layout, sizes: Anatomy, width: int) -> int:
    """Return bytes of DeepSpeed's buffers: it takes whole buckets, however small the model."""
    settings = layout.settings
    bucket = width * int(settings.get("reduce_bucket_size", 500_000_000))
    if layout.stage == 3:
        live = min(sizes.entries, int(settings.get("stage3_max_live_parameters", _LIVE)))
        return bucket + width * live
    return bucket * (2 if settings.get("overlap_comm") else 1) if settings.get("contiguous_gradients", True) else 0


def vector_bytes(queries: int, passages: int, world: int, dimensions: int) -> float:
    """Return the bytes of vectors, of all ranks' passages with their gradient, and of the scores, of one rank.

    Args:
        queries: B, of this rank.
        passages: M, of this rank, hard negatives included.
        world: W ranks.
        dimensions: D.

    Vectors and their gradient, 2 (B + M) D; all passages and their gradient, 2 N D, in fp32; of the B x N scores the
    loss holds three in fp32 at its peak, and three masks.
    """
    candidates = passages * world
    vectors = 2 * (queries + passages) * dimensions * 4 + (2 * candidates * dimensions * 4 if world > 1 else 0)
    return float(vectors + queries * candidates * (3 * 4 + 3))
