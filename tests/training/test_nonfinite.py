"""A step whose loss or gradient is not finite on any rank is one that no rank takes."""

import math
import sys

import pytest
import torch

from hybrid.runtime.files import read_json, write_json
from hybrid.training import not_finite
from hybrid.training.not_finite import replay
from tests.launch import launch
from tests.training.run_steps import SPOILT
from tests.training.test_gradient_check import TINY
from tests.training.test_gradients import OFFLOAD, ZERO

EVERYWHERE = ["ddp", *ZERO, *OFFLOAD]


@pytest.mark.parametrize("parallelism", EVERYWHERE)
def test_all_ranks_skip_the_step_that_one_of_them_spoils(parallelism, steps):
    spoilt = {name: found for name, found in steps(parallelism).items() if name.startswith("infinite")}
    assert spoilt
    for found in spoilt.values():
        assert found["skipped"] == [[step == SPOILT] * 2 for step in range(3)]


@pytest.mark.parametrize("parallelism", EVERYWHERE)
def test_a_skipped_step_leaves_weights_and_optimizer_as_they_were(parallelism, steps):
    without = steps(parallelism)["left out"]["weights"]
    for name in ("infinite loss", "infinite gradient"):
        if name in steps(parallelism):
            found = steps(parallelism)[name]["weights"]
            assert all(torch.equal(found[key], without[key]) for key in without)


def test_a_folder_that_is_damaged_is_told_in_a_sentence(tmp_path, capsys, monkeypatch):
    write_json(tmp_path / "rows.json", {})
    (tmp_path / "batch.pt").write_bytes(b"half a file")
    monkeypatch.setattr(sys, "argv", ["not_finite", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        not_finite.main()
    assert ended.value.code == 2
    assert "batch.pt: is no batch that a stopped job wrote" in capsys.readouterr().out


def test_a_job_stops_after_some_steps_in_a_row_with_a_folder_that_reproduces_the_last_one(tmp_path):
    flags = ["--training.learning_rate", "1e30", "--training.stop_after_skips", "3", "--training.steps", "20"]
    flags += ["--training.output", tmp_path, "--training.name", "nan", "--benchmark.before", "false"]
    flags += ["--tracking.enabled", "false", "--data.cache", tmp_path / "cache"]
    printed = launch("train.py", *TINY, *flags, processes=2, status=1)
    assert "of 3 steps in a row was not finite" in printed
    folder = tmp_path / "nan" / "not_finite"
    about = read_json(folder / "rows.json")
    assert about["step"] == 3
    assert [len(rank["rows"]) for rank in about["ranks"]] == [8, 8]
    loss, places = replay(folder)
    assert not math.isfinite(loss)
    assert places[0].startswith("the output of encoder.backbone.embeddings")
