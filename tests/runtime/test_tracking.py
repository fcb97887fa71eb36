"""Tracking: nothing logged is lost, whatever the server does."""

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from hybrid.runtime.mlflow_store import make_store
from hybrid.runtime.tracking import JOURNAL, LONGEST_PARAMETER, SENT, Tracker, TrackingConfig, main
from tests.launch import ROOT


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


def test_a_store_that_a_job_was_making_when_it_was_killed_is_made_anew(in_folder):
    code = f"from hybrid.runtime.mlflow_store import make_store; make_store({store(in_folder)!r})"
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT) as job:
        while not any(file.stat().st_size for file in in_folder.glob(".mlflow.db.*/mlflow.db")):
            assert job.poll() is None
            time.sleep(0.01)
        job.kill()
    assert not (in_folder / "mlflow.db").exists()
    tracker = Tracker(in_folder / "run", "name", TrackingConfig(uri=store(in_folder)))
    tracker.close(wait_seconds=300)
    assert the_run(store(in_folder))[1].info.status == "FINISHED"


def test_of_two_jobs_that_make_a_store_at_once_one_store_stays(in_folder, monkeypatch):
    made = MlflowClient.search_experiments

    def slow(client, *arguments, **options):
        monkeypatch.setattr(MlflowClient, "search_experiments", made)
        MlflowClient(tracking_uri=store(in_folder)).create_experiment("of the other job")
        return made(client, *arguments, **options)

    monkeypatch.setattr(MlflowClient, "search_experiments", slow)
    make_store(store(in_folder))
    assert MlflowClient(tracking_uri=store(in_folder)).get_experiment_by_name("of the other job")


def test_everything_logged_is_in_the_store_at_the_end(in_folder):
    tracker = Tracker(in_folder / "run", "name", TrackingConfig(uri=store(in_folder), tags={"study": "batching"}))
    (in_folder / "note.txt").write_text("kept")
    tracker.params({"a.b": 3, "long": "x" * (LONGEST_PARAMETER + 1)})
    for step in range(3):
        tracker.metrics({"loss": 1 / (step + 1)}, step)
    tracker.tags({"mixture": "1/2"})
    own = tracker.wait_for_id(300)
    tracker.artifact(in_folder / "note.txt", "notes")
    tracker.close()
    client, run = the_run(store(in_folder))
    assert run.data.params["a.b"] == "3"
    assert "long" not in run.data.params
    assert [metric.value for metric in client.get_metric_history(run.info.run_id, "loss")] == [1, 1 / 2, 1 / 3]
    assert run.data.tags["mixture"] == "1/2"
    assert run.data.tags["study"] == "batching"
    assert own == run.info.run_id
    assert (run.info.run_name, run.info.status) == ("name", "FINISHED")
    found = {item.path for place in ("notes", "params") for item in client.list_artifacts(run.info.run_id, place)}
    assert found == {"notes/note.txt", "params/long.txt"}


def test_a_description_too_long_for_mlflow_is_cut_after_a_whole_line(tmp_path, monkeypatch):
    tracker, written = Tracker(tmp_path, "run", TrackingConfig(enabled=False)), []
    monkeypatch.setattr(tracker, "tags", lambda values: written.extend(values.values()))
    lines = [f"| row {number} | 0.5 |" for number in range(1000)]
    for text in ("short", "\n".join(lines)):
        tracker.describe(text)
    assert written[0] == "short"
    kept = written[1].splitlines()
    assert len(written[1]) < 8000
    assert kept[:-2] == lines[: len(kept) - 2]
    assert kept[-1].startswith("(cut;")


def test_what_mlflow_refuses_is_told_and_what_comes_after_it_is_logged(in_folder, capsys):
    tracker = Tracker(in_folder / "run", "name", TrackingConfig(uri=store(in_folder), tags={"my tag!": "x"}))
    tracker.metrics({"loss": 1.0}, 1)
    tracker.close()
    _, run = the_run(store(in_folder))
    assert run.data.metrics == {"loss": 1.0}
    assert run.info.status == "FINISHED"
    assert "my tag!" in capsys.readouterr().err


def test_a_run_resumed_from_a_copy_is_the_run_of_its_checkpoint(in_folder):
    config = TrackingConfig(uri=store(in_folder))
    first = Tracker(in_folder / "run", "name", config)
    own = first.wait_for_id(300)
    first.close("KILLED")
    second = Tracker(in_folder / "elsewhere", "name", config, hold=True)
    second.metrics({"loss": 2.0}, 2)
    second.adopt(own)
    second.close()
    _, run = the_run(store(in_folder))
    assert (run.info.run_id, run.data.metrics, run.info.status) == (own, {"loss": 2.0}, "FINISHED")


