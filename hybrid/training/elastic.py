"""Going on with another number of processes than a checkpoint was written by."""

import contextlib
import io
import shutil
from argparse import Namespace
from pathlib import Path

from torch import Tensor

from hybrid.runtime.errors import InputError
from hybrid.runtime.logs import log
from hybrid.runtime.processes import gather_objects, on_main, world_size
from hybrid.training.states import SHARDS, load_states, parallelism


def load_any_states(checkpoint: Path, engine, saved: dict) -> None:
    """Put weights and optimizer back, whatever the world size they were saved with; every rank calls it.

    Args:
        saved: the checkpoint's "parallelism" and "world_size".

    What the recipe says of weight decay and clipping stays the recipe's: a checkpoint brings its own along.

    Raises InputError where the parallelism is another: what a ZeRO stage adds up in which order is its own, so the run
    would not be the same.
    """
    own = [_settings(group) for group in engine.optimizer.param_groups]
    zero = getattr(engine.model, "optimizer", None)
    clip = getattr(zero, "clip_grad", None)
    _load_any_states(checkpoint, engine, saved)
    for group, settings in zip(engine.optimizer.param_groups, own, strict=True):
        group.update(settings)
    if clip is not None:
        zero.clip_grad = clip


def _load_any_states(checkpoint: Path, engine, saved: dict) -> None:
    now, old, count = parallelism(engine), saved["parallelism"], saved["world_size"]
    if now != old:
        raise InputError(
            f"{checkpoint}: was written under {old} and this job runs under {now}; resume under {old}, or start a new "
            f"run from {checkpoint.parents[1] / 'model'} if it is there."
        )
    if count == world_size():
        return load_states(checkpoint, engine)
    log(
        f"{checkpoint} was written by {count} processes, this job has {world_size()}: batches, learning rate and "
        "optimizer continue exactly; sums are rounded in another order, and dropout draws other masks."
    )
    if old in ("ddp", "zero0"):
        return load_states(checkpoint, engine)
    _check_parts(checkpoint, engine, count)
    universal = checkpoint.parent / f".universal-{checkpoint.name}"
    on_main(lambda: _convert(checkpoint / SHARDS, universal / SHARDS))
    try:
        _load_universal(universal, engine)
    finally:
        on_main(lambda: shutil.rmtree(universal, ignore_errors=True))


def _check_parts(checkpoint: Path, engine, count: int) -> None:
    """Raise InputError, on every rank, where one would hold no part of a group of weights: DeepSpeed cannot load that.

    It is so under ZeRO-1 and 2 where the temperature alone has no decay, which is one number (LoRA).
    """
    groups = getattr(engine.model.optimizer, "bit16_groups", [])
    without = any(all(weight._hp_mapping is None for weight in group) for group in groups)
    if any(gather_objects(without)):
        raise InputError(
            f"{checkpoint}: was written by {count} processes, and DeepSpeed cannot go on with {world_size()}, which "
            f"would not all hold a part of each group of weights; resume with {count}."
        )


def _settings(group: dict) -> dict:
    return {key: value for key, value in group.items() if key != "params"}


def _convert(shards: Path, universal: Path) -> None:
    """Write DeepSpeed's universal checkpoint, a file per parameter and state, from the shards of all ranks."""
    from deepspeed.checkpoint import ds_to_universal

    shutil.rmtree(universal.parent, ignore_errors=True)
    universal.mkdir(parents=True)
    settings = Namespace(
        input_folder=str(shards),
        output_folder=str(universal),
        num_extract_workers=1,
        num_merge_workers=1,
        keep_temp_folder=False,
        strict=True,
        inject_missing_state=True,
    )
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        ds_to_universal.main(settings)


def _load_universal(universal: Path, engine) -> None:
    engine.model._config.load_universal_checkpoint = True
    try:
        engine.model.load_checkpoint(str(universal), SHARDS)
    finally:
        engine.model._config.load_universal_checkpoint = False
    # DeepSpeed's ZeRO-3 gives every group one and the same tensor for the number of steps, which each then counts up,
    # and every stage leaves it on the CPU, where AdamW's kernel of a GPU does not take it.
    for weights, state in engine.model.optimizer.optimizer.state.items():
        if isinstance(state.get("step"), Tensor):
            state["step"] = state["step"].to(weights.device, copy=True)
