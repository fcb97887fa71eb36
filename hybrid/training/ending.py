"""How a training job ends: well, asked to stop, with an error, or because another rank has died."""

from pathlib import Path

from hybrid.runtime.errors import InputError
from hybrid.runtime.files import disk_fault
from hybrid.runtime.interruption import FAREWELL_SECONDS, INTERRUPTED, leave
from hybrid.runtime.logs import log
from hybrid.runtime.processes import (
    Interrupted,
    barrier,
    no_boundaries,
    rank,
    stop_reason,
    world_size,
)
from hybrid.runtime.tracking import Tracker
from hybrid.runtime.watchdog import Watchdog
from hybrid.sampling import MixtureError
from hybrid.training.folder import mark_interrupted

BAD_INPUT = 2
"""Exit status."""
COPY_SECONDS = 600.0
"""Time for the last copy of a checkpoint at the end of a run."""


def _told(error: BaseException) -> str | None:
    """Return the sentence that the user gets for bad input or a full disk, None for another error."""
    if isinstance(error, InputError | MixtureError):
        return str(error)
    if fault := disk_fault(error):
        return f"{fault}; make room and give --resume, or give another --training.output."
    return None


class Ending:
    """A context manager around the job; its `tracker` and `loop` are set once there are some. Every rank enters it."""

    def __init__(self, folder: Path, stall_seconds: float):
        self.folder = folder
        self.tracker: Tracker | None = None
        self.loop = None
        self.watchdog = None
        if world_size() > 1:
            self.watchdog = Watchdog(rank(), world_size(), stall_seconds, lambda: self._untrack("FAILED"))
            barrier()
            self.watchdog.start()

    def __enter__(self) -> "Ending":
        return self

    def __exit__(self, kind, error, trace) -> None:
        if error is None:
            self._close()
            return
        try:
            if isinstance(error, Interrupted):
                self._stop()
        except RuntimeError as raised:
            # A rank has gone while the others were still saving.
            error = raised
        if self.watchdog and isinstance(error, RuntimeError) and not disk_fault(error):
            print(f"rank {rank()}: {type(error).__name__}: {str(error).splitlines()[0]}", flush=True)
            self.watchdog.await_verdict()
            if not self.watchdog.first("told"):
                # Another rank has ended with bad input, which is what the user has to see.
                self._untrack("FAILED")
                self.watchdog.close()
                leave(BAD_INPUT)
        if fault := _told(error):
            self._tell(fault)
            error.told = True
        self._untrack("FAILED")

    def _tell(self, fault: str) -> None:
        """Print why the job ends, from the one rank that knows it first: no other may know it, or say that one died."""
        if self.watchdog is None or self.watchdog.first("told"):
            print(f"error: {fault}", flush=True)
        if self.watchdog:
            self.watchdog.close()

    def _close(self) -> None:
        if self.loop:
            self.loop.close(COPY_SECONDS)
        if self.tracker:
            self.tracker.close()
        if self.watchdog:
            self.watchdog.close()

    def _stop(self) -> None:
        """Save, mark the run as interrupted, and end this process with its own status."""
        with no_boundaries():
            step = self.loop.progress.step if self.loop else 0
            if self.loop:
                self.loop.save()
            asked = stop_reason()
            mark_interrupted(self.folder, step, asked)
            self._untrack("KILLED")
            if self.loop:
                self.loop.close(FAREWELL_SECONDS)
            log(f"interrupted ({asked}) after {step} steps; --resume goes on with {self.folder}")
            # Together: the launcher ends the other ranks as soon as one is gone.
            barrier()
        if self.watchdog:
            self.watchdog.close()
        leave(INTERRUPTED)

    def _untrack(self, status: str) -> None:
        if self.tracker:
            self.tracker.close(status, FAREWELL_SECONDS)
