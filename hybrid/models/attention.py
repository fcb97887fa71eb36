"""The attention of XLM-R's and BERT's family: for each kind of hardware the function that is fast there.

Shapes: N texts, T tokens of all of them, L tokens of the longest, H heads, E dimensions of a head.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

NAME = "hybrid"
"""The attention function below, by which transformers finds it."""


def register() -> None:
    """Make the attention function known to transformers; its masks are sdpa's."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(NAME, attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)


def attention(module, query, key, value, attention_mask, scaling=None, dropout=0.0, starts=None, longest=None, **rest):
    """Transformers' attention function: packed texts where `starts` is given, else padded ones.

    Args:
        query, key, value: [1, H, T, E] of packed texts, [N, H, L, E] of padded ones.
        attention_mask: of padded texts, bool [N, 1, L, L], true where a token may be looked at, None where all may.
        starts: int32 [N + 1], where each packed text starts, and T.
        longest: tokens of the longest packed text.
    """
    if starts is not None:
        from torch.nn.attention.varlen import varlen_attn

        query_THE, key_THE, value_THE = (part[0].transpose(0, 1) for part in (query, key, value))
        mixed_THE = varlen_attn(query_THE, key_THE, value_THE, starts, starts, longest, longest, scale=scaling)
        return mixed_THE[None], None
    if query.device.type == "cpu" and query.dtype == torch.bfloat16:
        return _by_products(query, key, value, attention_mask, scaling, dropout), None
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, dropout=dropout, **rest)


def _by_products(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scaling: float, dropout: float
) -> Tensor:
    """Attention by two matrix products, returns [N, L, H, E].

    torch's kernel for CPUs takes 2.4 times as long in bf16, forward and backward, at the lengths of paragraphs.
    """
    scores_NHLL = (query * scaling) @ key.transpose(2, 3)
    if mask is not None:
        least = torch.finfo(query.dtype).min
        scores_NHLL.add_(torch.zeros_like(mask, dtype=query.dtype).masked_fill_(~mask, least))
    shares_NHLL = F.dropout(F.softmax(scores_NHLL, -1), dropout)
    return (shares_NHLL @ value).transpose(1, 2).contiguous()
