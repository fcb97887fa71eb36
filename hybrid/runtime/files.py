"""Files that appear whole or not at all, and digests of files and values."""

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from hybrid.runtime.errors import InputError

_DISK_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EFBIG)


@contextmanager
def atomic_file(path: str | Path, mode: str = "w") -> Iterator[IO]:
    """Open a temporary file beside `path`; on success flush it to disk and rename it, on failure remove it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, mode, encoding=None if "b" in mode else "utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; on success rename it to `path` (replacing it), on failure remove it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        yield folder
        sync_tree(folder)
        os.chmod(folder, 0o777 & ~_umask())
        if path.exists():
            old = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
            os.replace(path, old / "old")
            os.replace(folder, path)
            shutil.rmtree(old)
        else:
            os.replace(folder, path)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    sync_folder(path.parent)


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented UTF-8 JSON, atomically."""
    with atomic_file(path) as file:
        json.dump(value, file, indent=1, ensure_ascii=False)
        file.write("\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file; raises InputError with the file and the position where it is missing or broken."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give the path of a JSON file.") from error
    except ValueError as error:
        raise InputError(f"{path}: is no valid JSON ({error}); mend or replace the file.") from error


def file_digest(path: str | Path) -> str:
    """Return the BLAKE2b digest of a file's bytes, 32 hexadecimal digits, read in pieces."""
    state = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            state.update(piece)
    return state.hexdigest()


def digest(value: Any) -> str:
    """Return the BLAKE2b digest of a JSON-like value, 32 hexadecimal digits; the order of keys does not matter."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def disk_fault(error: BaseException) -> str | None:
    """Return what is wrong with the disk if that is why `error` was raised (by libraries too, whose types differ)."""
    if isinstance(error, OSError) and error.errno in _DISK_FAULTS:
        return f"{error.filename or 'the disk'}: {error.strerror}"
    for number in _DISK_FAULTS:
        if f"os error {number})" in str(error):
            return f"the disk: {os.strerror(number)}"
    return None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def sync_tree(folder: Path) -> None:
    """Bring all files in a folder, and the entries of its folders, to the disk."""
    for place in folder.rglob("*"):
        sync_folder(place)
    sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Make a rename durable: the folder's entry has to reach the disk too."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
