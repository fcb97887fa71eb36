"""The folder of a run: never mixed with another run's, never overwritten unasked."""

import shutil
from pathlib import Path

from hybrid.runtime.errors import InputError
from hybrid.runtime.files import write_json
from hybrid.runtime.processes import barrier, gather_objects, is_main

FINISHED = "finished.json"


def open_folder(folder: Path, resume: bool, overwrite: bool) -> None:
    """Make the run's folder ready; every rank calls it.

    Raises InputError on every rank where it holds a run already and neither `resume` nor `overwrite` is set, or where
    it cannot be written.
    """
    fault = _open(folder, resume, overwrite) if is_main() else None
    if fault := gather_objects(fault)[0]:
        raise InputError(fault)
    barrier()


def _open(folder: Path, resume: bool, overwrite: bool) -> str | None:
    if (folder / FINISHED).exists() and not overwrite:
        return f"{folder} holds a finished run; give --overwrite to replace it, or another --training.name."
    if folder.exists() and any(folder.iterdir()) and not (resume or overwrite):
        return (
            f"{folder} holds a run that did not finish; give --resume to go on with it, --overwrite to replace it, or "
            "another --training.name."
        )
    try:
        if overwrite:
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "started.json", {"resumed": resume})
    except OSError as error:
        return f"{folder}: cannot be written ({error.strerror}); give another --training.output."
    return None


def mark_finished(folder: Path, summary: dict) -> None:
    """Note that the run in a folder is complete, with its last figures."""
    if is_main():
        write_json(folder / FINISHED, summary)
