"""A script under accelerate's launcher that is watched from outside while it runs: signals, processes left behind."""

import os
import subprocess
import sys
import time
from pathlib import Path

from tests.launch import ROOT, environment

PATIENCE = 240
"""Seconds that a slow machine may take to come to a mark."""


class Launched:
    """Two ranks of a script, whose processes write their pids with `note_pid`."""

    def __init__(self, folder: Path, script: Path, *arguments: object, mark: str | None = None):
        """Start it in `folder`; wait for a line that begins with `mark`."""
        command = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", "--multi_gpu"]
        command += ["--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
        command += ["--main_process_port", "0", str(script), *map(str, arguments)]
        launcher = {"TORCH_ELASTIC_SHUTDOWN_TIMEOUT": "60", "PET_SIGNALS_TO_HANDLE": "SIGTERM,SIGINT,SIGUSR1"}
        variables = environment(ACCELERATE_USE_CPU="true", **launcher)
        self.folder, self.log = folder, folder / f"log-{time.monotonic_ns()}"
        folder.mkdir(exist_ok=True)
        with open(self.log, "w") as log:
            self.launcher = subprocess.Popen(
                command, cwd=folder, env=variables | {"PYTHONPATH": str(ROOT)}, stdout=log, stderr=log
            )
        if mark:
            self.await_line(mark)

    def output(self) -> str:
        return self.log.read_text()

    def await_line(self, mark: str) -> None:
        end = time.monotonic() + PATIENCE
        while not any(line.startswith(mark) for line in self.output().splitlines()):
            assert self.launcher.poll() is None, self.output()
            assert time.monotonic() < end, self.output()
            time.sleep(0.05)

    def pid(self, name: str) -> int:
        return int((self.folder / "pids" / name).read_text())

    def send(self, name: str, number: int) -> None:
        os.kill(self.launcher.pid if name == "launcher" else self.pid(name), number)

    def end(self) -> str:
        """Wait for all processes to be gone; returns what was printed."""
        self.launcher.wait(PATIENCE)
        left, end = [1], time.monotonic() + 120
        while left and time.monotonic() < end:
            left = [file.name for file in (self.folder / "pids").iterdir() if alive(int(file.read_text()))]
            time.sleep(0.1)
        assert not left, f"{left} outlived the job: {self.output()}"
        return self.output()


def note_pid(folder: Path, name: str) -> None:
    """Write this process's pid, so that whoever reads it meanwhile finds it whole."""
    (folder / "pids").mkdir(parents=True, exist_ok=True)
    part = folder / f"{name}.part"
    part.write_text(str(os.getpid()))
    part.replace(folder / "pids" / name)


def alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False


def statuses(output: str) -> list[int]:
    """Return the exit statuses of ranks that the launcher tells."""
    return [int(line.split(":")[1].split()[0]) for line in output.splitlines() if line.strip().startswith("exitcode")]
