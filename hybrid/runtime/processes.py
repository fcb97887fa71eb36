"""The process group: rank, world size and small collective calls, right without a group as well.

Where all ranks meet is a boundary: if any of them has been asked to stop, all of them raise `Interrupted` there.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from hybrid.runtime.errors import InputError
from hybrid.runtime.watchdog import note, tick


class Interrupted(BaseException):
    """The job has been asked to stop; every rank raises it at the same boundary."""


class _Leave(BaseException):
    """This rank leaves what it does alone."""


class _Stop:
    reason: str | None = None
    held: int = 0
    alone: int = 0


def ask_to_stop(reason: str) -> None:
    """Make all ranks raise `Interrupted` at the next boundary; one rank's call is enough."""
    _Stop.reason = _Stop.reason or reason


@contextmanager
def no_boundaries() -> Iterator[None]:
    """Where ranks meet in here, they do not stop: a step, or a checkpoint, is done whole."""
    _Stop.held += 1
    try:
        yield
    finally:
        _Stop.held -= 1


@contextmanager
def alone() -> Iterator[None]:
    """Work for which others wait elsewhere than at a boundary, such as at a lock: it is left first, to meet them."""
    _Stop.alone += 1
    left = False
    try:
        yield
    except _Leave:
        left = True
    finally:
        _Stop.alone -= 1
    if left:
        barrier()


def _group():
    """Return torch.distributed if its default group is up; torch is imported only in a launched process."""
    if "RANK" not in os.environ and "WORLD_SIZE" not in os.environ:
        return None
    import torch.distributed as group

    return group if group.is_available() and group.is_initialized() else None


def rank() -> int:
    """Return this process's number among all, 0 without a group."""
    group = _group()
    return group.get_rank() if group else 0


def world_size() -> int:
    """Return the number of processes, 1 without a group."""
    group = _group()
    return group.get_world_size() if group else 1


def local_rank() -> int:
    """Return this process's number on its node, 0 without a group."""
    return int(os.environ.get("LOCAL_RANK", 0)) if _group() else 0


def is_main() -> bool:
    """Return whether this is the process that prints and writes: rank 0."""
    return rank() == 0


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_group() -> bool:
    """Return whether this process has joined a group, if one of a single process."""
    return _group() is not None


def leave_group() -> None:
    """Let go of the other processes; there is no collective call after it."""
    _group().destroy_process_group()


def barrier() -> None:
    """Wait until all processes are here."""
    stop = _any_rank(_Stop.reason is not None and not _Stop.held)
    note()
    if stop:
        raise Interrupted


def poll() -> None:
    """Between two boundaries, where ranks have uneven work: leave it if this rank has been asked to stop.

    All code after it, on every rank, has to come to a boundary and to no other collective call before.
    """
    tick()
    if _Stop.reason is not None and not _Stop.held:
        if _Stop.alone:
            raise _Leave
        barrier()


def gather_objects(value: Any) -> list[Any]:
    """Return the values of all ranks, in rank order, on every rank. Every rank has to call it."""
    group = _group()
    if not group:
        barrier()
        return [value]
    if not _Stop.held:
        barrier()
    values = [None] * group.get_world_size()
    group.all_gather_object(values, value)
    return values


def sum_of_all(values: list[int]) -> list[int]:
    """Return the sums over ranks, elementwise, on every rank. Every rank has to call it."""
    group = _group()
    if not _Stop.held:
        barrier()
    return _reduced(values, group.ReduceOp.SUM).tolist() if group else values


def stop_reason() -> str:
    """Return why ranks have been asked to stop, without a boundary; every rank has to call it."""
    with no_boundaries():
        return ", ".join(sorted({reason for reason in gather_objects(_Stop.reason) if reason}))


def on_main(action: Callable[[], Any]) -> None:
    """Do it on the main rank while the others wait; what it raises is raised on every rank, so that none waits alone.

    Every rank has to call it.
    """
    error = None
    if is_main():
        try:
            action()
        except Exception as raised:
            error = raised
    found = gather_objects(None if error is None else _sendable(error))[0]
    if error is not None:
        raise error
    if found is not None:
        raise found


def _sendable(error: Exception) -> Exception:
    """Return an error that survives pickling: of a disk or for the user as it is, others by their text."""
    if isinstance(error, OSError):
        return OSError(error.errno, error.strerror, error.filename)
    return error if isinstance(error, InputError) else RuntimeError(f"on the main rank: {error!r}")


def _any_rank(flag: bool) -> bool:
    group = _group()
    return bool(_reduced([int(flag)], group.ReduceOp.MAX).item()) if group else flag


def _reduced(values: list[int], operation):
    """Return int64 numbers of all ranks, reduced elementwise, where the group's backend has them."""
    import torch
    import torch.distributed as group

    found = torch.tensor(values, device="cuda" if "nccl" in group.get_backend() else "cpu")
    group.all_reduce(found, operation)
    return found
