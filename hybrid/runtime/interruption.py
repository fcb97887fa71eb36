"""Signals that ask a job to stop: the first at the next boundary of all ranks, a second one at once.

The launcher forwards SIGTERM to its ranks, Slurm and terminals signal the launcher and the ranks alike, and a launcher
that is killed forwards nothing: so signals in quick succession are one, and a launcher that is gone counts as a signal.
"""

import atexit
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from hybrid.runtime.processes import ask_to_stop, in_group, leave_group

INTERRUPTED = 75
"""Exit status of a rank that was asked to stop and has saved what it could (EX_TEMPFAIL: run it again)."""
FAREWELL_SECONDS = 10.0
"""Time for the tracking server, and again for a copy, where the launcher waits to kill; what is on disk keeps the
rest."""
SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
SAME_SECONDS = 2.0
"""Signals this soon after the first are the same request, come another way."""


def listen() -> None:
    """From now on the signals are requests; called once, in the main thread, before anything expensive."""
    end, start = os.pipe()
    os.set_blocking(start, False)
    for number in SIGNALS:
        signal.signal(number, _leave_to_thread)
    # Python's handlers wait while the main thread is in a collective call; what is written here arrives at once.
    signal.set_wakeup_fd(start, warn_on_full_buffer=False)
    os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))
    launcher = os.getppid() if {"TORCHELASTIC_RUN_ID", "ACCELERATE_MIXED_PRECISION"} & os.environ.keys() else None
    threading.Thread(target=_wait, args=(end, launcher), name="signals", daemon=True).start()


def ignore_in_worker() -> None:
    """Let a process that makes batches live through signals that are sent to all, and die with its rank."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    if sys.platform == "linux":
        import ctypes

        set_death_signal = 1
        ctypes.CDLL(None).prctl(set_death_signal, signal.SIGKILL)


def leave(status: int) -> NoReturn:
    """End this process with a status that no signal changes any more: the launcher, seeing one rank end, sends some."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    sys.exit(status)


def run_to_end(command: Callable[..., object], *arguments: object) -> None:
    """Do all that a process is for; one that is in a process group ends here, with its status.

    Where the interpreter ends instead, a thread of torch.distributed that still gives back a Python object is ended
    inside C++ code, which aborts the process, its work done or not. (No context manager: it would hold the frames of
    an exception, and with them workers that the exit functions wait for.)
    """
    status: int | str | None = 0
    try:
        command(*arguments)
    except SystemExit as error:
        if not in_group():
            raise
        status = error.code
    if in_group():
        if not status:
            leave_group()
        _quit(status)


def _quit(status: int | str | None) -> NoReturn:
    if isinstance(status, str):
        print(status, file=sys.stderr)
        status = 1
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        # A pipe that nobody reads any more changes no status.
        with suppress(OSError):
            stream.flush()
    os._exit(status or 0)


def _leave_to_thread(*_) -> None:
    pass


def _wait(end: int, launcher: int | None) -> None:
    first = None
    while True:
        ready, _, _ = select.select([end], [], [], 1.0)
        now = time.monotonic()
        if launcher and os.getppid() != launcher:
            launcher = None
            first = first or now
            ask_to_stop("the launcher is gone")
        for number in os.read(end, 64) if ready else b"":
            if number not in SIGNALS:
                continue
            name = signal.Signals(number).name
            if first is None:
                first = now
                ask_to_stop(name)
            elif now - first > SAME_SECONDS:
                print(f"{name}, the second request: ending at once", file=sys.stderr, flush=True)
                os._exit(128 + number)
