"""How a training ends: with its last checkpoint, and a folder that says so."""

from pathlib import Path

from hybrid.runtime.ending import Ending
from hybrid.runtime.errors import InputError
from hybrid.runtime.interruption import FAREWELL_SECONDS
from hybrid.runtime.processes import stop_reason
from hybrid.sampling import MixtureError
from hybrid.training.folder import mark_interrupted

COPY_SECONDS = 600.0
"""Time for the last copy of a checkpoint at the end of a run."""


class TrainingEnding(Ending):
    """A context manager around a training; its `tracker` and `loop` are set once there are some."""

    told = (InputError, MixtureError)
    room = "make room and give --resume, or give another --training.output."

    def __init__(self, folder: Path, stall_seconds: float):
        self.folder = folder
        self.loop = None
        super().__init__("--resume goes on from the newest whole checkpoint", stall_seconds)

    def finish(self) -> None:
        """Let the last copy of a checkpoint, and the tracking, come to their end."""
        if self.loop:
            self.loop.close(COPY_SECONDS)
        if self.tracker:
            self.tracker.close()

    def stopped(self) -> str:
        """Save a checkpoint, and mark the run as interrupted."""
        step = self.loop.progress.step if self.loop else 0
        if self.loop:
            self.loop.save()
        asked = stop_reason()
        mark_interrupted(self.folder, step, asked)
        self.untrack("KILLED")
        if self.loop:
            self.loop.close(FAREWELL_SECONDS)
        return f"interrupted ({asked}) after {step} steps; --resume goes on with {self.folder}"
