"""How a job of several ranks ends: well, asked to stop, with an error, or because another rank has died."""

from typing import NoReturn

from hybrid.runtime.errors import InputError
from hybrid.runtime.files import disk_fault
from hybrid.runtime.interruption import FAREWELL_SECONDS, INTERRUPTED, leave
from hybrid.runtime.logs import ROOM, log, say
from hybrid.runtime.processes import Interrupted, barrier, no_boundaries, rank, stop_reason, world_size
from hybrid.runtime.tracking import Tracker
from hybrid.runtime.watchdog import BAD_INPUT, Watchdog

STALL_SECONDS = 3600.0
"""Of a job that has no recipe: the training of a large index tells of no progress."""


class Ending:
    """A context manager around the job; its `tracker` is set while there is one. Every rank enters it."""

    told: tuple[type[Exception], ...] = (InputError,)
    """Errors that are sentences for the user."""
    room = ROOM
    """What to do about a full disk."""

    def __init__(self, resume: str, stall_seconds: float = STALL_SECONDS):
        """`resume` says how the job can be gone on with, after an end before its time."""
        self.resume = resume
        self.tracker: Tracker | None = None
        self.watchdog = None
        if world_size() > 1:
            self.watchdog = Watchdog(rank(), world_size(), stall_seconds, resume, lambda: self.untrack("FAILED"))
            barrier()
            self.watchdog.start()

    def __enter__(self) -> "Ending":
        return self

    def __exit__(self, kind, error, trace) -> None:
        if error is None:
            self.finish()
            self._unwatch()
            return
        try:
            if isinstance(error, Interrupted):
                self._stop()
        except RuntimeError as raised:
            # A rank has gone while the others were still saving.
            error = raised
        if self.watchdog and isinstance(error, RuntimeError) and not disk_fault(error):
            say(f"rank {rank()}: {type(error).__name__}: {str(error).splitlines()[0]}")
            self.watchdog.await_verdict()
            if not self.watchdog.first("told"):
                # Another rank has ended with bad input, which is what the user has to see.
                self.untrack("FAILED")
                self._unwatch()
                leave(BAD_INPUT)
        if fault := self._sentence(error):
            self._tell(fault)
            error.told = True
        self.untrack("FAILED")

    def finish(self) -> None:
        """Do what is left after the job, before the other ranks are let go of."""

    def stopped(self) -> str:
        """Save what can be saved, and return what to tell the user; boundaries are held, all ranks do it."""
        self.untrack("KILLED")
        return f"interrupted ({stop_reason()}); {self.resume}"

    def untrack(self, status: str) -> None:
        """End the job's run, if one is open."""
        if self.tracker:
            self.tracker.close(status, FAREWELL_SECONDS)

    def _sentence(self, error: BaseException) -> str | None:
        """Return what the user is told of bad input or a full disk, None for another error."""
        if isinstance(error, self.told):
            return str(error)
        fault = disk_fault(error)
        return f"{fault}; {self.room}" if fault else None

    def _tell(self, fault: str) -> None:
        """Print why the job ends, from the one rank that knows it first: no other may know it, or say that one died."""
        if self.watchdog is None or self.watchdog.first("told"):
            say(f"error: {fault}")
        self._unwatch(told=True)

    def _stop(self) -> NoReturn:
        """End this process with its own status."""
        with no_boundaries():
            log(self.stopped())
            # Together: the launcher ends the other ranks as soon as one is gone.
            barrier()
        self._unwatch()
        leave(INTERRUPTED)

    def _unwatch(self, told: bool = False) -> None:
        if self.watchdog:
            self.watchdog.close(told)
