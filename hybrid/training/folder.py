"""The folder of a run: never mixed with another run's, never overwritten unasked."""

import fcntl
import os
import shutil
import socket
import tempfile
import time
from pathlib import Path

from hybrid.runtime.errors import InputError
from hybrid.runtime.files import write_json
from hybrid.runtime.logs import warn
from hybrid.runtime.processes import gather_objects, is_main, on_main, poll

FINISHED, INTERRUPTED, CHECKPOINTS = "finished.json", "interrupted.json", "checkpoints"

_WITHOUT_EFFECT = (
    *("resume", "overwrite", "tracking.", "benchmark.", "data.cache", "data.dev", "training.name", "training.output"),
    *("training.workers", "training.log_every", "training.keep_last", "training.checkpoint_", "training.stall_seconds"),
)
"""What may change in a continued run without other steps."""
_IN_USE = "another job is training there; wait for its end, or give another --training.name."
MARK, SEEN_SECONDS = ".seen-", 90
"""A file that one node writes, and in which time it has to be seen on the others: NFS remembers for a minute that a
folder was not there."""
_claims: dict[Path, int] = {}
"""File descriptors of the locks of the folders that this process writes to; they end with it and its workers."""


def check_folder(folder: Path, copies: Path | None, resume: bool, overwrite: bool) -> None:
    """Raise InputError, on every rank, where a job is training there, or the folder holds a run and neither `resume`
    nor `overwrite` is set.

    Args:
        copies: where the run's checkpoints are copied to, which may hold a run too.
    """
    if _in_use(folder):
        raise InputError(f"{folder}: {_IN_USE}")
    if copies and any(copies.glob("step-*")) and not (resume or overwrite):
        raise InputError(
            f"{copies} holds checkpoints of a run of this name; give --resume to go on with it, --overwrite to replace "
            "it, or another --training.name."
        )
    if (folder / FINISHED).exists() and not overwrite:
        raise InputError(f"{folder} holds a finished run; give --overwrite to replace it, or another --training.name.")
    begun = folder.exists() and any(
        file.name != INTERRUPTED and not file.name.startswith(MARK) for file in folder.iterdir()
    )
    if begun and not (resume or overwrite):
        raise InputError(
            f"{folder} holds a run that did not finish; give --resume to go on with it, --overwrite to replace it, or "
            "another --training.name."
        )


def open_folder(folder: Path, copies: Path | None, overwrite: bool) -> None:
    """Make the run's folder, it and its copies emptied where `overwrite` is set, and claim it; every rank calls it.

    That is once nothing else can be refused.

    Raises InputError on every rank where it cannot be written, another job has claimed it, or some node has another
    folder of this name.
    """
    fault, mark = gather_objects(_open(folder, copies, overwrite) if is_main() else (None, None))[0]
    if fault:
        raise InputError(fault)
    blind = sorted({host for host in gather_objects(None if _seen(folder / mark) else socket.gethostname()) if host})
    on_main(lambda: (folder / mark).unlink(missing_ok=True))
    if blind:
        raise InputError(
            f"{folder}: is not the same folder on {', '.join(blind)}, and each process writes its part of checkpoints "
            "and scores there; give a --training.output that all nodes share."
        )


def _seen(mark: Path) -> bool:
    """Return whether a file that another node has written comes to be seen here; shared file systems take a moment."""
    end = time.monotonic() + SEEN_SECONDS
    while not os.path.exists(mark):  # False for whatever keeps this node from seeing it
        if time.monotonic() > end:
            return False
        poll()
        time.sleep(0.2)
    return True


