"""What the benchmarks share: one table from several calls, refusals before anything is measured."""

import json
import os
import subprocess
from argparse import Namespace
from pathlib import Path

import pytest
import torch

from hybrid.runtime.errors import InputError
from tests.benchmarks import data, gpu, growth, sampler, suite
from tests.benchmarks.__main__ import BENCHMARKS, main
from tests.benchmarks.suite import Case, data_folder, earlier, report


def call(tmp_path, append: bool = True, **settings) -> Namespace:
    return Namespace(**{"name": "one", "out": tmp_path, "append": append, "repeats": 1, "length": 64} | settings)


def cases(given: Namespace) -> dict[str, dict]:
    return {case["name"]: case for case in json.loads((given.out / "one.json").read_text())["cases"]}


def test_calls_of_one_repeat_each_make_the_table_of_one_call(tmp_path):
    parts, whole = call(tmp_path / "parts"), call(tmp_path / "whole", append=False)
    values = {"ours": [4.0, 8.0, 6.0], "theirs": [2.0, 1.0, 3.0]}

    def made(chosen: slice) -> list[Case]:
        ours = Case("ours", "pairs/s", values["ours"][chosen], 1.0 + len(values["ours"][chosen]), "theirs")
        return [ours, Case("theirs", "pairs/s", values["theirs"][chosen])]

    for repeat in range(3):
        report(made(slice(repeat, repeat + 1)), ["note"], parts)
    report(made(slice(0, 3)), ["note"], whole)
    assert cases(parts) == {**cases(whole), "ours": cases(whole)["ours"] | {"memory_gb": 2.0}}
    assert cases(parts)["ours"]["ratio"] == 3


def test_cases_of_another_part_stand_beside_those_that_are_there(tmp_path):
    report([Case("1 process", "s", [1.0])], ["a"], call(tmp_path, processes=[1]))
    report([Case("2 processes", "s", [2.0], against="1 process")], ["b"], call(tmp_path, processes=[2]))
    assert cases(call(tmp_path))["2 processes"]["ratio"] == 0.5
    assert json.loads((tmp_path / "one.json").read_text())["notes"] == ["a", "b"]


def test_without_append_a_call_replaces_the_table(tmp_path):
    for value in (1.0, 2.0):
        report([Case("ours", "s", [value])], [], call(tmp_path, append=False))
    assert cases(call(tmp_path))["ours"]["values"] == [2.0]


@pytest.mark.parametrize("what", ["length", "processor"])
def test_other_work_or_another_machine_does_not_go_into_one_table(tmp_path, monkeypatch, what):
    report([Case("ours", "s", [1.0])], [], call(tmp_path))
    if what == "processor":
        monkeypatch.setattr(suite, "_processor", lambda: "another")
    with pytest.raises(InputError, match=f"was measured with {what} = "):
        earlier(call(tmp_path, length=64 if what == "processor" else 32))


