"""What the user sees while a job runs: lines and progress, from the main rank only."""

import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

from hybrid.runtime.errors import InputError
from hybrid.runtime.files import disk_fault
from hybrid.runtime.processes import is_main, poll


def log(message: str) -> None:
    """Print one message on the main rank, at once."""
    if is_main():
        say(message)


def warn(message: str) -> None:
    """Print one warning on the main rank, on standard error, at once."""
    if is_main():
        say(f"warning: {message}", sys.stderr)


def say(message: str, stream: TextIO | None = None) -> None:
    """Print one message from this rank; where its file's disk is full the job goes on without it."""
    with suppress(OSError):
        print(message, file=stream or sys.stdout, flush=True)


ROOM = "make room there or name another place, and give the command again."
"""What to do about a full disk."""


@contextmanager
def bad_input_told(*also: type[Exception]) -> Iterator[None]:
    """Around the body of a command: bad input (InputError, and what else is named) is told and ends it, status 2.

    So is a disk that is full or may not be written, by whatever rank meets it. An error with the attribute `told` has
    been told where it was known first.
    """
    try:
        yield
    except (InputError, *also) as error:
        if not getattr(error, "told", False):
            log(f"error: {error}")
        sys.exit(2)
    except Exception as error:
        if not (fault := disk_fault(error)):
            raise
        if not getattr(error, "told", False):
            say(f"error: {fault}; {ROOM}")
        sys.exit(2)


def quiet_libraries() -> None:
    """Silence what other libraries print that is not addressed to our users: deprecations, bars for writing files."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning)


class _Lines:
    """Progress as plain lines, at most one every `every` seconds: for logs and pipes."""

    def __init__(self, total: int, desc: str, unit: str, initial: int = 0, every: float = 20.0):
        self.total, self.desc, self.unit, self.every = total, desc, unit, every
        self.done, self.initial, self.start = initial, initial, time.monotonic()
        self.last = self.start

    def update(self, n: int = 1) -> None:
        poll()
        self.done += n
        now = time.monotonic()
        if now - self.last >= self.every:
            self.last = now
            rate = (self.done - self.initial) / (now - self.start)
            left = (self.total - self.done) / rate if rate else float("inf")
            log(f"{self.desc}: {self.done}/{self.total} {self.unit}, {rate:.1f} {self.unit}/s, {left:.0f} s left")

    def close(self) -> None:
        seconds = time.monotonic() - self.start
        if seconds >= self.every:
            log(f"{self.desc}: {self.done} {self.unit} in {seconds:.0f} s")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def progress(total: int, desc: str, unit: str, initial: int = 0):
    """Return a progress display that begins at `initial`, with ``update(n)`` and ``close()``, also a context manager.

    A tqdm bar on the main rank's terminal; plain lines where the output is no terminal; nothing on other ranks. An
    update is where a rank leaves long work if it has been asked to stop (`poll`).
    """
    if is_main() and not sys.stderr.isatty():
        return _Lines(total, desc, unit, initial)
    from tqdm import tqdm

    class Bar(tqdm):
        def update(self, n: int = 1) -> None:
            poll()
            super().update(n)

    return Bar(total=total, desc=desc, unit=f" {unit}", initial=initial, disable=not is_main())
