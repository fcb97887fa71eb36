"""What a checkpoint holds of model, optimizer and random generators, by the way the job is spread over processes.

A call that only some ranks return from would leave the others waiting, so errors of the disk are returned, not raised.
"""

import os
import random
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hybrid.runtime.errors import InputError
from hybrid.runtime.processes import is_main, rank
from hybrid.training.zero import zero_stage

STATE, SHARDS = "state.pt", "zero"


def parallelism(engine) -> str:
    """Return how weights and optimizer are kept: "ddp" (one process too), or "zero0" to "zero3"."""
    if zero_stage(engine.accelerator) is None:
        return "ddp"
    return f"zero{zero_stage(engine.accelerator)}"


def save_states(folder: Path, engine) -> list[str]:
    """Write weights, optimizer and every rank's random states into `folder`; every rank calls it.

    Returns what went wrong on this rank's disk.
    """
    faults: list[str] = []
    if zero_stage(engine.accelerator) is not None:
        with _careful(engine.model, faults):
            engine.model.save_checkpoint(str(folder), SHARDS, save_latest=False)
    elif is_main():
        state = {"model": engine.module.state_dict(), "optimizer": engine.optimizer.state_dict()}
        _write(state, folder / STATE, faults)
    _write(random_states(), folder / f"random-{rank()}.pt", faults)
    return faults


def load_states(folder: Path, engine) -> None:
    """Put weights and optimizer back as they were saved, by the same parallelism and, under ZeRO 1 to 3, world size."""
    if zero_stage(engine.accelerator) is None:
        state = torch.load(folder / STATE, map_location="cpu", weights_only=True)
        _fit(engine.module, state["model"], folder)
        engine.module.load_state_dict(state["model"])
        engine.optimizer.load_state_dict(state["optimizer"])
    elif engine.model.load_checkpoint(str(folder), SHARDS)[0] is None:
        raise InputError(f"{folder}: DeepSpeed finds no checkpoint there; remove the folder to take the one before.")


def _fit(module: torch.nn.Module, saved: dict[str, torch.Tensor], folder: Path) -> None:
    """Raise InputError where a checkpoint's weights are those of another encoder."""
    own = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    other = {name: tuple(value.shape) for name, value in saved.items()}
    if changed := sorted(name for name in own.keys() | other.keys() if own.get(name) != other.get(name)):
        raise InputError(
            f"--resume: {folder} holds the weights of another encoder than model.* describes ({changed[0]} has the "
            f"shape {other.get(changed[0])}, not {own.get(changed[0])}); set model.* back, or start another run with "
            "--training.name."
        )


def random_states() -> dict[str, Any]:
    """Return the states of Python's, numpy's and torch's generators."""
    states = {"python": random.getstate(), "numpy": np.random.get_state(), "torch": torch.get_rng_state()}
    return states | ({"cuda": torch.cuda.get_rng_state()} if torch.cuda.is_available() else {})


def set_random_states(states: dict[str, Any]) -> None:
    """Go on from `random_states`."""
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])
    torch.set_rng_state(states["torch"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])


def load_random_states(folder: Path, world_size: int, seed: int, step: int) -> dict[str, Any]:
    """Return this rank's random states of a checkpoint; new ones by seed, step and rank for another world size."""
    if len(list(folder.glob("random-*.pt"))) == world_size:
        return torch.load(folder / f"random-{rank()}.pt", weights_only=False)
    states = random_states()
    fresh = int(np.random.SeedSequence([seed, step, rank()]).generate_state(1)[0])
    devices = [("torch", "cpu"), *([("cuda", "cuda")] if "cuda" in states else [])]
    return states | {name: torch.Generator(device).manual_seed(fresh).get_state() for name, device in devices}


def _write(value: Any, path: Path, faults: list[str]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Through Python's file, which says what is wrong; torch's own writer hides it.
        with open(path, "wb") as file:
            torch.save(value, file)
            # By the rank that wrote it: the main one may be on another machine, whose flush does nothing for this one.
            file.flush()
            os.fsync(file.fileno())
    except (OSError, RuntimeError) as error:
        faults.append(f"{path.name}: {_cause(error)}")


def _cause(error: BaseException) -> str:
    """Return what the disk said; torch's writer raises its own error over it."""
    first = error
    while first.__context__ is not None:
        first = first.__context__
    return getattr(first, "strerror", None) or str(error).strip().splitlines()[0]


@contextmanager
def _careful(engine, faults: list[str]):
    """Let DeepSpeed's save come to its end on every rank, whatever this rank's disk says."""
    writer = engine.checkpoint_engine
    usual = writer.save, writer.makedirs, engine._copy_recovery_script
    writer.save = lambda state_dict, path: _write(state_dict, Path(path), faults)
    writer.makedirs = lambda *_, **__: None
    engine._copy_recovery_script = lambda *_: None
    try:
        yield
    finally:
        writer.save, writer.makedirs, engine._copy_recovery_script = usual
