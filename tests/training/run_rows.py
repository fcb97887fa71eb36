"""Started by accelerate: steps with rows and with a dense gradient on two ranks that begin with other embeddings.

Arguments: output. A rank's texts have tokens of its own, and some that both have.
"""

import sys
from collections.abc import Callable
from unittest import mock

import torch

from hybrid.models import ModelConfig
from hybrid.models.encoder import Encoder
from hybrid.runtime.interruption import run_to_end
from hybrid.runtime.launch import start
from hybrid.runtime.processes import gather_objects, is_main, rank, world_size
from hybrid.runtime.ragged import Ragged
from hybrid.training import engine as engines
from hybrid.training.config import ObjectiveConfig, TrainingConfig
from hybrid.training.engine import Engine
from tests.training.toy import VOCABULARY, Pad, toy_batch, toy_encoder

SHARED = 10


def own_tokens(tokens: Ragged) -> Ragged:
    """Take all but the first few tokens from this rank's half of the vocabulary; the last rank leaves out more."""
    half = (VOCABULARY - SHARED) // 2
    own = SHARED + rank() * half + tokens.ids % (half - 5 * rank())
    return Ragged(torch.where(tokens.ids < SHARED, tokens.ids, own), tokens.lengths)


def mt5() -> Encoder:
    """An encoder whose two tables share their weights; dropout off."""
    from transformers import MT5Config, MT5EncoderModel

    torch.manual_seed(rank())
    shape = {"d_model": 16, "num_layers": 2, "num_heads": 2, "d_ff": 32, "d_kv": 8, "dropout_rate": 0.0}
    backbone = MT5EncoderModel(MT5Config(vocab_size=VOCABULARY, **shape))
    return Encoder(backbone, Pad(), ModelConfig(pooling="mean", chunk_tokens=1000))


def steps(rows: bool, cache: int | None, make: Callable[[], Encoder]) -> dict:
    config = TrainingConfig(steps=8, learning_rate=1e-3, global_batch=12, clip=0.0, cache_tokens=cache)
    usual = engines.row_gradient if rows else lambda *_: None
    with mock.patch.object(engines, "row_gradient", usual):
        engine = Engine(make(), ObjectiveConfig(), config, start("fp32"))
    assert bool(engine.rows) == rows
    seen = []
    for step in range(3):
        batch = toy_batch(step, 12, rank(), world_size())
        batch.queries, batch.passages = own_tokens(batch.queries), own_tokens(batch.passages)
        seen.append(batch.passages.ids.unique().tolist())
        engine.step(batch, step)
    return {"weights": engine.module.state_dict(), "tokens": seen}


def main(out: str) -> None:
    makers = {"xlm-r": lambda: toy_encoder(seed=rank(), chunk_tokens=1000), "mt5": mt5}
    found = {
        f"{kind} {cache} {name}": steps(kind == "rows", cache, make)
        for name, make in makers.items()
        for cache in (None, 60)
        for kind in ("rows", "dense")
    }
    ranks = gather_objects(found)
    if is_main():
        torch.save(ranks, out)


if __name__ == "__main__":
    run_to_end(main, sys.argv[1])
