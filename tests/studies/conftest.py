"""A small study, and results of made-up encoders in the form that evaluate.py writes."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import yaml
from pyarrow import parquet

from hybrid.evaluation.runs import read_recipe
from hybrid.studies.study import read_study

LANGUAGES = ("de", "en")
QUESTIONS = 60
TASK = "parallel-paragraphs-sample-heldout"
STUDY = {
    "question": "Does it?",
    "measures": ["map"],
    "arms": {
        "first": {"recipe": {"training": {"steps": 3, "warmup_steps": 1}}},
        "second": {"recipe": {"mixture": {"monolingual": 0}}},
    },
    "comparisons": [{"task": TASK, "setting": "monolingual", "measure": "map", "of": ["first"], "against": ["second"]}],
    "scales": {"tiny": {"base": ["hybrid/recipes/quickstart.yaml"]}},
}


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
def written(tmp_path):
    """Return a function that writes the study with a key, given as its path, set to a value, and reads it."""

    def write(*keys: str, to=None):
        value = yaml.safe_load(yaml.safe_dump(STUDY))
        inner = value
        for key in keys[:-1]:
            inner = inner[key]
        if keys:
            inner[keys[-1]] = to
        path = tmp_path / "mine.yaml"
        path.write_text(yaml.safe_dump(value))
        return read_study(str(path))

    return write


@pytest.fixture
def arm(tmp_path):
    """Return a function that makes an arm of a comparison: its name, and the ranks of each seed."""

    def make(name: str, *seeds: np.ndarray):
        for number, ranks in enumerate(seeds):
            write_result(tmp_path / f"{name}-s{number}" / "results" / "after" / "toy", ranks)
        places = ",".join(str(tmp_path / f"{name}-s{number}") for number in range(len(seeds)))
        return read_recipe(f"{name}={places}", None)

    return make
