"""Kill a random rank of a training job at random moments, resume, and compare with the uninterrupted run.

    python tests/kills.py [--seed 0] [--ddp 14] [--zero2 6] [--folder FOLDER]

Each kill (-9) hits a step, the writing of a checkpoint or an evaluation of the development split: the script waits for
that event in the job's output and folder, and then for a random part of a second, so that a slow machine is hit at the
same places. The seed gives the moments. Ends with one line, and with status 1 if the runs differ.
"""

import argparse
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch

ROOT = Path(__file__).parent.parent
PLACES = ("a step", "a checkpoint", "an evaluation")
STEPS_A_KILL = 7
PATIENCE = 900
"""Seconds that a launch may take to come to its moment, or to end."""

COMMON = """--config hybrid/recipes/quickstart.yaml --config hybrid/recipes/tiny.yaml --benchmark.tasks []
--tracking.enabled false --model.dropout 0.1 --training.checkpoint_every 3 --training.evaluate_every 4
--training.cache_tokens 200 --training.keep_best dev/multilingual/map --resume"""
ZERO = """--use_deepspeed --deepspeed_config_file ds_configs/zero2.json --zero3_init_flag false --num_processes 2
--num_machines 1 --mixed_precision no --dynamo_backend no --main_process_port 0"""
LAUNCH = {"ddp": "--config_file accelerate_configs/cpu_2.yaml", "zero2": ZERO}


@dataclass
class Moment:
    """When a rank is killed: in the place that comes next after `steps` more steps, `delay` seconds into it."""

    place: str
    rank: int
    steps: int
    delay: float


class Job:
    """One launch of a run."""

    def __init__(self, kind: str, name: str, steps: int, folder: Path):
        self.run, self.log = folder / name, folder / f"{name}.log"
        places = ["--training.output", str(folder), "--training.name", name, "--data.cache", str(folder / "cache")]
        command = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", *LAUNCH[kind].split()]
        variables = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        with open(self.log, "w") as log:
            self.launcher = subprocess.Popen(
                [
                    *command,
                    "train.py",
                    *COMMON.split(),
                    "--data.dev",
                    "{articles: 2}",
                    *places,
                    "--training.steps",
                    str(steps),
                ],
                cwd=ROOT,
                env=variables,
                stdout=log,
                stderr=log,
            )

    def steps_done(self) -> int:
        """Return the last step that was logged by this launch, 0 if none."""
        found = re.findall(r"^step (\d+)/\d+ \|", self.log.read_text(), re.MULTILINE)
        return int(found[-1]) if found else 0

    def ranks(self) -> dict[int, int]:
        """Return the pids of the ranks."""
        children = Path(f"/proc/{self.launcher.pid}/task/{self.launcher.pid}/children").read_text().split()
        found = {}
        for pid in map(int, children):
            variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            found |= {int(entry[5:]): pid for entry in variables if entry.startswith(b"RANK=")}
        return found

    def is_in(self, place: str, after: int) -> bool:
        """Return whether the job is in a place now, later than the given step."""
        if place == "a step":
            return self.steps_done() > after
        if self.steps_done() < after:
            return False
        if place == "a checkpoint":
            return any((self.run / "checkpoints").glob(".step-*"))
        return (self.run / "results" / "dev" / "dev" / "embeddings").exists()

    def wait(self) -> int:
        return self.launcher.wait(PATIENCE)


def kill(job: Job, moment: Moment) -> str:
    """Wait for the moment and kill the rank; returns what was hit, in words."""
    end, after = time.monotonic() + PATIENCE, None
    while True:
        if job.launcher.poll() is not None or time.monotonic() > end:
            job.launcher.terminate()
            raise AssertionError(f"the job did not come to its moment, {moment}: {job.log.read_text()[-3000:]}")
        if after is None and job.steps_done():
            after = job.steps_done() + moment.steps
        if after is not None and job.is_in(moment.place, after):
            break
        time.sleep(0.002)
    time.sleep(moment.delay)
    ranks = job.ranks()
    os.kill(ranks[moment.rank], signal.SIGKILL)
    draft = next((path.name for path in (job.run / "checkpoints").glob(".*")), "no draft")
    started = time.monotonic()
    assert job.wait() != 0
    left = [pid for pid in ranks.values() if Path(f"/proc/{pid}").exists()]
    assert not left, f"processes {left} outlived their job"
    told = [line for line in job.log.read_text().splitlines() if line.startswith("error: rank")]
    named = " and named" if told and f"rank {moment.rank} (" in told[0] else ""
    seconds = time.monotonic() - started
    return f"after step {job.steps_done()}, {draft} left, the other rank gone{named} {seconds:.0f} s later"


