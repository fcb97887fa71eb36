"""One and two processes give the same rankings, files and figures."""

import json
from pathlib import Path

import numpy as np
import pytest

from hybrid.models.save import save_encoder
from tests.evaluation.run_evaluation import evaluate
from tests.launch import launch

SCRIPT = Path(__file__).parent / "run_evaluation.py"


@pytest.fixture
def runs(encoder, tmp_path):
    """Result folders of one and of two processes."""
    save_encoder(encoder, tmp_path / "model", "card", 64)
    evaluate(str(tmp_path / "model"), tmp_path / "1")
    launch(SCRIPT, tmp_path / "model", tmp_path / "2")
    return tmp_path / "1", tmp_path / "2"


def test_two_processes_give_the_rankings_and_figures_of_one(runs):
    one, two = runs
    assert len(list((two / "made" / "embeddings" / "passage").glob("*.npy"))) == 9
    alone, first, second = (
        json.loads(path.read_text())
        for path in (one / "metrics.0.json", two / "metrics.0.json", two / "metrics.1.json")
    )
    assert [alone["world_size"], first["world_size"], second["world_size"]] == [1, 2, 2]
    assert alone["metrics"] == first["metrics"] == second["metrics"]
    assert alone["encoded"] == first["encoded"] + second["encoded"]
    assert min(first["encoded"], second["encoded"]) > 0.3 * alone["encoded"]
    for path in sorted((one / "made").glob("*.run")):
        lines = [[line.split() for line in (folder / "made" / path.name).open()] for folder in runs]
        assert [line[:4] for line in lines[0]] == [line[:4] for line in lines[1]]
        scores = [np.array([float(line[4]) for line in part]) for part in lines]
        np.testing.assert_allclose(scores[0], scores[1], rtol=0, atol=1e-6)
    for path in sorted((one / "made").glob("*.qrels")):
        assert path.read_text() == (two / "made" / path.name).read_text()
