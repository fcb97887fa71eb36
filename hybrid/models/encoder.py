"""Texts to unit vectors. Shapes: N texts, T tokens of all of them, L tokens of the longest in a chunk, D dimensions."""

from bisect import bisect_right
from collections.abc import Callable, Iterator
from operator import neg

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hybrid.models.config import ModelConfig
from hybrid.models.packed import pooled, runs_packed, spans
from hybrid.models.projection import Projection
from hybrid.runtime.ragged import Ragged

Agree = Callable[[int, Tensor], int]
"""From the number of chunks that these texts [N, their lengths] need to the number that they are cut into."""


CHUNK_TOKENS = {"cpu": 2048, "cuda": 65536}
"""By device, where nothing is asked for: a CPU is a third faster while a chunk's layer stays in its caches. Above what
encoding takes at once (``encoding.batch_tokens``), so that its batches are not cut again."""


def as_needed(count: int, lengths_N: Tensor) -> int:
    """Agree with nobody: as few chunks as these texts need."""
    return count


def chunks(lengths_N: Tensor, budget: int, agree: Agree = as_needed) -> Iterator[Tensor]:
    """Cut texts into chunks of like length, so that little padding is computed: none is less than half its longest.

    Args:
        lengths_N: tokens of each text.
        budget: tokens of a chunk, padding included; a text longer than that is a chunk of its own.
        agree: where ranks have to make as many chunks as each other; it never gives more than there are texts.

    Yields the text numbers of each chunk, longest texts first (so that memory peaks at once, not late).
    """
    order = torch.argsort(lengths_N, descending=True, stable=True)
    longest = lengths_N[order].tolist()
    parts, start = [], 0
    while start < len(longest):
        alike = bisect_right(longest, -longest[start] / 2, lo=start, key=neg)
        stop = min(alike, start + max(1, budget // _eights(longest[start])))
        parts.append(order[start:stop])
        start = stop
    for _ in range(agree(len(parts), lengths_N) - len(parts)):
        most = max(range(len(parts)), key=lambda part: len(parts[part]))
        parts[most : most + 1] = parts[most].tensor_split(2)
    yield from parts


def padded(tokens: Ragged, rows: Tensor, pad_id: int, most: int | None = None) -> tuple[Tensor, Tensor]:
    """Lay some texts of a ragged batch out as a matrix: ids [n, L] and mask [n, L] (1 for a token, 0 for padding).

    L is a multiple of eight, up to the `most` tokens that the backbone has positions for (None: any number). Kernels
    are faster at such widths, and few widths mean few kernels to be made.
    """
    lengths = tokens.lengths[rows]
    starts = (tokens.lengths.cumsum(0) - tokens.lengths)[rows]
    longest = int(lengths.max())
    width = _eights(longest)
    column = torch.arange(max(longest, min(width, most or width)), device=lengths.device)
    mask = column < lengths[:, None]
    ids = tokens.ids[(starts[:, None] + column).clamp_max(len(tokens.ids) - 1)]
    return ids.masked_fill(~mask, pad_id), mask.long()


def _eights(longest: int) -> int:
    return max(8, -(-longest // 8) * 8)


class Encoder(nn.Module):
    """A backbone, a pooling and an optional projection; similarity is the cosine of what comes out.

    Queries and passages share the weights; their prefixes tell them apart and belong to whoever makes the tokens.
    """

    def __init__(self, backbone: nn.Module, tokenizer, config: ModelConfig, projection: Projection | None = None):
        super().__init__()
        self.backbone = backbone
        self.projection = projection
        self.tokenizer = tokenizer
        self.config = config
        self.agree: Agree = as_needed
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

        The texts go through the backbone packed, where it and the hardware can, else in chunks of like length; their
        order in the result is that of `tokens`.
        """
        rows, vectors = [], []
        packed = runs_packed(self.backbone, tokens)
        cut = spans if packed else chunks
        budget = self.config.chunk_tokens or CHUNK_TOKENS.get(tokens.ids.device.type, CHUNK_TOKENS["cuda"])
        for chosen in cut(tokens.lengths, budget, self.agree):
            rows.append(chosen)
            vectors.append(self._packed(tokens, chosen) if packed else self._padded(tokens, chosen))
        back = torch.argsort(torch.cat(rows))
        vectors_ND = torch.cat(vectors)[back]
        if self.projection:
            vectors_ND = self.projection(vectors_ND.to(self.projection.weight.dtype))
        return F.normalize(vectors_ND.float(), dim=-1)

    def _padded(self, tokens: Ragged, chosen: Tensor) -> Tensor:
        return self._pooled(*padded(tokens, chosen, self.tokenizer.pad_token_id, self.max_length))

    def _packed(self, tokens: Ragged, chosen: Tensor) -> Tensor:
        return pooled(self.backbone, tokens.select(chosen), self.config.pooling)

    def _pooled(self, ids_NL: Tensor, mask_NL: Tensor) -> Tensor:
        hidden_NLD = self.backbone(input_ids=ids_NL, attention_mask=mask_NL).last_hidden_state
        if self.config.pooling == "cls":
            return hidden_NLD[:, 0].float()
        weight_NL1 = mask_NL[..., None].to(torch.float32)
        return (hidden_NLD.float() * weight_NL1).sum(1) / weight_NL1.sum(1)
