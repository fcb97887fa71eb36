"""Scores a small encoder on tasks' files and writes what came out: started by a test in several processes."""

import sys
from pathlib import Path

from hybrid.evaluation.config import EncodingConfig, EvaluationConfig, SearchConfig
from hybrid.evaluation.evaluator import evaluate_encoder
from hybrid.evaluation.loading import load_tasks
from hybrid.models import ModelConfig
from hybrid.models.load import load_encoder
from hybrid.runtime.files import write_json
from hybrid.runtime.interruption import run_to_end
from hybrid.runtime.launch import start
from hybrid.runtime.processes import rank, world_size


def score(model: str, reader: str, data: str, folder: Path) -> None:
    """Score MLQA with a reader, MKQA and BUCC, and leave ``metrics.RANK.json`` in the folder."""
    encoding = EncodingConfig(precision="fp32")
    search = SearchConfig(device="cpu", block_rows=16)
    config = EvaluationConfig(encoding=encoding, search=search, reader=reader, reader_passages=2)
    metrics = evaluate_encoder(
        load_encoder(ModelConfig(name=model)), load_tasks(["mlqa", "mkqa", "bucc"], data), folder, config
    )
    write_json(folder / f"metrics.{rank()}.json", {"world_size": world_size(), "metrics": metrics})


def main() -> None:
    start("fp32")
    score(*sys.argv[1:4], Path(sys.argv[4]))


if __name__ == "__main__":
    run_to_end(main)
