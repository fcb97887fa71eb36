"""Gradient cache at a global batch of thousands of pairs: memory and time against its chunks alone, and plain training.

    accelerate launch --config_file accelerate_configs/cpu_2.yaml tests/benchmarks/many_pairs.py [PAIRS] [CHUNK_TOKENS]

A small random XLM-R, texts of 16 to 32 random tokens, fp32. Times are CPU seconds of the slowest process, so that other
jobs on the machine do not count; memory is what a process takes above what it held before the step.
"""

import gc
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from hybrid.data.batch import Batch
from hybrid.models import FromScratch, ModelConfig
from hybrid.models.backbone import build, described
from hybrid.models.encoder import Encoder, chunks
from hybrid.runtime.interruption import run_to_end
from hybrid.runtime.launch import start
from hybrid.runtime.logs import log
from hybrid.runtime.processes import gather_objects, world_size
from hybrid.runtime.ragged import Ragged
from hybrid.training.config import ObjectiveConfig, TrainingConfig
from hybrid.training.engine import Engine
from tests.benchmarks.large_models import Tokenizer, random_batch

SHAPE = {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 512}
VOCABULARY, TOKENS = 2000, 32


def make_engine(pairs: int, cache_tokens: int | None, accelerator) -> Engine:
    """Return an engine over the same random weights each time."""
    torch.manual_seed(0)
    settings = ModelConfig(from_scratch=FromScratch(config=SHAPE), dropout=0.0, pooling="mean", chunk_tokens=10**9)
    backbone = build(described(settings, {"vocab_size": VOCABULARY}), settings)
    config = TrainingConfig(steps=2, global_batch=pairs, cache_tokens=cache_tokens, clip=0.0)
    return Engine(Encoder(backbone, Tokenizer(), settings), ObjectiveConfig(), config, accelerator)


def measured(action: Callable) -> tuple[object, float, float]:
    """Do it; returns what it gave, the CPU seconds of the slowest rank and the most GB that a rank took for it."""
    gc.collect()
    # Starts the peak of this process's memory anew (proc(5)).
    Path("/proc/self/clear_refs").write_text("5")
    before, begun = _peak(), time.process_time()
    result = action()
    found = gather_objects((time.process_time() - begun, _peak() - before))
    return result, max(seconds for seconds, _ in found), max(held for _, held in found)


def _peak() -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e9


def chunks_alone(engine: Engine, batch: Batch, tokens: int) -> None:
    """Encode each chunk once, forward and backward, without loss or exchange."""
    texts = Ragged.join([batch.queries, batch.passages])
    for rows in chunks(texts.lengths, tokens):
        engine.module(texts.select(rows)).square().sum().backward()
    engine.module.zero_grad()


def main(pairs: int = 4096, tokens: int = 4096) -> None:
    """Measure and print."""
    accelerator = start("fp32")
    assert world_size() == 2, f"two processes are meant, {world_size()} were started"
    batch, warm = (
        random_batch(step, rows, TOKENS, VOCABULARY, accelerator.process_index)
        for step, rows in ((0, pairs // 2), (1, 64))
    )
    cached, plain = (make_engine(pairs, cache, accelerator) for cache in (tokens, None))
    for engine in (cached, plain):
        # Kernels are made and moments laid out, alike in both.
        engine.step(warm, 0)
    _, alone, alone_held = measured(lambda: chunks_alone(cached, batch, tokens))
    one, seconds, held = measured(lambda: cached.step(batch, 1))
    other, plain_seconds, plain_held = measured(lambda: plain.step(batch, 1))
    off = abs(float(one.gradient_norm / other.gradient_norm) - 1)
    count = sum(1 for _ in chunks(Ragged.join([batch.queries, batch.passages]).lengths, tokens))
    log(
        f"{pairs} pairs, 2 processes, {count} chunks of {tokens} tokens a rank: cached {seconds:.2f} s and {held:.2f} "
        f"GB, its chunks alone {alone:.2f} s and {alone_held:.2f} GB (ratio {seconds / alone:.2f}), plain "
        f"{plain_seconds:.2f} s and {plain_held:.2f} GB (ratio {seconds / plain_seconds:.2f}); loss "
        f"{float(one.loss):.6f} and {float(other.loss):.6f}, norms of the gradients differ by {off:.0e}"
    )


if __name__ == "__main__":
    run_to_end(main, *map(int, sys.argv[1:]))
