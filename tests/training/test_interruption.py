"""A job that is asked to stop saves and ends alike on all ranks; one that loses a rank stops and says which."""

import json
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from hybrid.runtime import tracking
from hybrid.training.folder import check_folder
from tests.launch import ROOT, environment
from tests.launched import PATIENCE, Launched, alive, statuses
from tests.training.run_job import STALL_SECONDS

SCRIPT = Path(__file__).parent / "run_job.py"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc")


class Job(Launched):
    """A job of toy steps."""

    def __init__(self, folder: Path, place: str = "", steps: int = 1000, mark: str | None = None):
        """`place` is where the job prints "here"; wait for a line that begins with `mark`."""
        super().__init__(folder, SCRIPT, folder, place, steps, mark=mark)

    def interrupted(self) -> dict:
        return json.loads((self.folder / "run" / "interrupted.json").read_text())

    def weights(self) -> str:
        return next(line for line in self.end().splitlines() if line.startswith("weights"))


def status_in_mlflow(folder: Path) -> str:
    # What a slow store had no time for waits in the journal.
    assert tracking.main([str(folder / "run")]) == 0
    client = MlflowClient(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}")
    return client.search_runs([client.get_experiment_by_name("hybrid").experiment_id])[0].info.status


@pytest.mark.parametrize("asked", [["rank-1"], ["launcher", "rank-0", "rank-1", "worker-0", "worker-1"]])
def test_a_signal_to_one_rank_or_as_slurm_does_to_all_ends_all_at_the_same_step_with_a_checkpoint(tmp_path, asked):
    job = Job(tmp_path, "steps", mark="step 6")
    for name in asked:
        job.send(name, signal.SIGUSR1)
    output = job.end()
    step = job.interrupted()["step"]
    assert job.interrupted()["reason"] == "SIGUSR1"
    assert step >= 6
    state = json.loads((tmp_path / "run" / "checkpoints" / f"step-{step}" / "state.json").read_text())
    assert (state["progress"]["step"], state["world_size"]) == (step, 2)
    # A launcher that was signalled itself ends with that and tells no status.
    assert set(statuses(output)) == ({75} if "launcher" not in asked else set())
    assert "--resume goes on" in output
    assert status_in_mlflow(tmp_path) == "KILLED"


def test_a_job_stopped_in_an_evaluation_ends_as_if_it_had_not_been(tmp_path):
    whole = Job(tmp_path / "whole", "", 12)
    assert whole.weights()
    job = Job(tmp_path / "stopped", "evaluation", 12, mark="here")
    job.send("launcher", signal.SIGTERM)
    job.end()
    assert job.interrupted() == {"step": 8, "reason": "SIGTERM"}
    again = Job(tmp_path / "stopped", "", 12)
    assert again.weights() == whole.weights()
    assert "resumed at step 8" in again.output()
    assert status_in_mlflow(tmp_path / "stopped") == "FINISHED"
    assert not (tmp_path / "stopped" / "run" / "interrupted.json").exists()


def test_a_signal_in_the_start_ends_it_though_ranks_have_uneven_work(tmp_path):
    job = Job(tmp_path, "start-up", mark="here")
    job.send("rank-1", signal.SIGTERM)
    assert set(statuses(job.end())) == {75}
    assert job.interrupted() == {"step": 0, "reason": "SIGTERM"}
    check_folder(tmp_path / "run", None, resume=False, overwrite=False)


