"""The forward pass on packed texts: no padding is computed, where the hardware has attention for texts of any length.

XLM-R's and BERT's family run on torch's variable-length kernel (CUDA, bf16 or fp16). Shapes: N texts, T tokens of all
of them, D dimensions.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from hybrid.models.attention import NAME, register
from hybrid.models.config import ModelConfig
from hybrid.runtime.errors import InputError
from hybrid.runtime.ragged import Ragged

_FAMILIES = ("xlm-roberta", "roberta", "camembert", "bert", "xlm-roberta-xl")
"""Architectures whose attention takes no bias and whose positions can be given."""


def implementation(architecture, config: ModelConfig) -> str:
    """Return the name of transformers' attention function for what the recipe asks for.

    Raises InputError where it asks for packed texts and the backbone or this machine cannot.
    """
    if config.attention not in ("auto", "packed"):
        return config.attention
    reason = _unknown(architecture)
    if config.attention == "packed" and (obstacle := reason or _no_kernel() or _dropout_reason(architecture)):
        raise InputError(f"model.attention is packed, but {obstacle}; leave it at auto.")
    if reason:
        return "sdpa"
    register()
    return NAME


def runs_packed(backbone: nn.Module, tokens: Ragged) -> bool:
    """Return whether these texts go through the backbone packed: the kernel takes half precision on CUDA alone."""
    if backbone.config._attn_implementation != NAME or (backbone.training and _dropout(backbone.config)):
        return False
    device = tokens.ids.device.type
    half = torch.is_autocast_enabled(device) or backbone.dtype in (torch.bfloat16, torch.float16)
    return device == "cuda" and half and not _no_kernel()


def _unknown(architecture) -> str | None:
    """Return why a backbone of this architecture cannot take our attention, in words, or None where it can."""
    if architecture.model_type not in _FAMILIES:
        return f"the variable-length kernel is not used for {architecture.model_type}, only for {', '.join(_FAMILIES)}"
    if getattr(architecture, "position_embedding_type", "absolute") != "absolute":
        return "the backbone's positions are relative, which the variable-length kernel does not know"
    if (head := architecture.hidden_size // architecture.num_attention_heads) % 8 or head > 256:
        return f"the backbone's heads have {head} dimensions, and the variable-length kernel takes 8, 16 ... 256"
    return None


def _no_kernel() -> str | None:
    if not torch.cuda.is_available():
        return "there is no CUDA device here, and torch's variable-length attention runs on CUDA alone"
    if torch.cuda.get_device_capability() < (8, 0):
        return "this GPU is older than Ampere, and torch's variable-length attention needs that"
    return None


def _dropout_reason(architecture) -> str | None:
    rate = _dropout(architecture)
    return (
        f"attention drops out with probability {rate}, which the kernel does not; set model.dropout 0" if rate else None
    )


def _dropout(architecture) -> float:
    return getattr(architecture, "attention_probs_dropout_prob", 0.0)


def spans(lengths_N: Tensor, budget: int, agree: Callable[[int, Tensor], int]) -> list[Tensor]:
    """Cut texts, in their order, into about equal runs of `budget` tokens, or of as many runs as ranks agree on.

    A run is over the budget by less than one text.
    """
    ends = lengths_N.cumsum(0)
    total = int(ends[-1])
    count = agree(min(len(lengths_N), -(-total // budget)), lengths_N)
    number = torch.arange(1, count, device=ends.device)
    cuts = torch.searchsorted(ends, number * total / count) + 1
    # Every run has a text, also where texts are longer than a run should be.
    cuts = ((cuts - number).cummax(0).values + number).minimum(len(lengths_N) - count + number)
    return list(torch.arange(len(lengths_N), device=ends.device).tensor_split(cuts.tolist()))


def pooled(backbone: nn.Module, tokens: Ragged, pooling: str) -> Tensor:
    """Encode packed texts: returns [N, D] in float32, not normalised."""
    lengths_N = tokens.lengths
    starts = torch.nn.functional.pad(lengths_N.cumsum(0), (1, 0)).int()
    number_N = torch.arange(len(lengths_N), device=lengths_N.device)
    # With its size given the device is not waited for.
    owner_T = torch.repeat_interleave(number_N, lengths_N, output_size=len(tokens.ids))
    position_T = torch.arange(len(tokens.ids), device=lengths_N.device) - starts[owner_T]
    hidden_TD = backbone(
        input_ids=tokens.ids[None],
        position_ids=(position_T + _first_position(backbone))[None],
        starts=starts,
        longest=int(lengths_N.max()),
    ).last_hidden_state[0]
    if pooling == "cls":
        return hidden_TD[starts[:-1]].float()
    return torch.segment_reduce(hidden_TD.float(), "mean", lengths=lengths_N, axis=0)


def _first_position(backbone: nn.Module) -> int:
    """Return the position of a text's first token: RoBERTa's family counts from the padding token's id on."""
    padding = getattr(backbone.embeddings, "padding_idx", None)
    return 0 if padding is None else padding + 1