def test_another_address_than_the_runs_own_is_told(in_folder, capsys):
    Tracker(in_folder / "run", "name", TrackingConfig(uri=store(in_folder))).close()
    Tracker(in_folder / "run", "name", TrackingConfig(uri="sqlite:///other.db")).close()
    assert "where it began, and not at sqlite:///other.db" in capsys.readouterr().err
    assert not (in_folder / "other.db").exists()


def test_a_continued_run_is_one_run_and_keeps_its_first_parameters(in_folder):
    for steps in ("10", "20", "10"):
        tracker = Tracker(in_folder / "run", "name", TrackingConfig(uri=store(in_folder)))
        tracker.params({"steps": steps, "seed": "0"})
        tracker.metrics({"loss": 1.0}, int(steps))
        tracker.close()
        _, run = the_run(store(in_folder))
        assert run.data.params["steps"] == "10"
        assert run.data.tags.get("changed.steps", "10") == steps
    assert "changed.seed" not in run.data.tags


def test_a_dead_server_is_told_once_stops_nothing_and_the_rest_is_sent_later(in_folder, capsys, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    config = TrackingConfig(uri="http://127.0.0.1:9", retry_seconds=0.05)
    tracker = Tracker(in_folder / "run", "name", config)
    assert tracker.wait_for_id(300) is None
    for step in range(20):
        tracker.metrics({"loss": float(step)}, step)
        time.sleep(0.05)
    tracker.close(wait_seconds=30)
    told = capsys.readouterr().err
    assert told.count("cannot be reached") == 1
    assert "python -m hybrid.runtime.tracking" in told
    assert len((in_folder / "run" / JOURNAL).read_text().splitlines()) == 22
    state = json.loads((in_folder / "run" / SENT).read_text())
    (in_folder / "run" / SENT).write_text(json.dumps(state | {"uri": store(in_folder)}))
    assert main([str(in_folder / "run")]) == 0
    client, run = the_run(store(in_folder))
    assert len(client.get_metric_history(run.info.run_id, "loss")) == 20


@contextmanager
def server(folder: Path, port: int):
    """A real tracking server, over when it answers, killed at the end."""
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", store(folder), "--default-artifact-root", str(folder / "artifacts")]
    with open(folder / "server.log", "a") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    try:
        for _ in range(1200):
            with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                break
            assert process.poll() is None, (folder / "server.log").read_text()
            time.sleep(0.1)
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_a_server_that_stops_and_comes_back_has_lost_nothing(in_folder, capsys):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = TrackingConfig(uri=f"http://127.0.0.1:{port}", retry_seconds=0.5)
    with server(in_folder, port):
        tracker = Tracker(in_folder / "run", "name", config)
        tracker.metrics({"loss": 0.0}, 0)
        while not tracker.run_id:
            time.sleep(0.1)
    for step in range(1, 20):
        tracker.metrics({"loss": float(step)}, step)
    while "cannot be reached" not in capsys.readouterr().err:
        time.sleep(0.1)
    with server(in_folder, port):
        tracker.metrics({"loss": 20.0}, 20)
        tracker.close(wait_seconds=120)
    client, run = the_run(store(in_folder))
    assert [metric.value for metric in client.get_metric_history(run.info.run_id, "loss")] == list(range(21))
    assert run.info.status == "FINISHED"


def test_half_a_line_of_a_killed_job_is_dropped_and_the_run_goes_on(in_folder):
    for step in range(2):
        tracker = Tracker(in_folder / "run", "name", TrackingConfig(uri=store(in_folder)))
        tracker.metrics({"loss": float(step)}, step)
        tracker.close("KILLED" if step == 0 else "FINISHED")
        with open(in_folder / "run" / JOURNAL, "a") as journal:
            journal.write('{"kind": "metrics", "ti')
    client, run = the_run(store(in_folder))
    assert [metric.value for metric in client.get_metric_history(run.info.run_id, "loss")] == [0, 1]
    assert run.info.status == "FINISHED"


def test_what_a_full_disk_keeps_from_the_journal_waits_in_memory(in_folder, capsys):
    tracker = Tracker(in_folder / "run", "name", TrackingConfig(uri=store(in_folder)))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = (in_folder / "run" / JOURNAL).stat().st_size
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, limits[1]))
        tracker._write("metrics", {"loss": 0.0}, step=0)
        tracker._write("metrics", {"loss": 1.0}, step=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert capsys.readouterr().err.count("what is logged waits in memory") == 1
    tracker.metrics({"loss": 2.0}, 2)
    tracker.close()
    client, run = the_run(store(in_folder))
    assert [metric.value for metric in client.get_metric_history(run.info.run_id, "loss")] == [0, 1, 2]


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
