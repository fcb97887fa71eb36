"""Runs what is not done yet, as a user would: `accelerate launch` of train.py or evaluate.py on one resolved file."""

import fcntl
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO

import yaml

from hybrid.runtime.errors import InputError
from hybrid.runtime.files import atomic_file
from hybrid.runtime.logs import log, warn
from hybrid.studies.jobs import Choice, Job
from hybrid.studies.study import ROOT


def commands(job: Job, choice: Choice, accelerate: str) -> list[list[str]]:
    """Return what is left to do for a run, as arguments behind `accelerate`; their files are written.

    An unfinished training goes on from its newest checkpoint; without one it starts anew if this command had started
    it. Raises InputError where somebody else did.
    """
    launch = ["launch", "--config_file", accelerate]
    path = choice.runs / "configs" / f"{job.name}.yaml"
    found = []
    if not job.trained:
        _write(path, job.config.text)
        found.append([*launch, "train.py", "--config", str(path), *_go_on(job, choice)])
    if job.zero_shot or (job.trained and job.unscored()):
        if job.zero_shot:
            _write(job.folder / "config.yaml", job.config.text)
        _write(path.with_suffix(".evaluate.yaml"), yaml.safe_dump(_evaluation(job), sort_keys=False))
        found.append([*launch, "evaluate.py", "--config", str(path.with_suffix(".evaluate.yaml"))])
    return found


def _write(path: Path, text: str) -> None:
    with atomic_file(ROOT / path) as file:
        file.write(text)


def _go_on(job: Job, choice: Choice) -> list[str]:
    if not job.folder.exists() or not any(job.folder.iterdir()):
        return []
    if any((job.folder / "checkpoints").glob("step-*")):
        return ["--resume"]
    if not log_file(job, choice).exists():
        raise InputError(
            f"{job.folder}: holds a run without an end or a checkpoint that this command did not start; wait for it, "
            "or remove the folder."
        )
    return ["--overwrite"]


def _evaluation(job: Job) -> dict:
    """Return what evaluate.py is told: the encoder, and what the run is still to be scored on."""
    config = yaml.safe_load(job.config.text)
    encoder = {key: value for key, value in config["model"].items() if key not in ("name", "from_scratch")}
    tracking = asdict(job.config.tracking)
    return {
        "model": [job.config.model.name if job.zero_shot else str(job.config.folder / "model")],
        "tasks": job.unscored(),
        "data_dir": os.path.expandvars(str(job.config.benchmark.data_dir)),
        "out_dir": str(job.config.folder / "results"),
        **({"encoder": encoder} if job.zero_shot else {}),
        "evaluation": config["benchmark"]["settings"],
        "tracking": {key: value for key, value in tracking.items() if value is not None},
    }


def log_file(job: Job, choice: Choice) -> Path:
    """Return where the output of a run is kept; it stands from the moment at which this command starts the run."""
    return ROOT / choice.runs / "logs" / f"{job.name}.log"


def shown(arguments: Sequence[str]) -> str:
    """Return a command as it can be pasted in the repository's folder."""
    return shlex.join(["accelerate", *arguments])


def print_commands(jobs: Sequence[Job], choice: Choice, accelerate: str) -> list[str]:
    """Print a line for each run that is not done, alone on standard output, and return the names of those that cannot
    be started: what is wrong with one is told, and keeps no other from being printed."""
    refused = []
    left = [job for job in jobs if not job.done()]
    for job in left:
        try:
            log(" && ".join(map(shown, commands(job, choice, accelerate))))
        except InputError as error:
            warn(f"{job.name}: {error}")
            refused.append(job.name)
    if not left:
        warn("all runs are done, so there is nothing to print; `report` in place of `run` writes their report.")
    return refused


@contextmanager
def locked(choice: Choice) -> Iterator[int]:
    """Keep other commands from running the same study's runs; raises InputError where one does.

    Yields the lock's file descriptor: a run that has it too keeps the lock when this command is killed before it.
    """
    folder = ROOT / choice.runs
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(
                f"{folder}: another command runs this study there, or a run that one left; wait for it to end."
            ) from None
        yield file.fileno()


def run_all(jobs: Sequence[Job], choice: Choice, accelerate: str, lock: int) -> list[str]:
    """Run what is not done, one after the other, and return the names of the runs that failed.

    SIGTERM is taken as Ctrl-C: the run is asked to stop, which saves a checkpoint, and KeyboardInterrupt goes on.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    failed, seconds = [], []
    left = [job for job in jobs if not job.done()]
    for number, job in enumerate(left, 1):
        about = f"{job.name}: run {number} of {len(left)}"
        rest = f", about {sum(seconds) / len(seconds) * (len(left) - number + 1) / 60:.0f} min left" if seconds else ""
        log(f"{about}{rest}; log: {log_file(job, choice)}")
        start = time.monotonic()
        if _run(job, choice, accelerate, lock):
            seconds.append(time.monotonic() - start)
            log(f"{job.name}: done in {seconds[-1]:.0f} s")
        else:
            failed.append(job.name)
    return failed


def _run(job: Job, choice: Choice, accelerate: str, lock: int) -> bool:
    for arguments in commands(job, choice, accelerate):
        path = log_file(job, choice)
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a", encoding="utf-8") as file:
            file.write(f"{shown(arguments)}\n")
            file.flush()
            command = [sys.executable, "-m", "accelerate.commands.accelerate_cli", *arguments]
            status = launched(command, file, lock)
        if status:
            log(f"{job.name}: failed with status {status}: {_last_words(path)}")
            return False
    return job.done()


def launched(command: Sequence[str], output: IO[str], lock: int) -> int:
    """Run a command that holds the lock too, and return its status; it is asked to stop where this one is."""
    process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, pass_fds=(lock,))
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
        raise


def _last_words(path: Path) -> str:
    """Return the sentence that a failed run ended with, or the last line of its log."""
    lines = [line for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    told = [line for line in lines if line.startswith("error: ")]
    return (told or lines)[-1]
