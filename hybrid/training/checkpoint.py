"""Checkpoints: whole or not at all, checked when they are read, the newest whole one found by itself."""

import os
import shutil
import threading
from collections.abc import Container, Sequence
from pathlib import Path
from typing import Any

from hybrid.runtime.errors import InputError
from hybrid.runtime.files import atomic_folder, file_digest, read_json, sync_folder, sync_tree, write_json
from hybrid.runtime.logs import warn
from hybrid.runtime.processes import barrier, gather_objects, is_main, no_boundaries, world_size
from hybrid.training.states import parallelism, save_states

STATE, MANIFEST = "state.json", "manifest.json"


def save_checkpoint(folder: Path, step: int, engine, state: dict[str, Any]) -> bool:
    """Write what the next step depends on to folder/step-N; every rank calls it. Returns whether that was possible.

    Weights, optimizer and the random states of every rank come from `engine`; `state` is the rest, JSON-like. The
    files go to a hidden folder first, are flushed, and appear with a rename. Where that fails (a full disk), the error
    is told, the checkpoint before stands, and training goes on.
    """
    draft, final = folder / f".step-{step}", folder / f"step-{step}"
    state = state | {"step": step, "world_size": world_size(), "parallelism": parallelism(engine)}
    with no_boundaries():
        faults = _all(_attempt(lambda: _empty(draft)) if is_main() else [])
        faults = faults or _all(save_states(draft, engine))
        faults = faults or _all(_attempt(lambda: _finish(draft, final, state)) if is_main() else [])
        if faults:
            warn(f"{final}: the checkpoint could not be written ({faults[0]}); the one before stands.")
            if is_main():
                shutil.rmtree(draft, ignore_errors=True)
        barrier()
    return not faults


def remove_old(folder: Path, written: int, keep_last: int, others: Container[int | None]) -> None:
    """Remove all checkpoints but that of step `written`, just made, those before it, `keep_last` in all, and `others`.

    What has a larger step goes: it was damaged when the run went on from one before it. The main rank calls it.
    """
    steps = saved_steps(folder)
    kept = [step for step in steps if step <= written][-keep_last:]
    for step in steps:
        if step not in kept and step not in others:
            # Out of sight first: a job that is killed in here must not leave half a checkpoint under its name.
            hidden = folder / f".old-{step}"
            os.replace(folder / f"step-{step}", hidden)
            shutil.rmtree(hidden, ignore_errors=True)


def newest_checkpoint(folders: Sequence[Path]) -> Path | None:
    """Return the newest checkpoint whose files are all as its manifest says, with a warning for each that is not.

    The main rank looks, in all of the folders; every rank calls it. None where there are none.

    Raises InputError, on every rank, where there are some and none is whole: to start at step 0 would remove them all,
    and what is wrong may be the disk that they are read from.
    """
    found, damaged = gather_objects(_newest(folders) if is_main() else None)[0]
    if damaged and not found:
        raise InputError(
            f"--resume: none of the {damaged} checkpoints in {folders[0]} is whole; look at the disk or put whole ones "
            "there, or give --overwrite to start at step 0."
        )
    return found


def read_state(checkpoint: Path) -> dict[str, Any]:
    """Return the `state` that was saved, with "step", "world_size" and "parallelism"."""
    return read_json(checkpoint / STATE)


def saved_steps(folder: Path) -> list[int]:
    """Return the steps of a folder's checkpoints, in order."""
    names = [path.name for path in folder.glob("step-*")] if folder.is_dir() else []
    return sorted(int(name.removeprefix("step-")) for name in names if name.removeprefix("step-").isdigit())


class Copier:
    """Copies checkpoints to another place while training goes on: one at a time, the newest first, on the main rank."""

    def __init__(self, folder: Path, keep_last: int):
        """`folder` gets step-N folders; one that the copy has not come to when a newer one is there is left out."""
        self.folder, self.keep_last = folder, keep_last
        self.thread: threading.Thread | None = None
        self.next: tuple[Path, int | None] | None = None
        self.step: int | None = None
        """Step of the checkpoint that is being copied, which has to stay."""
        self.lock = threading.Lock()

    def copy(self, checkpoint: Path, best_step: int | None) -> None:
        """Ask for a copy and return at once."""
        with self.lock:
            self.next = checkpoint, best_step
            self.step = self.step or _step(checkpoint)
            if self.thread is None or not self.thread.is_alive():
                self.thread = threading.Thread(target=self._run, name="copies", daemon=True)
                self.thread.start()

    def wait(self, seconds: float) -> None:
        """Wait for the copies that were asked for."""
        if thread := self.thread:
            thread.join(seconds)
            if thread.is_alive():
                warn(f"{self.folder}: the copy of the newest checkpoint is not complete after {seconds:.0f} s.")

    def _run(self) -> None:
        while True:
            with self.lock:
                if self.next is None:
                    self.thread = self.step = None
                    return
                (checkpoint, best_step), self.next = self.next, None
                self.step = _step(checkpoint)
            try:
                with atomic_folder(self.folder / checkpoint.name) as draft:
                    shutil.copytree(checkpoint, draft, dirs_exist_ok=True)
                remove_old(self.folder, self.step, self.keep_last, {best_step})
            except OSError as error:
                warn(f"{self.folder / checkpoint.name}: not written ({error}); training goes on without this copy.")


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("step-"))


def _newest(folders: Sequence[Path]) -> tuple[Path | None, int]:
    """Return the newest whole checkpoint and the number of damaged ones that are newer."""
    found = [(step, -place) for place, folder in enumerate(folders) for step in saved_steps(folder)]
    for damaged, (step, place) in enumerate(sorted(found, reverse=True)):
        checkpoint = folders[-place] / f"step-{step}"
        if not (fault := _fault(checkpoint)):
            return checkpoint, damaged
        warn(f"{checkpoint}: {fault}; looking for the checkpoint before it.")
    return None, len(found)


def _all(faults: list[str]) -> list[str]:
    return [fault for share in gather_objects(faults) for fault in share]


def _attempt(action) -> list[str]:
    try:
        action()
    except OSError as error:
        return [f"{error.filename or ''}: {error.strerror or error}"]
    except InputError as error:
        return [str(error)]
    return []


def _empty(draft: Path) -> None:
    for left in (*draft.parent.glob(".step-*"), *draft.parent.glob(".old-*")):
        shutil.rmtree(left, ignore_errors=True)
    draft.mkdir(parents=True)


def _finish(draft: Path, final: Path, state: dict[str, Any]) -> None:
    missing = [number for number in range(world_size()) if not (draft / f"random-{number}.pt").exists()]
    if missing:
        raise InputError(f"the files of rank {missing[0]} are not here; all nodes must see the same folder")
    write_json(draft / STATE, state)
    sync_tree(draft)
    files = sorted(file for file in draft.rglob("*") if file.is_file())
    manifest = {str(file.relative_to(draft)): [file.stat().st_size, file_digest(file)] for file in files}
    write_json(draft / MANIFEST, manifest)
    old = final.parent / f".old-{_step(final)}"
    if final.exists():
        os.replace(final, old)
    os.replace(draft, final)
    shutil.rmtree(old, ignore_errors=True)
    sync_folder(final.parent)


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
        try:
            if file_digest(file) != digest:
                return f"{name} is damaged (its checksum differs)"
        except OSError as error:
            return f"{name} cannot be read ({error.strerror})"
    return None
