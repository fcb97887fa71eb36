"""Tracking: nothing logged is lost, whatever the server does."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from hybrid.runtime.tracking import JOURNAL, LONGEST_PARAMETER, SENT, Tracker, TrackingConfig, main


def store(folder: Path) -> str:
    return f"sqlite:///{folder / 'mlflow.db'}"


@pytest.fixture
def in_folder(tmp_path, monkeypatch):
    """Artifacts of a local store go below the working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def the_run(uri: str):
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("hybrid")
    runs = client.search_runs([experiment.experiment_id])
    assert len(runs) == 1
    return client, runs[0]


def test_everything_logged_is_in_the_store_at_the_end(in_folder):
    tracker = Tracker(in_folder / "run", "name", TrackingConfig(uri=store(in_folder)))
    (in_folder / "note.txt").write_text("kept")
    tracker.params({"a.b": 3, "long": "x" * (LONGEST_PARAMETER + 1)})
    for step in range(3):
        tracker.metrics({"loss": 1 / (step + 1)}, step)
    tracker.tags({"mixture": "1/2"})
    tracker.artifact(in_folder / "note.txt", "notes")
    tracker.close()
    client, run = the_run(store(in_folder))
    assert run.data.params["a.b"] == "3"
    assert "long" not in run.data.params
    assert [metric.value for metric in client.get_metric_history(run.info.run_id, "loss")] == [1, 1 / 2, 1 / 3]
    assert run.data.tags["mixture"] == "1/2"
    assert (run.info.run_name, run.info.status) == ("name", "FINISHED")
    found = {item.path for place in ("notes", "params") for item in client.list_artifacts(run.info.run_id, place)}
    assert found == {"notes/note.txt", "params/long.txt"}


def test_a_continued_run_is_one_run_and_keeps_its_first_parameters(in_folder):
    for steps in ("10", "20"):
        tracker = Tracker(in_folder / "run", "name", TrackingConfig(uri=store(in_folder)))
        tracker.params({"steps": steps})
        tracker.metrics({"loss": 1.0}, int(steps))
        tracker.close()
    _, run = the_run(store(in_folder))
    assert run.data.params["steps"] == "10"
    assert run.data.tags["changed.steps"] == "20"


def test_a_dead_server_is_told_once_stops_nothing_and_the_rest_is_sent_later(in_folder, capsys, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    config = TrackingConfig(uri="http://127.0.0.1:9", retry_seconds=0.05)
    tracker = Tracker(in_folder / "run", "name", config)
    for step in range(20):
        tracker.metrics({"loss": float(step)}, step)
        time.sleep(0.05)
    tracker.close(wait_seconds=30)
    told = capsys.readouterr().err
    assert told.count("cannot be reached") == 1
    assert "python -m hybrid.runtime.tracking" in told
    assert len((in_folder / "run" / JOURNAL).read_text().splitlines()) == 21
    state = json.loads((in_folder / "run" / SENT).read_text())
    (in_folder / "run" / SENT).write_text(json.dumps(state | {"uri": store(in_folder)}))
    assert main([str(in_folder / "run")]) == 0
    client, run = the_run(store(in_folder))
    assert len(client.get_metric_history(run.info.run_id, "loss")) == 20


def test_other_ranks_and_switched_off_tracking_write_nothing(in_folder):
    tracker = Tracker(in_folder / "run", "name", TrackingConfig(enabled=False))
    tracker.metrics({"loss": 1.0})
    tracker.close()
    assert not (in_folder / "run").exists()


def test_reading_a_configuration_imports_nothing_heavy():
    heavy = "{'mlflow', 'torch', 'scipy', 'transformers', 'faiss', 'datasets'}"
    script = f"import sys, hybrid.config as c; c.read_config([]); sys.exit(bool({heavy} & set(sys.modules)))"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    assert subprocess.run([sys.executable, "-c", script], env=environment, check=False).returncode == 0