def test_bad_calls_are_told_in_a_sentence_before_anything_is_measured(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HYBRID_DATA", str(tmp_path))
    with pytest.raises(InputError, match="HYBRID_DATA is "):
        data_folder()
    assert main(["train", "--model", "none", "--out", str(tmp_path)]) == 2
    with pytest.raises(SystemExit):
        main(["train", "--model", "none", "--repeats", "0"])
    assert "give a whole number of at least 1" in capsys.readouterr().err


@pytest.fixture
def every(tmp_path, monkeypatch) -> dict[str, list]:
    """Benchmarks that measure nothing: what each was called with, by its name."""
    (tmp_path / "data" / "squad").mkdir(parents=True)
    monkeypatch.setenv("HYBRID_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(gpu, "obstacle", lambda: None)
    called: dict[str, list] = {}
    for name, (module, _) in BENCHMARKS.items():
        called[name] = []
        monkeypatch.setitem(BENCHMARKS, name, (module, called[name].append))
    return called


def test_an_error_ends_its_benchmark_alone_and_all_ends_with_status_1(tmp_path, every, monkeypatch, capsys):
    def fails(given: Namespace) -> None:
        raise RuntimeError("a worker was killed")

    monkeypatch.setitem(BENCHMARKS, "encode", (BENCHMARKS["encode"][0], fails))
    assert main(["all", "--model", "none", "--out", str(tmp_path)]) == 1
    assert [name for name, calls in every.items() if len(calls) != 1] == ["encode"]
    assert [(every[name][0].batch, every[name][0].steps) for name in ("train", "cached")] == [(64, 4), (2048, 1)]
    told = capsys.readouterr().err
    assert "error: encode: a worker was killed" in told
    assert "not measured to the end: encode\n" in told
    monkeypatch.setitem(BENCHMARKS, "encode", (BENCHMARKS["encode"][0], every["encode"].append))
    assert main(["all", "--model", "none", "--out", str(tmp_path)]) == 0


def test_all_refuses_a_table_of_other_work_before_it_measures_anything(tmp_path, every, capsys):
    table = {"machine": dict.fromkeys(suite.SAME), "settings": {}}
    (tmp_path / "growth.json").write_text(json.dumps(table))
    assert main(["all", "--model", "none", "--out", str(tmp_path), "--append"]) == 2
    assert "growth.json: was measured with processor = None" in capsys.readouterr().err
    assert not any(every.values())


def test_no_process_but_those_of_the_benchmark_gpu_sees_a_gpu(tmp_path, monkeypatch):
    class Started(Exception):
        pass

    def start(*_, env=None, **__):
        raise Started((env or os.environ)["CUDA_VISIBLE_DEVICES"])

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setattr(subprocess, "Popen", start)
    for begin in (
        lambda: suite.worker("train_ours.py", {}),
        lambda: suite.in_a_process("data_ours.py"),
        lambda: data.first_step(tmp_path),
        lambda: sampler.measured("--other", 1),
    ):
        with pytest.raises(Started, match=r"^$"):
            begin()
    with pytest.raises(Started, match=r"^0$"):
        suite.worker("gpu_search.py", {"gpu": True})
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: "a GPU")
    assert [suite.machine(name)["gpus"] for name in ("train", "gpu")] == [[], ["a GPU"]]


def test_exponents_of_powers_are_found_with_and_without_a_constant_part():
    points = (8, 16, 32, 64)
    assert growth.exponent(points, [3 * x**2 for x in points]).startswith("grows with power 2.00 (")
    assert "is above the first point's with 1.00" in growth.exponent(points, [100 + 5 * x for x in points])
    assert growth.exponent(points, [1.0, 1.01, 0.99, 1.02]) == "grows with power 0.01"
    assert "too small to be measured" in growth.exponent(points, [0.0, 0.0, 0.1, 0.2])


def test_no_power_is_fitted_through_two_points():
    assert growth.exponent((1, 2), [0.84, 1.17]) == "0.84 to 1.17, 2 points are too few for a power"
    assert [len(one.points) for one in growth.SERIES.values() if len(one.points) < growth.FEWEST] == [2]


def test_a_corpus_is_built_once_and_has_a_first_run_only_where_a_second_one_is_measured(tmp_path, monkeypatch):
    calls = []

    def run(recipe: Path) -> None:
        (recipe.parent / "mlflow.db").touch()
        calls.append("first run")

    def step(recipe: Path) -> tuple[float, float]:
        calls.append("step")
        return 1.0, 1.0

    def script(*arguments: object) -> dict:
        calls.append(arguments[1])
        return {"seconds": 1.0, "memory_gb": 1.0}

    monkeypatch.setattr(growth, "first_run", run)
    monkeypatch.setattr(growth, "first_step", step)
    monkeypatch.setattr(growth, "in_a_process", script)
    monkeypatch.setattr(growth, "simulated", lambda folder, *_: folder / "pairs.jsonl")
    given = call(tmp_path, model="none")
    for _ in range(2):
        growth.load(given, tmp_path, items=10)
    for _ in range(2):
        growth.second_run(given, tmp_path, 10)
    assert calls == ["build", "rows", "rows", "first run", "step", "step"]


def test_the_first_run_is_not_killed_while_mlflow_makes_its_store(tmp_path, monkeypatch):
    store = tmp_path / "mlflow.db"
    lines = [
        "print('step 1/1 loss 1')",
        "import pathlib, time",
        "time.sleep(0.5)",
        f"pathlib.Path({str(store)!r}).touch()",
    ]
    (tmp_path / "train.py").write_text("\n".join(lines))
    monkeypatch.setattr(data, "ROOT", tmp_path)
    data.first_step(tmp_path)
    assert not store.exists()
    data.first_run(tmp_path)
    assert store.exists()


def test_the_peers_sampler_is_measured_in_every_repeat_up_to_the_size_that_it_can_hold(tmp_path, monkeypatch):
    def one(*arguments: object) -> dict:
        flag, what = arguments[-2:]
        if flag == "--one":
            return {"next batch ms, median": 0.25, "memory MB": 17.0, f"seek to {sampler.FAR:.0e} s": 0.1}
        return {"a batch drawn, ms": 0.5, "MB": what * 50 / 2**20}

    monkeypatch.setattr(sampler, "measured", one)
    assert main(["sampler", "--repeats", "2", "--out", str(tmp_path), "--other_memory_gb", "2"]) == 0
    found = {case["name"]: case for case in json.loads((tmp_path / "sampler.json").read_text())["cases"]}
    peers = [name for name in found if "sentence-transformers" in name]
    assert [name.split(", ")[2] for name in peers] == ["1e+06 items", "3e+06 items", "9e+06 items", "3e+07 items"]
    assert all(found[name]["values"] == [512.0, 512.0] for name in peers)
    ours = found[f"next batch, {sampler.PROPORTIONAL}"]
    assert (ours["against"], ours["ratio"]) == (peers[-1], 2048)


def test_growth_in_parts_concludes_from_all_points_of_a_series(tmp_path):
    def part(value: float) -> None:
        found = [Case(f"sampler, 32 rows each, ranks {point}", "s", [value * point], value) for point in (1, 32, 1024)]
        report(found, [], call(tmp_path), growth.exponents)

    for value in (1.0, 3.0):
        part(value)
    conclusions = json.loads((tmp_path / "one.json").read_text())["conclusions"]
    assert conclusions == [
        "sampler, 32 rows each, ranks: time grows with power 1.00 (what is above the first point's with 1.00); "
        "memory grows with power 0.00"
    ]
    assert growth.exponents([Case("sampler, 32 rows each, ranks 1", "s", [1.0])]) == []
