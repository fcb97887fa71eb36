"""Started by accelerate: a job of toy steps that goes on until it is asked to stop, or until STEPS are done.

Arguments: folder, where the marker "here" is to be printed (start-up, steps, evaluation, hang), steps. The pids of
ranks and of the processes that make their batches go to folder/pids.
"""

import sys
import time
from pathlib import Path

from hybrid.runtime.errors import InputError
from hybrid.runtime.interruption import listen, run_to_end
from hybrid.runtime.launch import start
from hybrid.runtime.logs import log, progress
from hybrid.runtime.processes import barrier, rank, world_size
from hybrid.runtime.tracking import Tracker, TrackingConfig
from hybrid.training.batches import make_batches
from hybrid.training.config import ObjectiveConfig, TrainingConfig
from hybrid.training.ending import TrainingEnding
from hybrid.training.engine import Engine
from hybrid.training.folder import open_folder
from hybrid.training.loop import Hooks, Loop
from hybrid.training.realised import Realised
from tests.launched import note_pid
from tests.training.toy import toy_batch, toy_encoder

SILENT_SECONDS = 15.0
STALL_SECONDS = 5.0


class ToySampler:
    """The numbers of steps."""

    def __init__(self, steps: int):
        self.start, self.steps = 0, steps

    def state_dict(self, step: int) -> dict:
        return {"step": step}

    def load_state_dict(self, state: dict) -> None:
        self.start = state["step"]

    def __iter__(self):
        return iter(range(self.start, self.steps))


class Collate:
    """Makes the toy batch of a step, slowly."""

    def __init__(self, folder: Path, rank: int, world_size: int):
        self.folder, self.rank, self.world_size = folder, rank, world_size

    def __call__(self, step: int):
        note_pid(self.folder, f"worker-{self.rank}")
        time.sleep(0.05)
        return toy_batch(step, 8, self.rank, self.world_size)


def uneven_work(name: str, units: int) -> None:
    """Work of other lengths on each rank: the others wait for the last one."""
    with progress(units, name, "units") as bar:
        for _ in range(units * rank() + 1):
            time.sleep(0.05)
            bar.update()
    barrier()


def hang_in(engine: Engine, ending: TrainingEnding, step: int) -> None:
    """Let the last rank's main thread stand still in the forward pass of a step."""
    passes = []

    def hang(*_) -> None:
        passes.append(1)
        if len(passes) == step:
            # Not earlier: starting takes longer on a busy machine.
            ending.watchdog.stall_seconds = STALL_SECONDS
            log("here")
            time.sleep(1e6 if rank() == world_size() - 1 else 0)

    engine.module.encoder.register_forward_pre_hook(hang)


def train(folder: Path, place: str, steps: int) -> None:
    accelerator = start("fp32", seed=0)
    assert world_size() == 2
    note_pid(folder, f"rank-{rank()}")
    with TrainingEnding(folder / "run", stall_seconds=600) as ending:
        ending.watchdog.silent_seconds = SILENT_SECONDS
        if place == "start-up":
            log("here")
            uneven_work("reading", 10_000)
        open_folder(folder / "run", None, overwrite=False)
        uri = f"sqlite:///{folder / 'mlflow.db'}"
        tracking = TrackingConfig(uri=uri, enabled=place not in ("steps without tracking", "hang"))
        ending.tracker = tracker = Tracker(folder / "run", "job", tracking)
        config = TrainingConfig(
            steps=steps,
            learning_rate=1e-3,
            global_batch=8,
            log_every=2,
            evaluate_every=4,
            checkpoint_every=5,
            workers=1,
        )
        engine = Engine(toy_encoder(dropout=0.1), ObjectiveConfig(), config, accelerator)
        if place == "hang":
            hang_in(engine, ending, 5)
        sampler = ToySampler(steps)

        def evaluate(encoder, step: int) -> dict[str, float]:
            if place == "evaluation" and step == 8:
                log("here")
                uneven_work("evaluating", 10_000)
            return {"score": float(step)}

        hooks = Hooks(evaluate=evaluate, state=lambda step: {"sampler": sampler.state_dict(step)})
        ending.loop = loop = Loop(config, engine, hooks, Realised(["toy"]), folder / "run", tracker)
        loop.resume(sampler)
        if place.startswith("steps"):
            log("here")
        loop.run(make_batches(sampler, Collate(folder, rank(), world_size()), config.workers))
        state = engine.module.state_dict()
        log(f"weights {sum(float(value.double().abs().sum()) for value in state.values())!r}")


def main() -> None:
    listen()
    try:
        train(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
    except InputError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    run_to_end(main)
