"""Started by accelerate: whole loops under several parallelisms, with faults, from one checkpoint to another.

Arguments: folder, world size W, JSON list of "ddp", "zero1" ..., JSON list of tasks: "run", "exact" (gradient cache and
dropout), "stopped" (asked to stop in an evaluation), or the world size whose runs are to be gone on with. Writes
folder/W-TASK.json.
"""

import hashlib
import json
import os
import resource
import shutil
import sys
from pathlib import Path

from accelerate.state import AcceleratorState

from hybrid.runtime import processes
from hybrid.runtime.interruption import run_to_end
from hybrid.runtime.launch import start
from hybrid.runtime.processes import (
    Interrupted,
    ask_to_stop,
    barrier,
    gather_objects,
    is_main,
    on_main,
    rank,
    world_size,
)
from hybrid.runtime.tracking import Tracker, TrackingConfig
from hybrid.training.config import ObjectiveConfig, TrainingConfig
from hybrid.training.engine import Engine
from hybrid.training.loop import Hooks, Loop
from hybrid.training.realised import Realised
from hybrid.training.states import parallelism
from tests.training.toy import ragged, toy_batch, toy_encoder

PAIRS, STEPS, CHANGE = 12, 13, 2
DISK_FULL = 4
"""The checkpoint after this step finds no room, on the last rank alone."""


class ToySampler:
    """The steps of toy batches."""

    start = 0

    def state_dict(self, step: int) -> dict:
        return {"step": step}

    def load_state_dict(self, state: dict) -> None:
        self.start = state["step"]

    def __iter__(self):
        return (toy_batch(step, PAIRS, rank(), world_size(), negatives=True) for step in range(self.start, STEPS))


def make_loop(kind: str, folder: Path, options: dict) -> tuple[Loop, ToySampler]:
    """Return a loop under a parallelism, after a look at the one it really has."""
    AcceleratorState._reset_state(reset_partial_state=True)
    os.environ.pop("ACCELERATE_USE_DEEPSPEED", None)
    if kind != "ddp":
        os.environ["ACCELERATE_USE_DEEPSPEED"] = "true"
        os.environ["ACCELERATE_DEEPSPEED_CONFIG_FILE"] = f"ds_configs/{kind}.json"
    training = {"checkpoint_every": 2, "keep_last": 99, "log_every": 99, "evaluate_every": 5}
    config = TrainingConfig(
        steps=STEPS, learning_rate=1e-3, global_batch=PAIRS, **training, **options.get("training", {})
    )
    objective = ObjectiveConfig(temperature=0.2, learn_temperature=True)
    encoder = toy_encoder(dropout=options.get("dropout", 0.0))
    # Frozen and trained weights side by side: ZeRO keeps them in other places of a checkpoint.
    encoder.backbone.embeddings.token_type_embeddings.requires_grad_(False)
    engine = Engine(encoder, objective, config, start(config.precision, seed=1, deterministic=True))
    assert (parallelism(engine), world_size()) == (kind, int(sys.argv[2]))
    sampler = ToySampler()
    hooks = Hooks(evaluate=uneven_evaluation, state=lambda step: {"sampler": sampler.state_dict(step)})
    tracker = Tracker(folder, "toy", TrackingConfig(enabled=False))
    return Loop(config, engine, hooks, Realised(["toy"]), folder, tracker), sampler


def uneven_evaluation(encoder, step: int) -> dict[str, float]:
    """Encode other numbers of texts on each rank; the last one has the most."""
    import numpy as np
    import torch

    encoder.eval()
    with torch.no_grad():
        vectors = [encoder(ragged(np.random.default_rng(number), 3)) for number in range(2 * rank() + 1)]
    torch.rand(rank() + 1)  # numbers that the next step must not miss
    return {"norm": float(vectors[0].norm())}


def note_losses(loop: Loop) -> list[float]:
    """Return a list that gets the loss of every step."""
    losses, step = [], loop.engine.step

    def noted(batch, number):
        result = step(batch, number)
        losses.append(sum(gather_objects(float(result.loss))) / world_size())
        return result

    loop.engine.step = noted
    return losses


def fill_disk_once(loop: Loop) -> None:
    """Leave no room for one checkpoint, on the last rank."""
    save = loop.save

    def without_room():
        full = loop.progress.step == DISK_FULL and rank() == world_size() - 1
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000 if full else limits[0], limits[1]))
        save()
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    loop.save = without_room


