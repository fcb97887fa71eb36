"""A tiny encoder and batches of random tokens, the same in every process, for tests of the training room."""

import numpy as np
import torch

from hybrid.data.batch import Batch
from hybrid.models import LoraConfig, ModelConfig
from hybrid.models.encoder import Encoder
from hybrid.models.lora import add_adapters
from hybrid.runtime.ragged import Ragged

VOCABULARY = 50
SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 40,
}


class Pad:
    """The one thing that an encoder needs of a tokenizer."""

    pad_token_id = 1


def toy_encoder(dropout: float = 0.0, seed: int = 0, adapters: int | None = None, **options) -> Encoder:
    """`adapters` is their rank; they are as if trained for a while, so that both matrices get a gradient."""
    from transformers import XLMRobertaConfig, XLMRobertaModel

    torch.manual_seed(seed)
    shape = XLMRobertaConfig(**SHAPE, hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout)
    backbone = XLMRobertaModel(shape, add_pooling_layer=False)
    if adapters:
        add_adapters(backbone, LoraConfig(rank=adapters))
        for name, parameter in backbone.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.1)
    return Encoder(backbone, Pad(), ModelConfig(pooling="mean", **options))


def ragged(rng: np.random.Generator, count: int) -> Ragged:
    lengths = rng.integers(3, 20, count)
    ids = rng.integers(3, VOCABULARY, int(lengths.sum()))
    return Ragged(torch.from_numpy(ids), torch.from_numpy(lengths))


def toy_batch(step: int, size: int, rank: int = 0, world: int = 1, negatives: bool = False) -> Batch:
    """Rank's slice of the global batch of a step; the joined batch is that of world 1, rank 0 (positives first)."""
    rng = np.random.default_rng(step)
    queries, positives = ragged(rng, size), ragged(rng, size)
    groups = torch.from_numpy(rng.integers(0, size * 2 // 3, size))
    owners = np.flatnonzero(rng.random(size) < 0.6) if negatives else np.zeros(0, np.int64)
    hard = ragged(rng, len(owners))
    hard_groups = torch.from_numpy(rng.integers(0, size * 2, len(owners)))
    first, last = rank * size // world, (rank + 1) * size // world
    mine = torch.arange(first, last)
    hard_mine = torch.from_numpy(np.flatnonzero((owners >= first) & (owners < last)))
    return Batch(
        step=step,
        kind="mixed",
        queries=queries.select(mine),
        passages=Ragged.join([positives.select(mine), hard.select(hard_mine)]),
        query_groups=groups[mine],
        passage_groups=torch.cat([groups[mine], hard_groups[hard_mine]]),
        negative_owner=torch.from_numpy(owners)[hard_mine] - first,
        rows=np.zeros((len(mine), 4), np.int64),
        streams=np.zeros(len(mine), np.int64),
    )
