"""The encoder as one process has it, in a job that spreads its weights over the ranks (ZeRO-3)."""

from collections.abc import Iterator
from contextlib import contextmanager

from hybrid.models.encoder import Encoder, as_needed
from hybrid.training.zero import shards_weights


@contextmanager
def whole_encoder(engine) -> Iterator[Encoder]:
    """Yield the encoder so that each rank may run it as often as it likes; every rank calls it.

    Under ZeRO-3 each forward pass otherwise gathers weights, so that a rank with more batches to encode than the
    others would wait for them for ever. Each rank holds all weights in here.
    """
    encoder = engine.module.encoder
    if not shards_weights(engine.accelerator):
        yield encoder
        return
    from deepspeed.runtime.zero import unwrap_model_for_generation

    agree, encoder.agree = encoder.agree, as_needed
    try:
        with unwrap_model_for_generation(engine.model):
            yield encoder
    finally:
        encoder.agree = agree
