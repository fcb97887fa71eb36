"""Real ZeRO-3 steps of a large encoder with random weights on two CPU processes: seconds a step and peak memory.

    accelerate launch --use_deepspeed --deepspeed_config_file ds_configs/zero3.json --zero3_init_flag true \
        --num_processes 2 --num_machines 1 --mixed_precision no --dynamo_backend no --main_process_port 0 \
        tests/benchmarks/large_models.py google/mt5-large

MODEL is a hub id of hybrid/models/architectures.yaml; nothing is downloaded. Weights are spread as they are made, no
rank ever holds a whole copy; texts are random tokens. The embedding matrix is frozen without --train_embeddings.
"""

import resource
import sys
import time
from pathlib import Path

import numpy as np
import torch
from jsonargparse import ArgumentParser

sys.path.insert(0, str(Path(__file__).parents[2]))

from hybrid.data.batch import Batch
from hybrid.models import ModelConfig
from hybrid.models.backbone import build
from hybrid.models.encoder import Encoder
from hybrid.runtime.interruption import run_to_end
from hybrid.runtime.launch import start
from hybrid.runtime.processes import gather_objects, is_main
from hybrid.runtime.ragged import Ragged
from hybrid.training.config import ObjectiveConfig, TrainingConfig
from hybrid.training.engine import Engine
from hybrid.training.plan_encoder import architecture


class Tokenizer:
    """The one thing that an encoder needs of a tokenizer."""

    pad_token_id = 1


def main() -> None:
    """Print a line a step, and the figures of all ranks at the end."""
    parser = ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--rows", type=int, default=4, help="pairs of a rank")
    parser.add_argument("--tokens", type=int, default=32, help="of a text, at most")
    parser.add_argument("--layers", type=int | None, help="the bottom ones alone, for a first try")
    parser.add_argument("--train_embeddings", action="store_true")
    given = parser.parse_args()
    config = TrainingConfig(steps=given.steps + 1, global_batch=2 * given.rows, precision="bf16")
    accelerator = start("bf16", seed=0)
    world = accelerator.num_processes
    assert world == 2, f"two processes are meant, {world} were started"
    settings = ModelConfig(name=given.model, dropout=0.0, pooling="mean", layers=given.layers)
    backbone = build(architecture(settings), settings)
    backbone.get_input_embeddings().requires_grad_(given.train_embeddings)
    encoder = Encoder(backbone, Tokenizer(), settings)
    parameters = sum(getattr(p, "ds_numel", p.numel()) for p in encoder.parameters())
    engine = Engine(encoder, ObjectiveConfig(), config, accelerator)
    vocabulary, seconds = backbone.config.vocab_size, []
    for step in range(given.steps + 1):
        batch = random_batch(step, given.rows, given.tokens, vocabulary, accelerator.process_index)
        begun = time.monotonic()
        result = engine.step(batch, step)
        seconds.append(time.monotonic() - begun)
        if is_main():
            loss, norm = float(result.loss), float(result.gradient_norm)
            print(f"step {step}: loss {loss:.4f}, norm {norm:.3f}, {seconds[-1]:.1f} s", flush=True)
    peaks = gather_objects(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9)
    if is_main():
        print(
            f"{given.model}: {parameters / 1e6:.1f} M parameters, world size {world}, ZeRO-3, bf16, "
            f"{2 * given.rows} pairs of at most {given.tokens} tokens: {np.median(seconds[1:]):.1f} s a step (median "
            f"of {given.steps} after the first), peak memory of the ranks {peaks[0]:.1f} + {peaks[1]:.1f} GB"
        )


def random_batch(step: int, rows: int, longest: int, vocabulary: int, rank: int) -> Batch:
    """Return a rank's pairs of random tokens; all groups differ."""
    rng = np.random.default_rng((step, rank))

    def texts() -> Ragged:
        lengths = rng.integers(longest // 2, longest + 1, rows)
        return Ragged(torch.from_numpy(rng.integers(5, vocabulary, lengths.sum())), torch.from_numpy(lengths))

    groups = torch.arange(rows) + rank * rows
    nothing = np.zeros(0, np.int64)
    return Batch(
        step=step,
        kind="monolingual",
        queries=texts(),
        passages=texts(),
        query_groups=groups,
        passage_groups=groups,
        negative_owner=torch.from_numpy(nothing),
        rows=np.zeros((rows, 4), np.int64),
        streams=np.zeros(rows, np.int64),
    )


if __name__ == "__main__":
    run_to_end(main)
