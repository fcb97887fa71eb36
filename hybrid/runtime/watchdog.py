"""Notices ranks that die or hang, and ends this process with a sentence that names the rank and where it was.

A collective call with a dead peer fails (gloo) or waits (NCCL), and with a hanging peer it always waits, so a thread
of every rank tells the others through the launcher's store each second that it lives and where its main thread is.
"""

import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path

LOST = 76
"""Exit status of a rank that stops because another one died or hangs."""
BAD_INPUT = 2
"""Exit status of a rank that stops because of bad input or a full disk, its own or another one's."""
BEAT_SECONDS = 1.0
SILENT_SECONDS = 60.0
"""A rank that lets this pass without a sign has died, or its process stands still."""
DEAD_SECONDS = 5.0
"""The same once a collective call has failed. A process of the same machine is seen to be gone at once."""
TOLD_SECONDS = 20.0
"""Once a rank has told why it ends, time for the others to end by themselves: NCCL on another machine would wait."""
RANKS_A_BEAT = 64
"""Of more ranks, beats are as much rarer, so that the store's work stays the same."""


def _machine() -> str:
    """Return what processes have in common that see each other's pids, "" where that cannot be told."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text() + os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


@dataclass
class _Place:
    """Where this process's main thread is."""

    machine: str = field(default_factory=_machine)
    host: str = field(default_factory=socket.gethostname)
    pid: int = field(default_factory=os.getpid)
    where: str = "starting"
    passed: int = 0
    """Places passed, counted alike on all ranks: the hanging one is behind."""
    ticks: int = 0
    """Progress between two places, of this rank alone."""
    ended: bool = False
    told: bool = False
    """Ended with a sentence about bad input or a full disk."""


_place = _Place()


def note(where: str | None = None) -> None:
    """Say that the main thread has come to the next place that all ranks pass, such as ``step 7``."""
    _place.where = where or _place.where
    _place.passed += 1


def tick() -> None:
    """Say that the main thread gets on."""
    _place.ticks += 1


