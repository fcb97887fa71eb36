"""The whole job, as users start it: runs, is logged, repeats, resumes, and refuses what would lose something."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
import torch
from mlflow.tracking import MlflowClient

import train
from hybrid.config import read_config
from hybrid.models import ModelConfig
from hybrid.models.load import load_encoder
from hybrid.runtime.errors import InputError
from hybrid.sampling import MixtureError
from tests.launch import ROOT, environment

TINY = ["--config", "hybrid/recipes/quickstart.yaml", "--config", "hybrid/recipes/tiny.yaml"]


def launcher(processes: int, zero: int | None) -> list[str]:
    start = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch"]
    if zero is None:
        return [*start, "--config_file", f"accelerate_configs/{ {1: 'one_process', 2: 'cpu_2'}[processes] }.yaml"]
    start += ["--use_deepspeed", "--deepspeed_config_file", f"ds_configs/zero{zero}.json", "--zero3_init_flag", "false"]
    start += ["--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    return [*start, "--main_process_port", "0"]


def command(folder: Path, *flags: str, processes: int = 1, zero: int | None = None) -> subprocess.CompletedProcess:
    start = [*launcher(processes, zero), "train.py", *TINY, *places(folder), *flags]
    return subprocess.run(start, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=300, check=False)


def places(folder: Path) -> list[str]:
    found = ["--training.output", str(folder / "runs"), "--tracking.uri", f"sqlite:///{folder / 'mlflow.db'}"]
    return [*found, "--data.cache", str(folder / "cache")]


def run(folder: Path, *flags: str, processes: int = 1, zero: int | None = None) -> str:
    done = command(folder, *flags, processes=processes, zero=zero)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    kind = {1: "no", 2: "multi_cpu"}[processes] if zero is None else "deepspeed"
    assert f"world size {processes} ({kind})" in done.stdout
    return done.stdout


def losses(output: str) -> list[str]:
    return [line.split(" | ")[1] for line in output.splitlines() if line.startswith("step ") and "loss" in line]


def weights(folder: Path, name: str) -> dict[str, torch.Tensor]:
    # Through transformers: ZeRO-3 with weights spread at loading writes LayerNorm's under their old names.
    return load_encoder(ModelConfig(name=str(folder / "runs" / name / "model"))).state_dict()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("job")


@pytest.fixture(scope="module")
def whole(folder) -> str:
    """What a run of six steps on one process prints, with checkpoints after every third."""
    return run(folder, "--training.name", "whole", "--training.checkpoint_every", "3", "--training.keep_last", "9")


def test_a_run_leaves_model_scores_and_a_complete_mlflow_run(folder, whole):
    place = folder / "runs" / "whole"
    scores = json.loads((place / "finished.json").read_text())["after"]
    reported = json.loads(next((place / "results" / "after").rglob("scores.json")).read_text())
    mean = reported["settings"]["multilingual"]["measures"]["map"]["mean"]
    name = next(key for key in scores if key.endswith("multilingual/map"))
    assert scores[name] == mean
    client = MlflowClient(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("hybrid")
    logged = client.search_runs([experiment.experiment_id], "attributes.run_name = 'whole'")[0]
    assert logged.data.metrics[name] == mean
    assert logged.data.params["training.steps"] == "6"
    assert logged.data.tags["mixture"].startswith("monolingual 1/2, cross_lingual 1/2")
    assert logged.data.metrics["rows/monolingual"] == 3 * 16
    files = {item.path for item in client.list_artifacts(logged.info.run_id)}
    assert {"config.yaml", "mixture.json", "environment.json", "rows.json", "README.md"} <= files
    for line in ("model:", "report:", "run:", "next:"):
        assert line in whole


def test_the_run_trained_on_the_rows_of_the_audit(folder, whole):
    audit = [sys.executable, "-m", "hybrid.sampling", *TINY, "--steps", "6", "--data.cache", str(folder / "cache")]
    audit += ["--against", str(folder / "runs" / "whole" / "rows.json")]
    done = subprocess.run(audit, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the run's counts are those of the audit" in done.stdout


def test_the_same_seed_gives_the_same_loss_and_weights_to_the_last_bit(folder, whole):
    again = run(folder, "--training.name", "again", "--training.workers", "0")
    assert losses(again) == losses(whole)
    assert len(losses(whole)) == 6
    first, second = weights(folder, "whole"), weights(folder, "again")
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_resumed_run_ends_with_the_weights_of_the_uninterrupted_one(folder, whole):
    source, target = folder / "runs" / "whole", folder / "runs" / "resumed"
    shutil.copytree(source / "checkpoints", target / "checkpoints")
    shutil.rmtree(target / "checkpoints" / "step-6")
    output = run(folder, "--training.name", "resumed", "--training.checkpoint_every", "3", "--resume")
    assert "resumed at step 3" in output
    assert losses(output) == losses(whole)[3:]
    first, second = weights(folder, "whole"), weights(folder, "resumed")
    assert all(torch.equal(first[name], second[name]) for name in first)
    rows = [json.loads((place / "rows.json").read_text()) for place in (source, target)]
    assert rows[0] == rows[1]


def test_two_processes_follow_the_losses_of_one(folder, whole):
    two = run(folder, "--training.name", "two", processes=2)
    values = [[float(loss.split()[1]) for loss in losses(output)] for output in (whole, two)]
    assert values[0] == pytest.approx(values[1], abs=2e-4)


@pytest.fixture(scope="module")
def tuned(folder, whole) -> tuple[list[str], str]:
    """Flags that fine-tune the first run's model, and what a run with them prints on one process."""
    flags = ["--model.from_scratch", "null", "--model.name", str(folder / "runs" / "whole" / "model")]
    flags += ["--benchmark.before", "false"]
    return flags, run(folder, *flags, "--training.name", "tuned")


