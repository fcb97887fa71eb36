"""Cost of the gradient cache against plain training, in one run, step by step in turn.

python -m tests.benchmarks.gradient_cache MODEL [PAIRS] [CHUNK_TOKENS] [STEPS]

Times are of the process (CPU seconds), so that other jobs on the machine do not count; on a GPU they are seconds.
"""

import statistics
import sys
import time

import numpy as np
import torch

from hybrid.data.batch import Batch
from hybrid.models import ModelConfig
from hybrid.models.load import load_encoder
from hybrid.runtime.interruption import run_to_end
from hybrid.runtime.launch import start
from hybrid.runtime.logs import log
from hybrid.runtime.ragged import Ragged
from hybrid.training.config import ObjectiveConfig, TrainingConfig
from hybrid.training.engine import Engine

QUERY, PASSAGE = (17, 5), (150, 50)
"""Mean and standard deviation of the tokens of a question and a paragraph of SQuAD."""


def texts(rng: np.random.Generator, count: int, lengths: tuple[int, int], vocabulary: int) -> Ragged:
    sizes = np.clip(rng.normal(*lengths, count).astype(int), 4, 256)
    ids = rng.integers(10, vocabulary, int(sizes.sum()))
    return Ragged(torch.from_numpy(ids), torch.from_numpy(sizes))


def batch(step: int, pairs: int, vocabulary: int) -> Batch:
    rng = np.random.default_rng(step)
    groups = torch.arange(pairs)
    return Batch(
        step=step,
        kind="monolingual",
        queries=texts(rng, pairs, QUERY, vocabulary),
        passages=texts(rng, pairs, PASSAGE, vocabulary),
        query_groups=groups,
        passage_groups=groups,
        negative_owner=torch.zeros(0, dtype=torch.int64),
        rows=np.zeros((pairs, 4), np.int64),
        streams=np.zeros(pairs, np.int64),
    )


def seconds(engine: Engine, one: Batch, step: int) -> float:
    """Do a step and return what it took."""
    cuda = engine.accelerator.device.type == "cuda"
    clock = time.perf_counter if cuda else time.process_time
    begin = clock()
    engine.step(one, step)
    if cuda:
        torch.cuda.synchronize()
    return clock() - begin


def main(model: str, pairs: int = 48, chunk: int = 2048, steps: int = 5) -> None:
    """Measure with frozen and with trained token embeddings, and print."""
    accelerator = start("bf16", seed=0)
    for frozen in (True, False):
        config = ModelConfig(name=model, dropout=0.0, freeze_embeddings=frozen, chunk_tokens=chunk)
        vocabulary = load_encoder(config).backbone.config.vocab_size
        engines = {}
        for name, tokens in (("plain", None), ("cached", chunk)):
            training = TrainingConfig(steps=steps + 1, global_batch=pairs, precision="bf16", cache_tokens=tokens)
            encoder = load_encoder(config).to(accelerator.device)
            engines[name] = Engine(encoder, ObjectiveConfig(), training, accelerator)
        took = {name: [] for name in engines}
        for step in range(steps + 1):
            for name, engine in engines.items():
                took[name].append(seconds(engine, batch(step, pairs, vocabulary), step))
        plain, cached = (statistics.median(values[1:]) for values in took.values())
        ratios = [b / a for a, b in zip(took["plain"][1:], took["cached"][1:], strict=True)]
        log(
            f"embeddings {'frozen' if frozen else 'trained'}: plain {plain:.2f} s, cached {cached:.2f} s a step of "
            f"{pairs} pairs; ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        )


if __name__ == "__main__":
    run_to_end(main, sys.argv[1], *map(int, sys.argv[2:]))
