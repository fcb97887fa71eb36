"""The whole job, as users start it: runs, is logged, repeats, resumes, and refuses what would lose something."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mlflow.tracking import MlflowClient
from safetensors.torch import load_file

from tests.launch import ROOT, environment

TINY = ["--config", "hybrid/recipes/quickstart.yaml", "--config", "hybrid/recipes/tiny.yaml"]


def command(folder: Path, *flags: str, processes: int = 1) -> subprocess.CompletedProcess:
    config = {1: "one_process", 2: "cpu_2"}[processes]
    start = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch"]
    start += ["--config_file", f"accelerate_configs/{config}.yaml", "train.py", *TINY]
    places = ["--training.output", str(folder / "runs"), "--tracking.uri", f"sqlite:///{folder / 'mlflow.db'}"]
    places += ["--data.cache", str(folder / "cache")]
    return subprocess.run(
        [*start, *places, *flags], cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=300, check=False
    )


def run(folder: Path, *flags: str, processes: int = 1) -> str:
    done = command(folder, *flags, processes=processes)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert f"world size {processes} " in done.stdout
    return done.stdout


def losses(output: str) -> list[str]:
    return [line.split(" | ")[1] for line in output.splitlines() if line.startswith("step ") and "loss" in line]


def weights(folder: Path, name: str) -> dict[str, torch.Tensor]:
    return load_file(folder / "runs" / name / "model" / "model.safetensors")


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


def test_a_finished_run_is_neither_repeated_nor_overwritten_unasked(folder, whole):
    done = command(folder, "--training.name", "whole")
    assert done.returncode != 0
    assert "holds a finished run; give --overwrite" in done.stdout


def test_a_mixture_or_file_that_cannot_be_is_refused_before_the_run_has_a_folder(folder):
    for flags, sentence in (
        (["--training.global_batch", "4096"], "4096"),
        (["--mixture.languages", "[en,xx]"], "xx"),
        (["--benchmark.data_dir", "nowhere"], "nowhere"),
        (["--data.passage_max_length", "200"], "positions for 128 tokens"),
    ):
        done = command(folder, "--training.name", "refused", *flags)
        assert done.returncode != 0
        assert "error: " in done.stdout
        assert sentence in done.stdout
        assert not (folder / "runs" / "refused").exists()