class Watchdog:
    """The thread of one rank."""

    def __init__(self, rank: int, world_size: int, stall_seconds: float, resume: str, farewell: Callable[[], None]):
        """`farewell` is called before this process ends for another rank, and `resume` tells the user how to go on;
        after `stall_seconds` without any rank's getting on, the ranks that are behind count as hanging."""
        from torch.distributed import PrefixStore, TCPStore

        self.rank, self.world_size, self.resume, self.farewell = rank, world_size, resume, farewell
        self.stall_seconds, self.silent_seconds = stall_seconds, min(SILENT_SECONDS, stall_seconds)
        self.every = BEAT_SECONDS * max(1.0, world_size / RANKS_A_BEAT)
        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        # A connection of its own: the group's waits in other calls.
        store = TCPStore(address, port, is_master=False, timeout=timedelta(seconds=60))
        self.store = PrefixStore(f"watchdog/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)
        self.keys = [str(number) for number in range(world_size)]
        now = time.monotonic()
        self.beats, self.last = 0, now
        self.seen: list[dict] = [{} for _ in self.keys]
        self.alive, self.moved = [now] * world_size, [now] * world_size
        self.gone: set[int] = set()
        self.told_at: float | None = None
        self.tell()
        self.closed = threading.Event()
        self.thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def start(self) -> None:
        """Begin to watch; every rank has to have one by now."""
        self.thread.start()

    def tell(self) -> None:
        """Write this rank's place into the store."""
        self.beats += 1
        self.store.set(str(self.rank), json.dumps({"beat": self.beats, **asdict(_place)}))

    def first(self, what: str) -> bool:
        """Return whether this rank is the first to ask for `what`; yes where the store is gone."""
        try:
            return self.store.add(what, 1) == 1
        except Exception:
            return True

    def close(self, told: bool = False) -> None:
        """Stop watching, and tell the others that this rank's end is no accident; `told` ends them too."""
        watching = self.thread.is_alive()
        self.closed.set()
        self.thread.join()
        _place.ended, _place.told = True, told
        if watching:
            self._quietly(self.tell)

    def await_verdict(self) -> None:
        """After a collective call has failed: wait for the thread to find who died, which ends this process.

        Returns if all ranks live, so that the error is this one's own.
        """
        self.silent_seconds = min(self.silent_seconds, DEAD_SECONDS)
        time.sleep(2 * DEAD_SECONDS + self.every)

    def _run(self) -> None:
        while not self.closed.wait(self.every):
            if not self._quietly(self._exchange):
                # The store has gone with the launcher, which counts as a request to stop.
                return
            now = time.monotonic()
            if fault := self._fault(now):
                self._end(*fault)
            if self.told_at and now - self.told_at > TOLD_SECONDS:
                self._leave(BAD_INPUT)
            self.last = now

    def _exchange(self) -> None:
        self.tell()
        # Before reading: a rank that ends well says so first.
        self.gone = {rank for rank, place in enumerate(self.seen) if self._is_gone(place)}
        now = time.monotonic()
        suspended = now - self.last > 5 * self.every
        for rank, text in enumerate(self.store.multi_get(self.keys)):
            new, old = json.loads(text), self.seen[rank]
            if suspended or new != old:
                self.alive[rank] = now
            if suspended or any(new[key] != old.get(key) for key in ("passed", "ticks")):
                self.moved[rank] = now
            self.seen[rank] = new
        if self.told_at is None and any(place.get("told") for place in self.seen):
            self.told_at = now

    def _fault(self, now: float) -> tuple[list[int], str] | None:
        if silent := self._silent(now):
            known = self.gone.issuperset(silent)
            return silent, "died" if known else f"died or frozen, no sign of life for {self.silent_seconds:.0f} s"
        if now - max(self.moved) < self.stall_seconds:
            return None
        passed = [place["passed"] for place in self.seen]
        behind = [rank for rank in range(self.world_size) if passed[rank] == min(passed)]
        return behind, f"hanging, no rank has got on for {self.stall_seconds:.0f} s"

    def _silent(self, now: float) -> list[int]:
        return [
            rank
            for rank in range(self.world_size)
            if (rank in self.gone or now - self.alive[rank] > self.silent_seconds) and not self.seen[rank].get("ended")
        ]

    @staticmethod
    def _is_gone(place: dict) -> bool:
        if not _place.machine or place.get("machine") != _place.machine:
            return False
        try:
            os.kill(place["pid"], 0)
        except ProcessLookupError:
            return True
        except OSError:
            return False
        return False

    def _sentence(self, ranks: list[int], what: str) -> str:
        shown = ", ".join(
            f"rank {rank} (last seen {place['where']}; pid {place['pid']} on {place['host']})"
            for rank, place in ((rank, self.seen[rank]) for rank in ranks[:4])
        )
        more = f" and {len(ranks) - 4} more" if len(ranks) > 4 else ""
        here = f"rank {self.rank} is {_place.where}"
        return f"{shown}{more}: {what}; {here} and stops, {self.resume}."

    def _end(self, ranks: list[int], what: str) -> None:
        others = [rank for rank in range(self.world_size) if rank not in ranks]
        if self.rank == min(others or ranks):
            print(f"error: {self._sentence(ranks, what)}", file=sys.stderr, flush=True)
        else:
            # The one that tells goes first: it would find this rank dead, and say so.
            time.sleep(max(DEAD_SECONDS, 2 * self.every))
        self._leave(LOST)

    def _leave(self, status: int) -> None:
        # Another thread: a farewell that waits must not keep this process.
        thread = threading.Thread(target=self.farewell, daemon=True)
        thread.start()
        thread.join(10)
        os._exit(status)

    @staticmethod
    def _quietly(action: Callable[[], None]) -> bool:
        try:
            action()
        except Exception:
            return False
        return True