def tensors(checkpoint: Path) -> dict[str, torch.Tensor]:
    """Return all tensors of a checkpoint, of weights, optimizer and generators, by file and place."""
    found = {}

    def walk(value, name: str) -> None:
        if isinstance(value, torch.Tensor):
            found[name] = value
        elif isinstance(value, dict):
            for key, inner in value.items():
                walk(inner, f"{name}/{key}")
        elif isinstance(value, list | tuple):
            for number, inner in enumerate(value):
                walk(inner, f"{name}/{number}")

    for file in sorted(checkpoint.rglob("*.pt")):
        walk(torch.load(file, map_location="cpu", weights_only=False), str(file.relative_to(checkpoint)))
    return found


def campaign(kind: str, kills: int, rng: random.Random, folder: Path) -> None:
    """Run once without and once with kills; raises AssertionError if the results differ."""
    steps = STEPS_A_KILL * (kills + 1)
    whole = Job(kind, f"{kind}-whole", steps, folder)
    assert whole.wait() == 0, whole.log.read_text()[-3000:]
    losses = logged(whole)
    for number in range(1, kills + 1):
        place = PLACES[number % len(PLACES)]
        moment = Moment(place, rng.randrange(2), rng.randrange(3), rng.random() * 0.1)
        job = Job(kind, f"{kind}-killed", steps, folder)
        print(f"{kind}, kill {number} of {kills}: {moment}", flush=True)
        print(f"  {kill(job, moment)}", flush=True)
        compare(losses, job)
    last = Job(kind, f"{kind}-killed", steps, folder)
    assert last.wait() == 0, last.log.read_text()[-3000:]
    compare(losses, last)
    for file in ("model/model.safetensors", "rows.json"):
        digests = [hashlib.sha256((job.run / file).read_bytes()).hexdigest() for job in (whole, last)]
        assert digests[0] == digests[1], f"{kind}: {file} differs after {kills} kills"
    one, other = (tensors(job.run / "checkpoints" / f"step-{steps}") for job in (whole, last))
    assert one.keys() == other.keys()
    assert len(one) > 20
    differing = [name for name in one if not torch.equal(one[name], other[name])]
    assert not differing, f"{kind}: {differing[:3]} of the last checkpoint differ after {kills} kills"
    best = [json.loads((job.run / "finished.json").read_text()) for job in (whole, last)]
    assert best[0] == best[1]


def logged(job: Job) -> dict[str, str]:
    """Return what was logged of each step, without speeds."""
    lines = [line.split(" | ") for line in job.log.read_text().splitlines() if re.match(r"step \d+/\d+ \|", line)]
    return {parts[0]: " | ".join(parts[1:5]) for parts in lines if len(parts) > 5}


def compare(losses: dict[str, str], job: Job) -> None:
    """Raise AssertionError where a launch logged other losses than the uninterrupted run."""
    for step, line in logged(job).items():
        assert line == losses[step], f"{job.run}: {step}: {line} instead of {losses[step]}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ddp", type=int, default=14, help="kills of a job of two processes under DDP")
    parser.add_argument("--zero2", type=int, default=6, help="kills of a job of two processes under ZeRO-2")
    parser.add_argument("--folder", type=Path, help="keeps runs and logs; by default a temporary folder")
    asked = parser.parse_args()
    folder, rng, start = asked.folder or Path(tempfile.mkdtemp()), random.Random(asked.seed), time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        for kind in LAUNCH:
            if kills := getattr(asked, kind):
                campaign(kind, kills, rng, folder)
    except (AssertionError, KeyError, subprocess.TimeoutExpired) as error:
        print(f"KILLS FAILED with seed {asked.seed}: {error}", flush=True)
        return 1
    if not asked.folder:
        shutil.rmtree(folder)
    minutes = (time.monotonic() - start) / 60
    print(f"KILLS PASSED: {asked.ddp + asked.zero2} kills, the same weights, losses and rows, {minutes:.0f} minutes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
