"""One and two processes give the same rankings, files and figures."""

import json
from pathlib import Path

import numpy as np
import pytest

from hybrid.models.save import save_encoder
from tests.evaluation.published import write_bucc, write_mkqa, write_mlqa, write_reader
from tests.evaluation.run_evaluation import evaluate
from tests.evaluation.run_tasks import score
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
    assert len(list((two / "made" / "embeddings" / "passage").glob("[0-9]*.npy"))) == 9
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


def test_two_processes_give_the_answers_hits_and_translations_of_one(encoder, tmp_path):
    save_encoder(encoder, tmp_path / "model", "card", 64)
    for write in (write_mlqa, write_mkqa, write_bucc):
        write(tmp_path / "data")
    places = [str(tmp_path / "model"), write_reader(tmp_path / "reader"), str(tmp_path / "data")]
    score(*places, tmp_path / "1")
    launch(SCRIPT.with_name("run_tasks.py"), *places, tmp_path / "2")
    names = [tmp_path / "1" / "metrics.0.json", *(tmp_path / "2" / f"metrics.{rank}.json" for rank in (0, 1))]
    alone, first, second = (json.loads(path.read_text()) for path in names)
    assert [alone["world_size"], first["world_size"], second["world_size"]] == [1, 2, 2]
    assert {"mlqa/pairs/answer_f1", "mkqa/cross_lingual/hit_rate_at_20", "bucc/forward/f1"} <= alone["metrics"].keys()
    assert alone["metrics"] == first["metrics"] == second["metrics"]
    for path in sorted((tmp_path / "1" / "mlqa").glob("*.predictions.json")):
        assert path.read_text() == (tmp_path / "2" / "mlqa" / path.name).read_text()
