"""Folders that are built once and shared by all processes of a node, whoever comes first."""

import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TypeVar

from hybrid.runtime.errors import InputError
from hybrid.runtime.files import atomic_folder
from hybrid.runtime.logs import warn
from hybrid.runtime.processes import alone, local_rank, poll

FORM = (
    3  # of what is kept in the cache; raised by a change of what is written or computed, so that nothing old is taken
)


T = TypeVar("T")
OFTEN = 4096
"""Rows or texts after which a build says `get_on`."""
WAIT_SECONDS = 0.2
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # NFS without its lock service, Lustre without flock
_held: list[str] = []  # locks of this process


def built_once(folder: Path, build: Callable[[Path], None]) -> Path:
    """Return `folder`; where it is missing, `build` fills a temporary folder that is then renamed to it.

    Of several processes one builds and the others wait for its lock. What takes long in `build` says `get_on`. The
    folder appears whole or not at all: what a killed process leaves has another name. Raises InputError where the disk
    is full or must not be written.
    """
    if folder.exists():
        return folder
    if local_rank():
        time.sleep(1)  # lets the rank that shows progress come first; who is first does not matter otherwise
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with alone(), _locked(f"{folder}.lock"):
            poll()
            if not folder.exists():
                with suppress(_Made), atomic_folder(folder) as temporary:
                    build(temporary)
                    if folder.exists():
                        # Where there are no locks another process was faster, and its files may be in use by now.
                        raise _Made
    except OSError as error:
        raise InputError(
            f"{error.filename or folder}: cannot be written ({error.strerror}); free space there, or set data.cache "
            "(for an evaluation XDG_CACHE_HOME) to a folder that can be written."
        ) from error
    return folder


class _Made(Exception):
    """The folder is there already."""


def get_on() -> None:
    """Say in a build that it gets on, to the watchdogs of this job and of others that wait for it; leave it if asked to
    stop. A build that takes longer than `stall_seconds` without it counts as hanging."""
    poll()
    for path in _held:
        os.utime(path)


def counted(items: Iterable[T]) -> Iterator[T]:
    """Yield the items of a long loop of a build, and `get_on` every so often."""
    for number, item in enumerate(items, 1):
        yield item
        if number % OFTEN == 0:
            get_on()


@contextmanager
def _locked(path: str) -> Iterator[None]:
    """Hold a lock; while another process has it, this one gets on as that one does."""
    with open(path, "a") as lock:
        seen = None
        while not _taken(lock):
            if (now := os.stat(path).st_mtime_ns) != seen:
                seen = now
                poll()
            time.sleep(WAIT_SECONDS)
        _held.append(path)
        try:
            yield
        finally:
            _held.remove(path)


def _taken(lock: IO) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        warn(
            f"{lock.name}: cannot be locked ({error.strerror}), so processes that start together build the same; set "
            "data.cache (for an evaluation XDG_CACHE_HOME) to a file system with locks."
        )
    return True


def cache_folder(chosen: str | Path | None) -> Path:
    """Return the folder of built corpora and token stores: the chosen one, or the user's cache."""
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(chosen or Path(home, "hybrid")).expanduser()
