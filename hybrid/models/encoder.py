"""Texts to unit vectors. Shapes: N texts, T tokens of all of them, L tokens of the longest in a chunk, D dimensions."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hybrid.models.config import ModelConfig
from hybrid.runtime.ragged import Ragged


def chunks(lengths_N: Tensor, budget: int) -> Iterator[Tensor]:
    """Cut texts into chunks of like length, so that little padding is computed.

    Args:
        lengths_N: tokens of each text.
        budget: tokens of a chunk, padding included; a text longer than that is a chunk of its own.

    Yields the text numbers of each chunk, longest texts first (so that memory peaks at once, not late).
    """
    order = torch.argsort(lengths_N, descending=True, stable=True)
    longest = lengths_N[order].tolist()
    start = 0
    while start < len(longest):
        stop = start + max(1, budget // max(1, longest[start]))
        yield order[start:stop]
        start = stop


def padded(tokens: Ragged, rows: Tensor, pad_id: int) -> tuple[Tensor, Tensor]:
    """Lay some texts of a ragged batch out as a matrix: ids [n, L] and mask [n, L] (1 for a token, 0 for padding)."""
    lengths = tokens.lengths[rows]
    starts = (tokens.lengths.cumsum(0) - tokens.lengths)[rows]
    column = torch.arange(int(lengths.max()), device=lengths.device)
    mask = column < lengths[:, None]
    ids = tokens.ids[(starts[:, None] + column).clamp_max(len(tokens.ids) - 1)]
    return ids.masked_fill(~mask, pad_id), mask.long()


class Encoder(nn.Module):
    """A backbone, a pooling and an optional projection; similarity is the cosine of what comes out.

    Queries and passages share the weights; their prefixes tell them apart and belong to whoever makes the tokens.
    """

    def __init__(self, backbone: nn.Module, tokenizer, config: ModelConfig, projection: nn.Linear | None = None):
        super().__init__()
        self.backbone = backbone
        self.projection = projection
        self.tokenizer = tokenizer
        self.config = config
        self.prefixes = {"query": config.query_prefix or "", "passage": config.passage_prefix or ""}

    @property
    def max_length(self) -> int | None:
        """Tokens of the longest text that the backbone has positions for, None where it takes any (relative ones)."""
        positions = getattr(self.backbone.config, "max_position_embeddings", None)
        if positions is None or not hasattr(self.backbone, "embeddings"):
            return None
        # RoBERTa's family counts positions from the padding token's id on.
        padding = getattr(self.backbone.embeddings, "padding_idx", None)
        return positions if padding is None else positions - padding - 1

    def forward(self, tokens: Ragged) -> Tensor:
        """Encode N texts, special tokens and prefixes included: returns [N, D] in float32, each of length 1.

        The texts go through the backbone in chunks of like length; their order in the result is that of `tokens`.
        """
        rows, vectors = [], []
        for chosen in chunks(tokens.lengths, self.config.chunk_tokens):
            rows.append(chosen)
            vectors.append(self._pooled(*padded(tokens, chosen, self.tokenizer.pad_token_id)))
        back = torch.argsort(torch.cat(rows))
        vectors_ND = torch.cat(vectors)[back]
        if self.projection:
            vectors_ND = self.projection(vectors_ND.to(self.projection.weight.dtype))
        return F.normalize(vectors_ND.float(), dim=-1)

    def _pooled(self, ids_NL: Tensor, mask_NL: Tensor) -> Tensor:
        hidden_NLD = self.backbone(input_ids=ids_NL, attention_mask=mask_NL).last_hidden_state
        if self.config.pooling == "cls":
            return hidden_NLD[:, 0].float()
        weight_NL1 = mask_NL[..., None].to(torch.float32)
        return (hidden_NLD.float() * weight_NL1).sum(1) / weight_NL1.sum(1)