@pytest.mark.skipif(sys.platform != "linux", reason="DeepSpeed runs on Linux")
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_every_zero_stage_follows_the_losses_of_one_process_and_saves_a_whole_model(folder, tuned, stage):
    flags, plain = tuned
    output = run(folder, *flags, "--training.name", f"zero{stage}", processes=2, zero=stage)
    values = [[float(loss.split()[1]) for loss in losses(printed)] for printed in (plain, output)]
    assert values[0] == pytest.approx(values[1], abs=2e-4)
    start, mine, theirs = (
        torch.cat([value.flatten() for value in weights(folder, name).values()])
        for name in ("whole", f"zero{stage}", "tuned")
    )
    # Adam makes whole steps of rounding errors where a gradient is near 0, so single weights may differ.
    assert float((mine - theirs).norm() / (theirs - start).norm()) < 0.01


@pytest.mark.skipif(sys.platform != "linux", reason="DeepSpeed runs on Linux")
def test_adapters_under_zero_3_follow_the_losses_of_one_process_and_are_saved_in_the_weights(folder, tuned):
    flags = [*tuned[0], "--model.lora.rank", "4"]
    plain = run(folder, *flags, "--training.name", "adapters")
    output = run(folder, *flags, "--training.name", "adapters-3", processes=2, zero=3)
    values = [[float(loss.split()[1]) for loss in losses(printed)] for printed in (plain, output)]
    assert values[0] == pytest.approx(values[1], abs=2e-4)
    start, one, two = (weights(folder, name) for name in ("whole", "adapters", "adapters-3"))
    moved = {name for name in start if not torch.equal(start[name], two[name])}
    assert moved
    assert all(name.endswith("weight") and "embeddings" not in name and "LayerNorm" not in name for name in moved)
    off = sum(float((one[name] - two[name]).square().sum()) for name in start)
    assert (off / sum(float((one[name] - start[name]).square().sum()) for name in start)) ** 0.5 < 0.01


def test_the_best_weights_on_the_development_split_are_kept_and_training_stops_early(folder):
    flags = ["--data.dev", "{articles: 6}", "--training.evaluate_every", "2", "--training.patience", "1"]
    flags += [
        "--training.steps",
        "20",
        "--training.learning_rate",
        "1.0",
        "--training.keep_best",
        "dev/multilingual/map",
    ]
    output = run(folder, "--training.name", "early", "--benchmark.before", "false", *flags)
    assert "stopping early: no better dev/multilingual/map since step" in output
    done = [int(line.split()[1].rstrip(":")) for line in output.splitlines() if ": dev/multilingual/map" in line]
    scores = [float(line.split()[3].rstrip(",")) for line in output.splitlines() if ": dev/multilingual/map" in line]
    assert done[-1] < 20
    assert scores[-1] <= max(scores[:-1])
    assert "items, languages" in output
    kept = json.loads((folder / "runs" / "early" / "results" / "dev" / "dev" / "scores.json").read_text())
    # What is written of the development split is of the encoder that is kept, not of the last that was scored.
    assert kept["settings"]["multilingual"]["measures"]["map"]["mean"] == pytest.approx(max(scores), abs=1e-4)


def test_what_fails_in_scoring_costs_no_step_and_a_finished_run_without_checkpoint_every_leaves_none(folder, whole):
    place = folder / "runs" / "scored"
    place.mkdir(parents=True)
    (place / "results").write_text("in the way")
    flags = ["--training.name", "scored", "--benchmark.before", "false", "--resume"]
    failed = command(folder, *flags)
    assert failed.returncode != 0
    assert "step 6/6" in failed.stdout
    (place / "results").unlink()
    output = run(folder, *flags)
    assert "resumed at step 6" in output
    assert "step 6/6" not in output
    assert (place / "finished.json").exists()
    assert not (place / "checkpoints").exists()
    first, second = weights(folder, "whole"), weights(folder, "scored")
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_finished_run_is_neither_repeated_nor_overwritten_unasked(folder, whole):
    done = command(folder, "--training.name", "whole")
    assert done.returncode != 0
    assert "holds a finished run; give --overwrite" in done.stdout


def test_a_mixture_or_file_that_cannot_be_is_refused_before_the_run_has_a_folder(folder, monkeypatch):
    monkeypatch.chdir(ROOT)
    done = command(folder, "--training.name", "refused", "--training.global_batch", "4096")
    assert done.returncode != 0
    assert "error: " in done.stdout
    assert "4096" in done.stdout
    for flags, sentence in (
        (["--mixture.languages", "[en,xx]"], "xx"),
        (["--benchmark.data_dir", "nowhere"], "nowhere"),
        (["--data.sets.sample.max_length", "200"], "data.sets.sample.max_length is 200, but the encoder has positions"),
    ):
        with mock.patch.dict(os.environ), pytest.raises((InputError, MixtureError), match=sentence):
            train.train(read_config([*TINY, *places(folder), "--training.name", "refused", *flags]))
    assert not (folder / "runs" / "refused").exists()