def test_a_second_signal_ends_a_rank_at_once_even_where_it_waits_for_another(tmp_path):
    job = Job(tmp_path, "steps without tracking", mark="step 4")
    job.send("rank-0", signal.SIGSTOP)
    job.send("rank-1", signal.SIGTERM)
    time.sleep(3)
    assert alive(job.pid("rank-1"))
    job.send("rank-1", signal.SIGTERM)
    output = job.end()
    assert "the second request: ending at once" in output
    assert 128 + signal.SIGTERM in statuses(output)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_rank_that_dies_or_freezes_is_named_with_its_step_and_the_others_stop(tmp_path, number):
    job = Job(tmp_path, "steps", mark="step 4")
    job.send("rank-1", number)
    output = job.end()
    sentence = next(line for line in output.splitlines() if line.startswith("error: "))
    assert re.search(r"rank 1 \(last seen .*; pid \d+ on .*rank 0 is .*step \d+ and stops", sentence), sentence
    assert 76 in statuses(output)
    assert status_in_mlflow(tmp_path) == "FAILED"


def test_a_rank_that_hangs_in_a_step_with_live_threads_is_named_in_the_stated_time_and_nothing_stays(tmp_path):
    job = Job(tmp_path, "hang", mark="here")
    begun = time.monotonic()
    output = job.end()
    # The stated seconds, a beat or two, and the end of processes on a busy machine.
    assert time.monotonic() - begun < STALL_SECONDS + 30
    sentence = next(line for line in output.splitlines() if line.startswith("error: "))
    named = r"error: rank 1 \(last seen in step 5; pid \d+ on .*\): hanging, no rank has got on for 5 s; "
    assert re.match(named + "rank 0 is in step 5 and stops, --resume goes on", sentence), sentence
    assert set(statuses(output)) == {76}


def test_ranks_whose_launcher_is_killed_save_and_end(tmp_path):
    job = Job(tmp_path, "steps without tracking", mark="step 4")
    job.send("launcher", signal.SIGKILL)
    job.end()
    assert job.interrupted()["reason"] == "the launcher is gone"


def test_two_launchers_find_each_other_by_the_file_for_two_nodes(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch"]
    command += ["--config_file", str(ROOT / "accelerate_configs" / "nodes_2x8.yaml"), "--num_processes", "2"]
    command += ["--main_process_ip", "127.0.0.1", "--main_process_port", str(port)]
    variables = environment(ACCELERATE_USE_CPU="true")
    nodes = []
    for number in range(2):
        line = [*command, "--machine_rank", str(number), str(SCRIPT), str(tmp_path), "steps without tracking", "4"]
        with open(tmp_path / f"node-{number}", "w") as log:
            nodes.append(subprocess.Popen(line, cwd=tmp_path, env=variables, stdout=log, stderr=log))
    try:
        assert [node.wait(PATIENCE) for node in nodes] == [0, 0]
    finally:
        for node in nodes:
            node.terminate()
    assert any("weights" in (tmp_path / f"node-{number}").read_text() for number in range(2))


@pytest.mark.parametrize("ranks", ["1", "0 1"])
def test_bad_input_is_told_once_whichever_ranks_meet_it_and_no_rank_is_called_dead(tmp_path, ranks):
    job = Launched(tmp_path, Path(__file__).parent / "run_told.py", tmp_path, *ranks.split())
    output = job.launcher.wait(PATIENCE) and job.output()
    assert output.count("error: the disk of this node is full") == 1
    assert "died" not in output
    assert 2 in statuses(output)
    assert -6 not in statuses(output)


def test_a_rank_of_another_machine_does_not_wait_for_one_that_has_told_why_it_ends(tmp_path):
    # Two processes without a launcher: that of one machine does not look after those of another.
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    ranks = []
    for rank in "01":
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": port}
        command = [sys.executable, str(Path(__file__).parent / "run_told.py"), str(tmp_path), "1", "hang"]
        variables = environment(ACCELERATE_USE_CPU="true", **place) | {"PYTHONPATH": str(ROOT)}
        ranks.append(subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, text=True))
    try:
        assert [rank.wait(PATIENCE) for rank in ranks] == [2, 2]
    finally:
        for rank in ranks:
            rank.kill()
    assert [rank.stdout.read().count("error: the disk of this node is full") for rank in ranks] == [0, 1]
