"""Results of made-up encoders, in the form that evaluate.py writes."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from hybrid.evaluation.runs import read_recipe

LANGUAGES = ("de", "en")
QUESTIONS = 60


def write_result(folder: Path, ranks: np.ndarray, task: str = "toy") -> None:
    """Write a task's results: int [QUESTIONS, 2], the rank of the one relevant passage by question and language."""
    folder.mkdir(parents=True)
    count, pool = ranks.size, 100
    table = {
        "setting": ["monolingual"] * count,
        "question": np.repeat(np.arange(len(ranks)), len(LANGUAGES)),
        "query_language": list(LANGUAGES) * len(ranks),
        "pool": list(LANGUAGES) * len(ranks),
        "pool_size": np.full(count, pool),
        "rank": pa.ListArray.from_arrays(np.arange(count + 1, dtype=np.int32), pa.array(ranks.ravel())),
    }
    with open(folder / "per_query.parquet", "wb") as file:
        parquet.write_table(pa.table(table), file)
    means = {name: {"mean": 0.5} for name in ("map", "precision_at_1")} | {
        "accuracy_some": {"mean": 0.25, "languages": 3}
    }
    scores = {"task": task, "revision": "r" * 32, "languages": list(LANGUAGES), "queries": count, "documents": pool}
    (folder / "scores.json").write_text(json.dumps({**scores, "settings": {"monolingual": {"measures": means}}}))


@pytest.fixture
def arm(tmp_path):
    """Return a function that makes an arm of a comparison: its name, and the ranks of each seed."""

    def make(name: str, *seeds: np.ndarray):
        for number, ranks in enumerate(seeds):
            write_result(tmp_path / f"{name}-s{number}" / "results" / "after" / "toy", ranks)
        places = ",".join(str(tmp_path / f"{name}-s{number}") for number in range(len(seeds)))
        return read_recipe(f"{name}={places}", None)

    return make
