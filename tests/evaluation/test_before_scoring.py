"""What scoring would refuse is refused before an encoder is trained or loaded, and what has no effect is told."""

import sys
from pathlib import Path

import pytest
import torch

import evaluate
from hybrid.evaluation import mine
from hybrid.evaluation.benchmarks import Benchmarks
from hybrid.evaluation.config import BenchmarkConfig, EvaluationConfig, SearchConfig
from hybrid.evaluation.evaluator import check_scoring
from hybrid.evaluation.loading import load_tasks
from hybrid.evaluation.results import check_models
from hybrid.models import ModelConfig
from hybrid.models.projection import Projection
from hybrid.models.save import save_encoder
from hybrid.runtime.errors import InputError
from tests.evaluation.published import write_bucc, write_mlqa, write_reader

SAMPLE = Path(__file__).parents[2] / "hybrid" / "sample"
PARALLEL = "parallel:heldout.{language}.json"
INDEX = {"backend": "faiss", "factory": "IVF4096,Flat"}


@pytest.fixture
def data(tmp_path):
    """MLQA and BUCC in their published form."""
    write_mlqa(tmp_path / "data")
    write_bucc(tmp_path / "data")
    return tmp_path / "data"


@pytest.mark.parametrize(
    ("tasks", "settings", "sentence"),
    [
        ("mlqa", {"reader": "/no/such/reader"}, r"reader /no/such/reader: cannot be loaded"),
        ("bucc", {"reader": "DIR"}, r"reader DIR: none of the tasks has answers to read; mlqa does"),
        ("mlqa", {"search": SearchConfig(**INDEX)}, r"search.factory is 'IVF4096,Flat', which is trained on 4096"),
        ("bucc", {"search": SearchConfig(**INDEX)}, r"search.factory is 'IVF4096,Flat', which is trained on 4096"),
        ("bucc", {"search": SearchConfig(device="cuda")}, "search.device is cuda, but torch finds no GPU here"),
    ],
)
def test_a_training_job_refuses_at_its_start_what_scoring_would_at_its_end(
    data, tmp_path, monkeypatch, tasks, settings, sentence
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    config = BenchmarkConfig(tasks=[tasks], data_dir=str(data), settings=EvaluationConfig(**settings))
    with pytest.raises(InputError, match=sentence):
        Benchmarks(config, tmp_path)


def test_texts_for_the_removal_of_languages_are_missed_at_the_start(tmp_path):
    settings = EvaluationConfig(lir=1, lir_texts=str(tmp_path / "{language}.txt"))
    with pytest.raises(InputError, match=r"there is no .*ar.txt; language ar needs a file"):
        Benchmarks(BenchmarkConfig(tasks=[PARALLEL], data_dir=str(SAMPLE), settings=settings), tmp_path)


def test_an_index_without_the_library_that_has_it_is_refused():
    with pytest.raises(InputError, match=r"search.factory is 'HNSW8,Flat', but search.backend is torch"):
        SearchConfig(factory="HNSW8,Flat")


def test_a_projection_that_nobody_trained_is_neither_scored_nor_mined_with(encoder, tmp_path, monkeypatch, capsys):
    save_encoder(encoder, tmp_path / "plain", "card", 32)
    encoder.projection = Projection(32, 8)
    save_encoder(encoder, tmp_path / "projected", "card", 32)
    monkeypatch.setattr(evaluate, "listen", lambda: None)  # signals stay pytest's
    monkeypatch.setattr(mine, "read_asked", None)
    monkeypatch.setattr(evaluate, "load_tasks", None)
    for folder, width in (("plain", 8), ("projected", 4)):
        model = ["--model", str(tmp_path / folder), "--encoder.projection", str(width)]
        monkeypatch.setattr(sys, "argv", ["evaluate.py", *model, "--tasks", PARALLEL, "--data_dir", str(SAMPLE)])
        for refused in (evaluate.main, lambda given=model: mine.main([*given, "--data", "x", "--out", "y"])):
            with pytest.raises(SystemExit, match="2"):
                refused()
            told = capsys.readouterr().out
            assert f"--encoder.projection is {width}, but {tmp_path / folder} has no trained projection" in told
    for width in (8, None):
        check_models([str(tmp_path / "projected")], ModelConfig(projection=width))
    check_models([str(tmp_path / "plain")], ModelConfig())


@pytest.mark.parametrize(
    ("tasks", "settings", "told"),
    [
        (PARALLEL, {"search": SearchConfig(backend="faiss")}, "evaluation.search has no effect: parallel-heldout rank"),
        ("mlqa", {"reader_passages": 5}, "evaluation.reader_passages is 5, but no reader is given"),
    ],
)
def test_a_setting_without_effect_is_told(data, capsys, tasks, settings, told):
    check_scoring(load_tasks([tasks], SAMPLE if tasks == PARALLEL else data), EvaluationConfig(**settings))
    assert told in capsys.readouterr().err


def test_what_has_an_effect_is_taken_without_a_word(data, tmp_path, capsys):
    tasks, reader = load_tasks(["mlqa"], data), write_reader(tmp_path / "reader")
    capsys.readouterr()
    search = SearchConfig(backend="faiss", block_rows=7)
    check_scoring(tasks, EvaluationConfig(search=search, reader=reader, reader_passages=2))
    assert not capsys.readouterr().err
