"""Worker processes live and die with their rank."""

import subprocess
import sys

import pytest

from tests.launch import ROOT, environment


@pytest.mark.parametrize(("error", "status"), [("RuntimeError", 1), ("OSError", 2)])
def test_a_job_ends_with_an_error_told_or_not_though_its_frames_hold_the_workers(error, status):
    command = [sys.executable, "-m", "tests.training.run_error", error]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    assert "No space left on device" in done.stdout + done.stderr
    assert "worker" not in done.stdout + done.stderr
