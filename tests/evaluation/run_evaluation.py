"""Evaluates a small encoder on a made collection and writes what came out: started by a test in several processes."""

import sys
from pathlib import Path
from unittest.mock import patch

import torch

from hybrid.evaluation import vectors, whole_pool
from hybrid.evaluation.config import EncodingConfig, EvaluationConfig
from hybrid.evaluation.evaluator import evaluate_encoder
from hybrid.evaluation.loading import loaded_task
from hybrid.evaluation.passages import passage_collection
from hybrid.evaluation.task import THREE_SETTINGS, Task
from hybrid.models import ModelConfig
from hybrid.models.load import load_encoder
from hybrid.runtime.files import write_json
from hybrid.runtime.interruption import run_to_end
from hybrid.runtime.launch import start
from hybrid.runtime.processes import rank, world_size
from tests.evaluation.conftest import made_paragraphs


def evaluate(model: str, folder: Path) -> None:
    """Score a model directory and leave ``metrics.RANK.json`` in the folder."""
    torch.manual_seed(rank())  # ranks must not lean on equal random states
    task = Task("made", passage_collection, "made", THREE_SETTINGS, "nowhere", "CC0", "")
    loaded = loaded_task(task, passage_collection(made_paragraphs()))
    config = EvaluationConfig(encoding=EncodingConfig(precision="fp32"), keep_embeddings=True)
    # Several shards and blocks in so small a collection, so that every rank has work.
    with (
        patch.object(vectors, "_FEWEST_ROWS", 16),
        patch.object(whole_pool, "_BLOCK_BYTES", 8 * len(loaded.collection.documents) * 20),
    ):
        encoder = load_encoder(ModelConfig(name=model))
        done: list[int] = []
        encoder.register_forward_pre_hook(lambda module, arguments: done.append(len(arguments[0])))
        metrics = evaluate_encoder(encoder, [loaded], folder, config)
    write_json(
        folder / f"metrics.{rank()}.json", {"world_size": world_size(), "encoded": sum(done), "metrics": metrics}
    )


def main() -> None:
    start("fp32")
    evaluate(sys.argv[1], Path(sys.argv[2]))


if __name__ == "__main__":
    run_to_end(main)
