"""What training the token embeddings costs a step: frozen, with a dense gradient, with rows, in turn in one run.

python -m tests.benchmarks.embeddings MODEL [PAIRS] [CHUNK_TOKENS] [STEPS] [CACHE_TOKENS]

Times are of the process (CPU seconds), so that other jobs on the machine do not count; on a GPU they are seconds.
"""

import statistics
import sys
from unittest import mock

from hybrid.models import ModelConfig
from hybrid.models.load import load_encoder
from hybrid.runtime.interruption import run_to_end
from hybrid.runtime.launch import start
from hybrid.runtime.logs import log
from hybrid.training import engine as engines
from hybrid.training.config import ObjectiveConfig, TrainingConfig
from hybrid.training.engine import Engine
from tests.benchmarks.gradient_cache import batch, seconds

KINDS = ("frozen", "dense", "rows")


def make(kind: str, model: str, pairs: int, chunk: int, steps: int, cache: int | None, accelerator) -> Engine:
    """Return an engine; a dense gradient is what autograd does where nothing collects rows."""
    encoder = load_encoder(ModelConfig(name=model, dropout=0.0, freeze_embeddings=kind == "frozen", chunk_tokens=chunk))
    training = TrainingConfig(steps=steps + 1, global_batch=pairs, precision="bf16", cache_tokens=cache)
    usual = engines.row_gradient
    with mock.patch.object(engines, "row_gradient", usual if kind == "rows" else lambda *_: None):
        return Engine(encoder.to(accelerator.device), ObjectiveConfig(), training, accelerator)


def main(model: str, pairs: int = 24, chunk: int = 1024, steps: int = 5, cache: int | None = None) -> None:
    """Measure and print the medians of the steps after the first."""
    accelerator = start("bf16", seed=0)
    made = {kind: make(kind, model, pairs, chunk, steps, cache, accelerator) for kind in KINDS}
    vocabulary = made["rows"].module.encoder.backbone.config.vocab_size
    took = {kind: [] for kind in KINDS}
    for step in range(steps + 1):
        for kind in KINDS:
            took[kind].append(seconds(made[kind], batch(step, pairs, vocabulary), step))
    log(f"{pairs} pairs, chunks of {chunk} tokens, {f'cache of {cache}' if cache else 'no cache'}, seconds a step:")
    for kind, values in took.items():
        log(f"{kind:6} {statistics.median(values[1:]):6.2f} ({min(values[1:]):.2f} to {max(values[1:]):.2f})")


if __name__ == "__main__":
    run_to_end(main, sys.argv[1], *map(int, sys.argv[2:]))
