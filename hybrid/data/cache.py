"""Folders that are built once and shared by all processes of a node, whoever comes first."""

import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path

from hybrid.runtime.errors import InputError
from hybrid.runtime.files import atomic_folder
from hybrid.runtime.processes import alone, local_rank, poll

FORM = (
    3  # of what is kept in the cache; raised by a change of what is written or computed, so that nothing old is taken
)


def built_once(folder: Path, build: Callable[[Path], None]) -> Path:
    """Return `folder`; where it is missing, `build` fills a temporary folder that is then renamed to it.

    Of several processes one builds and the others wait for its lock. The folder appears whole or not at all: what a
    killed process leaves has another name. Raises InputError where the disk is full or must not be written.
    """
    if folder.exists():
        return folder
    if local_rank():
        time.sleep(1)  # lets the rank that shows progress come first; who is first does not matter otherwise
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with alone(), open(f"{folder}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            poll()
            if not folder.exists():
                with atomic_folder(folder) as temporary:
                    build(temporary)
    except OSError as error:
        raise InputError(
            f"{error.filename or folder}: cannot be written ({error.strerror}); free space there, or set data.cache "
            "(for an evaluation XDG_CACHE_HOME) to a folder that can be written."
        ) from error
    return folder


def cache_folder(chosen: str | Path | None) -> Path:
    """Return the folder of built corpora and token stores: the chosen one, or the user's cache."""
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(chosen or Path(home, "hybrid")).expanduser()


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0))
