"""The entry point: the command of the README scores a model, shows it the second time, and refuses bad input."""

import json
import sys
from pathlib import Path

import pytest

import evaluate
from hybrid.models.save import save_encoder

SAMPLE = Path(__file__).parents[2] / "hybrid" / "sample"


@pytest.fixture
def arguments(encoder, tmp_path):
    for name in ("one", "two"):
        save_encoder(encoder, tmp_path / "models" / name, "card", 32)
    encoding = ["--evaluation.encoding.precision", "fp32", "--evaluation.run_depth", "0"]
    places = ["--data_dir", str(SAMPLE), "--out_dir", str(tmp_path / "out"), "--tracking.enabled", "false"]
    return [
        "--model",
        str(tmp_path / "models" / "*"),
        "--tasks",
        "parallel:heldout.{language}.json",
        *places,
        *encoding,
    ]


def test_the_command_scores_every_model_and_only_shows_it_the_second_time(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["evaluate.py", *arguments])
    evaluate.main()
    first = capsys.readouterr().out
    folders = sorted((tmp_path / "out").iterdir())
    assert [folder.name.split("-")[0] for folder in folders] == ["one", "two"]
    metrics = json.loads((folders[0] / "parallel-heldout" / "scores.json").read_text())["settings"]
    assert f"{metrics['multilingual']['measures']['map']['mean']:.4f}" in first
    evaluate.main()
    again = capsys.readouterr().out
    assert "encoded in" not in again
    assert again.count("taken from") == 2
    assert again.count("parallel-heldout/multilingual") == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--tasks", "xquadr"], "'xquadr' is not known, did you mean 'xquad-r'"),
        (["--model", "no/such/*"], "'no/such/*' matches no directory"),
        (["--data_dir", "nowhere"], "there is nothing at nowhere"),
    ],
)
def test_bad_input_is_told_in_one_sentence_with_status_two(arguments, monkeypatch, capsys, change, message):
    monkeypatch.setattr(sys, "argv", ["evaluate.py", *arguments, *change])
    with pytest.raises(SystemExit, match="2"):
        evaluate.main()
    assert message in capsys.readouterr().out