def _open(folder: Path, copies: Path | None, overwrite: bool) -> tuple[str | None, str]:
    """Return what is wrong with the folder, and the name of a file that was made in it."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        if not _claim(folder):
            return f"{folder}: {_IN_USE}", ""
        if overwrite:
            shutil.rmtree(folder, ignore_errors=True)
            if copies:
                shutil.rmtree(copies, ignore_errors=True)
        folder.mkdir(exist_ok=True)
        (folder / INTERRUPTED).unlink(missing_ok=True)
        for left in folder.glob(f"{MARK}*"):
            left.unlink()  # of a job that was asked to stop, or killed, here
        file, name = tempfile.mkstemp(dir=folder, prefix=MARK)
        os.close(file)
        return None, os.path.basename(name)
    except OSError as error:
        return f"{folder}: cannot be written ({error.strerror}); give another --training.output.", ""


def _lock(folder: Path) -> Path:
    # Beside the folder: what is in it may be copied, and goes with `overwrite`.
    return folder.parent / f".{folder.name}.lock"


def _claim(folder: Path) -> bool:
    """Lock a folder for as long as this process lives; False where another one has it."""
    if folder in _claims:
        return True
    try:
        file = os.open(_lock(folder), os.O_RDWR | os.O_CREAT, 0o666)
        _claims[folder] = file
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(_claims.pop(folder))
        return False
    except OSError as error:
        warn(
            f"{folder}: cannot be locked ({error.strerror}), so nothing keeps another job of this name from writing "
            "there at the same time."
        )
    return True


def _in_use(folder: Path) -> bool:
    """Return whether another process has claimed a folder; ranks that look at once do not see each other."""
    try:
        with open(_lock(folder), encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return folder not in _claims
    except OSError:
        # There is none, or no locks are to be had, which `_claim` tells.
        pass
    return False


def mark_finished(folder: Path, summary: dict, checkpoints: bool) -> None:
    """Note that the run in a folder is complete, with its last figures, and remove its checkpoints unless they are
    wanted; every rank calls it."""

    def mark() -> None:
        write_json(folder / FINISHED, summary)
        if not checkpoints:
            shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)

    on_main(mark)


def mark_interrupted(folder: Path, step: int, reason: str) -> None:
    """Note that the run in a folder was asked to stop after `step` steps, so that a script can start it again."""
    if is_main():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_json(folder / INTERRUPTED, {"step": step, "reason": reason})
        except OSError as error:
            warn(f"{folder / INTERRUPTED}: cannot be written ({error.strerror}).")


_OTHER_WEIGHTS = (
    *("model.layers", "model.projection", "model.freeze_embeddings", "model.lora", "model.from_scratch"),
    "objective.learn_temperature",
)
"""What gives the model or the optimizer other tensors than the checkpoint has."""


def check_changes(before: dict[str, str], now: dict[str, str]) -> None:
    """Warn where a continued run has other settings than its checkpoint, so that it is not the run that began.

    Raises InputError where weights and optimizer of the checkpoint do not fit them.
    """
    keys = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
    told = {key: f"{key} was {before.get(key)} and is {now.get(key)}" for key in keys}
    if other := [told[key] for key in keys if key.startswith(_OTHER_WEIGHTS) or _other_encoder(key, before, now)]:
        raise InputError(
            f"--resume: {'; '.join(other)}, and the checkpoint's weights do not fit that; set it back, or start "
            "another run with --training.name."
        )
    if some := [told[key] for key in keys if not key.startswith(_WITHOUT_EFFECT)]:
        warn(f"the run goes on with other settings than it began: {'; '.join(some)}.")


def _other_encoder(key: str, before: dict[str, str], now: dict[str, str]) -> bool:
    """Whether a run would go on under another encoder's name; a directory that was moved keeps its last part."""
    one, other = (str(settings.get(key)) for settings in (before, now))
    return key == "model.revision" or (key == "model.name" and Path(one).name != Path(other).name)


def other_scores(before: dict[str, str], now: dict[str, str]) -> bool:
    """Return whether scores under these settings are no more and no less than others under those."""
    keys = before.keys() | now.keys()
    return any(before.get(key) != now.get(key) for key in keys if key.startswith(("training.keep_best", "data.dev")))