def fingerprint(loop: Loop) -> str:
    """Return a digest of all weights."""
    state = loop.engine.accelerator.get_state_dict(loop.engine.model) or {}
    parts = b"".join(state[name].detach().float().cpu().numpy().tobytes() for name in sorted(state))
    return gather_objects(hashlib.sha256(parts).hexdigest())[0]


def damage(checkpoints: Path) -> None:
    """Flip a bit of the newest checkpoint, cut a file of the one before, and remove a file of the third."""
    flipped, cut, missing = (checkpoints / f"step-{step}" for step in (STEPS, 12, 10))
    largest = [max(folder.rglob("*.pt"), key=lambda file: file.stat().st_size) for folder in (flipped, cut, missing)]
    content = bytearray(largest[0].read_bytes())
    content[len(content) // 2] ^= 1
    largest[0].write_bytes(content)
    os.truncate(largest[1], largest[1].stat().st_size - 1)
    largest[2].unlink()


def run(kind: str, folder: Path, options: dict) -> dict:
    """A run without interruption but for the full disk, and one that goes on from its newest whole checkpoint."""
    loop, sampler = make_loop(kind, folder, options)
    losses = note_losses(loop)
    fill_disk_once(loop)
    loop.run(sampler)
    whole = {"losses": losses, "weights": fingerprint(loop), "steps": sorted(os.listdir(loop.checkpoints))}
    on_main(lambda: damage(loop.checkpoints))
    loop, sampler = make_loop(kind, folder, options)
    loop.resume(sampler)
    found = loop.progress.step
    losses = note_losses(loop)
    loop.run(sampler)
    return whole | {"resumed": {"step": found, "losses": losses, "weights": fingerprint(loop)}}


def stopped(kind: str, folder: Path) -> dict:
    """A run that one rank asks to stop while all are in an evaluation, and one that goes on from what it has saved."""
    loop, sampler = make_loop(kind, folder, {})
    evaluate = loop.hooks.evaluate

    def asked(encoder, step: int) -> dict[str, float]:
        evaluate(encoder, step)
        if rank() == world_size() - 1:
            ask_to_stop("test")
        barrier()
        raise AssertionError("nobody has stopped")

    loop.hooks.evaluate = asked
    try:
        loop.run(sampler)
    except Interrupted:
        loop.save()
    processes._Stop.reason = None
    loop, sampler = make_loop(kind, folder, {})
    loop.resume(sampler)
    found = loop.progress.step
    loop.run(sampler)
    return {"step": found, "weights": fingerprint(loop)}


def go_on(kind: str, source: Path, folder: Path) -> dict:
    """Go on from an early checkpoint of another world size."""
    on_main(lambda: shutil.copytree(source / f"step-{CHANGE}", folder / "checkpoints" / f"step-{CHANGE}"))
    loop, sampler = make_loop(kind, folder, {})
    zero = getattr(loop.engine.model, "optimizer", None)
    clip = getattr(zero, "clip_grad", None)
    if zero:
        zero.clip_grad = 7.0
    loop.resume(sampler)
    assert loop.progress.step == CHANGE
    if zero:
        assert zero.clip_grad == 7.0
        zero.clip_grad = clip
    losses = note_losses(loop)
    groups = [group["weight_decay"] for group in loop.engine.optimizer.param_groups]
    loop.run(sampler)
    return {"losses": losses, "decay": groups, "left": [path.name for path in (folder / "checkpoints").glob(".*")]}


def main(folder: Path, world: int, kinds: list[str], tasks: list) -> None:
    for task in tasks:
        found = {}
        for kind in kinds:
            if task == "run":
                found[kind] = run(kind, folder / f"{kind}-{world}", {})
            elif task == "exact":
                options = {"dropout": 0.1, "training": {"cache_tokens": 60}}
                found[kind] = run(kind, folder / f"{kind}-exact", options)
            elif task == "stopped":
                found[kind] = stopped(kind, folder / f"{kind}-stopped")
            else:
                checkpoints = folder / f"{kind}-{task}" / "checkpoints"
                found[kind] = go_on(kind, checkpoints, folder / f"{kind}-{task}-{world}")
        if is_main():
            (folder / f"{world}-{task}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    run_to_end(main, Path(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3]), json.loads(sys.argv[4]))
