"""What one process computes for a whole global batch: the gradient that any parallelism has to give."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from hybrid.data.batch import Batch
from hybrid.models.config import FromScratch, ModelConfig
from hybrid.models.encoder import Encoder
from hybrid.runtime.errors import InputError
from hybrid.runtime.ragged import Ragged
from hybrid.training.config import ObjectiveConfig
from hybrid.training.engine import ScaledEncoder
from hybrid.training.gather import apart
from hybrid.training.objective import Objective

_BERT = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
_T5 = {"d_model": 64, "num_layers": 2, "num_heads": 4, "d_kv": 16, "d_ff": 128}
"""Sizes of a small model, by the names that architectures have for them."""


def joined(batches: list[Batch]) -> Batch:
    """Return the global batch of which the ranks hold these parts: queries, their passages, then all hard negatives."""
    counts = torch.tensor([len(batch.queries) for batch in batches])
    starts = (counts.cumsum(0) - counts).tolist()
    own = [torch.arange(len(batch.queries)) for batch in batches]
    hard = [torch.arange(len(batch.queries), len(batch.passages)) for batch in batches]
    order = [*zip(batches, own, strict=True), *zip(batches, hard, strict=True)]
    return replace(
        batches[0],
        queries=Ragged.join([batch.queries for batch in batches]),
        passages=Ragged.join([batch.passages.select(rows) for batch, rows in order]),
        query_groups=torch.cat([batch.query_groups for batch in batches]),
        passage_groups=torch.cat([batch.passage_groups[rows] for batch, rows in order]),
        negative_owner=torch.cat([b.negative_owner + start for b, start in zip(batches, starts, strict=True)]),
    )


@dataclass
class Expected:
    """What one process computes for a global batch of N texts."""

    loss: float
    gradient: dict[str, Tensor]
    """Of each trained parameter, in fp32, on the CPU."""
    vectors_ND: Tensor
    pull_ND: Tensor
    """Gradient of the loss with respect to the vectors."""


class Reference:
    """The recipe's encoder and loss without wrappers, exchange or gradient cache.

    Layers are computed again in the backward pass: with the activations of a whole global batch no machine that the
    recipe fits would hold it.
    """

    def __init__(self, encoder: Encoder, objective: ObjectiveConfig, device: torch.device, rounded: str | None = None):
        """Compute in fp32, or in bf16 as the job does: `rounded` "products" by autocast, "weights" as DeepSpeed."""
        dtype = torch.bfloat16 if rounded == "weights" else torch.float32
        if encoder.backbone.supports_gradient_checkpointing:
            encoder.backbone.config.use_cache = False
            encoder.backbone.activation_checkpointing_enable()
        self.module = ScaledEncoder(encoder, objective).to(device, dtype).train()
        self.objective, self.device, self.autocast = Objective(objective), device, rounded == "products"

    def gradient(self, weights: dict[str, Tensor], batch: Batch) -> Expected:
        """Return the loss of a global batch at these weights, and its gradient."""
        self.module.load_state_dict(weights, strict=False)
        batch = batch.to(self.device)
        with apart():
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
                vectors_ND = self.module(Ragged.join([batch.queries, batch.passages]))
            vectors_ND.retain_grad()
            loss = self.objective(vectors_ND, batch).value
        loss.backward()
        gradient = {
            name: torch.zeros(value.shape) if value.grad is None else value.grad.to("cpu", torch.float32)
            for name, value in self.module.named_parameters()
            if value.requires_grad
        }
        self.module.zero_grad()
        return Expected(float(loss.detach()), gradient, vectors_ND.detach(), vectors_ND.grad)


def without_dropout(config: ModelConfig) -> ModelConfig:
    """Return the recipe's encoder without dropout, whose masks would differ between one process and several."""
    return replace(config, dropout=0.0, lora=config.lora and replace(config.lora, dropout=0.0))


def small(config: ModelConfig, saved: Callable[[ModelConfig], Any]) -> ModelConfig:
    """Return a small random encoder of the recipe's architecture, with its tokenizer, pooling and prefixes.

    Args:
        config: the recipe's encoder.
        saved: gives the architecture's configuration of a directory or hub id.
    """
    if scratch := config.from_scratch:
        model_type, values, tokenizer = scratch.model_type, scratch.config, scratch.tokenizer
        vocabulary = scratch.vocabulary
    else:
        architecture = saved(config)
        skipped = ("model_type", "architectures", "dtype", "torch_dtype", "transformers_version", "_name_or_path")
        values = {key: value for key, value in architecture.to_diff_dict().items() if key not in skipped}
        model_type, tokenizer, vocabulary = architecture.model_type, config.name, FromScratch().vocabulary
    sizes = _T5 if "t5" in model_type else _BERT
    width = next(iter(sizes))
    if values.get(width, 10**6) > sizes[width]:
        values = values | sizes
    scratch = FromScratch(model_type=model_type, config=values, tokenizer=tokenizer, vocabulary=vocabulary)
    return without_dropout(replace(config, name=None, from_scratch=scratch, layers=None))


def same_kind(batches: list[Batch], objective: ObjectiveConfig) -> None:
    """Raise InputError where one temperature cannot be said of a global batch, whose ranks hold several kinds."""
    kinds = sorted({batch.kind for batch in batches})
    if len(kinds) > 1 and objective.kind_temperatures:
        raise InputError(
            f"objective.kind_temperatures is set, but ranks hold several kinds at a step ({', '.join(kinds)}), which "
            "one process cannot do; unset it for the check."
        )
