"""The process group: rank, world size and small collective calls, right without a group as well."""

import os
from typing import Any


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


def barrier() -> None:
    """Wait until all processes are here."""
    if group := _group():
        group.barrier()


def gather_objects(value: Any) -> list[Any]:
    """Return the values of all ranks, in rank order, on every rank. Every rank has to call it."""
    group = _group()
    if not group:
        return [value]
    values = [None] * group.get_world_size()
    group.all_gather_object(values, value)
    return values
