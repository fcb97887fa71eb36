"""Checkpoints: whole or not at all, checked when they are read, the newest whole one found by itself."""

import os
import shutil
from pathlib import Path
from typing import Any

from hybrid.runtime.errors import InputError
from hybrid.runtime.files import file_digest, read_json, write_json
from hybrid.runtime.logs import warn
from hybrid.runtime.processes import barrier, gather_objects, is_main, world_size

STATE, MANIFEST = "state.json", "manifest.json"


def save_checkpoint(folder: Path, step: int, accelerator, state: dict[str, Any], keep_last: int) -> None:
    """Write what the next step depends on to folder/step-N; every rank calls it. Older checkpoints are removed.

    Weights, optimizer and the random states of every rank come from `accelerator`; `state` is the rest, JSON-like.
    The files go to a hidden folder first, are flushed, and appear with a rename. Where that fails (a full disk), the
    error is told, the checkpoint before stands, and training goes on.
    """
    draft, final = folder / f".step-{step}", folder / f"step-{step}"
    if is_main():
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
    barrier()
    error = _attempt(lambda: accelerator.save_state(str(draft), safe_serialization=True))
    errors = [e for e in gather_objects(error) if e]
    if not errors and is_main():
        error = _attempt(lambda: _finish(draft, final, state | {"step": step, "world_size": world_size()}))
    errors = errors or [e for e in gather_objects(error) if e]
    if errors:
        warn(f"{final}: the checkpoint could not be written ({errors[0]}); the one before stands, training goes on.")
        if is_main():
            shutil.rmtree(draft, ignore_errors=True)
    elif is_main():
        for old in _steps(folder)[:-keep_last]:
            shutil.rmtree(folder / f"step-{old}")
    barrier()


def newest_checkpoint(folder: Path) -> Path | None:
    """Return the newest checkpoint whose files are all as its manifest says, with a warning for each that is not."""
    for step in reversed(_steps(folder)):
        found = folder / f"step-{step}"
        if not (fault := _fault(found)):
            return found
        warn(f"{found}: {fault}; taking the checkpoint before it.")
    return None


def read_state(checkpoint: Path) -> dict[str, Any]:
    """Return the `state` that was saved, with "step" and "world_size"."""
    return read_json(checkpoint / STATE)


def load_checkpoint(checkpoint: Path, accelerator) -> None:
    """Put weights, optimizer and random states back; every rank calls it with the same world size as at the save."""
    saved = read_state(checkpoint)["world_size"]
    if saved != world_size():
        raise InputError(
            f"{checkpoint}: was written by {saved} processes and this job has {world_size()}; resume with {saved}."
        )
    accelerator.load_state(str(checkpoint))


def _attempt(action) -> str | None:
    """Do it and return what went wrong on the disk, so that all ranks can be told instead of one dying alone."""
    try:
        action()
    except (OSError, RuntimeError) as error:
        return (str(error).strip().splitlines() or [type(error).__name__])[0]
    return None


def _finish(draft: Path, final: Path, state: dict[str, Any]) -> None:
    write_json(draft / STATE, state)
    files = sorted(file for file in draft.rglob("*") if file.is_file())
    for file in files:
        with open(file, "rb") as handle:
            os.fsync(handle.fileno())
    manifest = {str(file.relative_to(draft)): [file.stat().st_size, file_digest(file)] for file in files}
    write_json(draft / MANIFEST, manifest)
    shutil.rmtree(final, ignore_errors=True)
    os.replace(draft, final)


def _fault(checkpoint: Path) -> str | None:
    try:
        manifest = read_json(checkpoint / MANIFEST)
    except InputError:
        return "has no readable manifest"
    for name, (size, digest) in manifest.items():
        file = checkpoint / name
        if not file.is_file():
            return f"{name} is missing"
        if file.stat().st_size != size:
            return f"{name} has {file.stat().st_size} bytes instead of {size}"
        if file_digest(file) != digest:
            return f"{name} is damaged (its checksum differs)"
    return None


def _steps(folder: Path) -> list[int]:
    names = [path.name for path in folder.glob("step-*")] if folder.is_dir() else []
    return sorted(int(name.removeprefix("step-")) for name in names if name.removeprefix("step-").isdigit())
