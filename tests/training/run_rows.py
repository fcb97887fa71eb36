"""Started by accelerate: steps with rows and with a dense gradient on two ranks that begin with other embeddings.

Arguments: output. A rank's texts have tokens of its own, and some that both have.
"""

import sys
from unittest import mock

import torch

from hybrid.runtime.interruption import run_to_end
from hybrid.runtime.launch import start
from hybrid.runtime.processes import gather_objects, is_main, rank, world_size
from hybrid.runtime.ragged import Ragged
from hybrid.training import engine as engines
from hybrid.training.config import ObjectiveConfig, TrainingConfig
from hybrid.training.engine import Engine
from tests.training.toy import VOCABULARY, toy_batch, toy_encoder

SHARED = 10


def own_tokens(tokens: Ragged) -> Ragged:
    """Take all but the first few tokens from this rank's half of the vocabulary; the last rank leaves out more."""
    half = (VOCABULARY - SHARED) // 2
    own = SHARED + rank() * half + tokens.ids % (half - 5 * rank())
    return Ragged(torch.where(tokens.ids < SHARED, tokens.ids, own), tokens.lengths)


def steps(rows: bool, cache: int | None) -> dict:
    config = TrainingConfig(steps=8, learning_rate=1e-3, global_batch=12, clip=0.0, cache_tokens=cache)
    usual = engines.row_gradient if rows else lambda *_: None
    with mock.patch.object(engines, "row_gradient", usual):
        encoder = toy_encoder(seed=rank(), chunk_tokens=1000)
        engine = Engine(encoder, ObjectiveConfig(), config, start("fp32"))
    assert bool(engine.rows) == rows
    seen = []
    for step in range(3):
        batch = toy_batch(step, 12, rank(), world_size())
        batch.queries, batch.passages = own_tokens(batch.queries), own_tokens(batch.passages)
        seen.append(batch.passages.ids.unique().tolist())
        engine.step(batch, step)
    return {"weights": engine.module.state_dict(), "tokens": seen}


def main(out: str) -> None:
    found = {f"{kind} {cache}": steps(kind == "rows", cache) for cache in (None, 60) for kind in ("rows", "dense")}
    ranks = gather_objects(found)
    if is_main():
        torch.save(ranks, out)


if __name__ == "__main__":
    run_to_end(main, sys.argv[1])
