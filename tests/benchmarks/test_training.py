"""`train` and `cached`: what is made of what the sides' processes tell."""

import json

import pytest

from hybrid.models.save import save_encoder
from tests.benchmarks import train_ours, training
from tests.models.test_encoder import TEXTS, tiny

ABOUT = {"world": 1, "memory_gb": 1.0, "tokens_per_pair": 10.0, "operations_per_pair": 2.0}


@pytest.fixture
def told(monkeypatch) -> dict[str, list[dict]]:
    """What each side's process tells, repeat by repeat."""
    sides: dict[str, list[dict]] = {script: [] for script in training.SIDES.values()}
    monkeypatch.setattr(training, "worker", lambda script, *_: sides[script].pop(0))
    return sides


def test_each_repeat_is_held_against_the_peak_that_was_measured_with_it(told):
    told["train_ours.py"] = [ABOUT | {"seconds": 1.0, "peak": peak} for peak in (100.0, 50.0, 200.0)]
    told["train_peer.py"] = [ABOUT | {"seconds": 2.0} for _ in range(3)]
    cases = training.both_sides({"model": {}, "batch": 10}, 1, "trained", 3)
    used = {case.name.split(",")[0]: case.values for case in cases if case.unit == "% MFU"}
    assert used == {"hybrid": [20.0, 40.0, 10.0], training.PEER: [10.0, 20.0, 5.0]}


def test_what_two_processes_do_is_held_against_the_peak_of_both(in_this_process, tmp_path, monkeypatch):
    save_encoder(tiny("xlm-roberta"), tmp_path / "model", "", 24)
    rows = [{"id": str(number), "query": text, "passage": text} for number, text in enumerate(TEXTS)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    work = {"model": {"name": str(tmp_path / "model")}, "pairs": str(tmp_path / "pairs.jsonl"), "cache": str(tmp_path)}
    monkeypatch.setattr(train_ours, "peak_flops", lambda *_: 100.0)
    monkeypatch.setattr(train_ours, "gather_objects", lambda mine: [mine, mine])
    found = in_this_process("train_ours.py", work | {"length": 24, "batch": 2, "steps": 2, "precision": "fp32"})
    assert found["peak"] == 200.0


def test_a_side_that_runs_out_of_memory_once_has_no_values(monkeypatch):
    told = iter([ABOUT | {"seconds": 1.0}, ABOUT | {"seconds": 1.0}, training.OutOfMemory(), ABOUT | {"seconds": 1.0}])

    def run(*_) -> dict:
        if isinstance(one := next(told), Exception):
            raise one
        return one

    monkeypatch.setattr(training, "worker", run)
    jobs = {side: (script, {"batch": 10}) for side, script in training.SIDES.items()}
    cases, about = training.in_turn(jobs, 1, 2)
    assert [(case.values, len(about[side])) for side, case in cases.items()] == [([], 0), ([10.0, 10.0], 2)]


def test_a_failure_of_what_is_optional_costs_the_others_nothing(monkeypatch, capsys):
    def run(script, *_) -> dict:
        if script == "bad":
            raise RuntimeError("no kernel")
        return ABOUT | {"seconds": 1.0}

    monkeypatch.setattr(training, "worker", run)
    jobs = {name: (name, {"batch": 10}) for name in ("good", "bad")}
    cases, _ = training.in_turn(jobs, 1, 2, optional="bad")
    assert [case.values for case in cases.values()] == [[10.0, 10.0], []]
    assert "bad: no kernel" in capsys.readouterr().err
    with pytest.raises(RuntimeError, match="no kernel"):
        training.in_turn(jobs, 1, 2)
