"""Started by accelerate: engine steps of each configuration, once a parallelism.

Arguments: output, JSON {parallelism: {name: configuration}}, world size. A parallelism is "ddp" or one of ds_configs/.
"""

import json
import os
import sys
from contextlib import nullcontext
from datetime import timedelta
from unittest import mock

import torch
import torch.distributed as group
from accelerate.state import AcceleratorState

from hybrid.runtime.errors import InputError
from hybrid.runtime.interruption import run_to_end
from hybrid.runtime.launch import start
from hybrid.runtime.processes import gather_objects, is_main, rank, world_size
from hybrid.training import gather
from hybrid.training.config import ObjectiveConfig, TrainingConfig
from hybrid.training.engine import Engine
from hybrid.training.objective import Loss
from hybrid.training.observe import moment, trained, weight
from hybrid.training.zero import load_whole_models
from tests.training.held import held
from tests.training.toy import toy_batch, toy_encoder

PAIRS = 12
STALL_SECONDS = 500.0
KNOWN = ("objective", "training", "encoder", "negatives", "gather", "steps", "left_out", "spoilt")
REDUCTIONS = ("all_reduce", "reduce", "reduce_scatter", "reduce_scatter_tensor", "all_to_all_single")
SPOILT = 1
"""The step in which the last rank's loss or gradient is not finite, where that is asked for."""


def without(ctx, gradient):
    """Leave out what the other ranks have for this rank's rows."""
    return gradient[ctx.start : ctx.stop], None, None


def scaled(ctx, gradient):
    """Be off by the world size."""
    gradient = gradient.contiguous()
    group.all_reduce(gradient)
    return gradient[ctx.start : ctx.stop] * group.get_world_size(), None, None


GATHERS = {"detached": without, "scaled": scaled}


def wrong_gather(name: str | None):
    """Return a context in which the gather has a wrong backward pass."""
    if not name:
        return nullcontext()
    return mock.patch.object(gather._Gather, "backward", staticmethod(GATHERS[name]))


def make_engine(options: dict, world: int, parallelism: str) -> Engine:
    """Return the engine of one configuration, after a look at the processes and the stage that it really has."""
    assert set(options) <= set(KNOWN), options
    AcceleratorState._reset_state(reset_partial_state=False)
    if parallelism != "ddp":
        os.environ["ACCELERATE_DEEPSPEED_CONFIG_FILE"] = f"ds_configs/{parallelism}.json"
    objective = ObjectiveConfig(temperature=0.2, **options.get("objective", {}))
    settings = {"steps": 8, "learning_rate": 1e-3, "global_batch": PAIRS} | options.get("training", {})
    config = TrainingConfig(**settings)
    accelerator = start(config.precision, stall_seconds=STALL_SECONDS)
    engine = Engine(toy_encoder(**options.get("encoder", {})), objective, config, accelerator)
    assert accelerator.num_processes == world
    if parallelism == "ddp":
        assert engine.stage is None
    else:
        assert engine.model.zero_optimization_stage() == engine.stage == int(parallelism.split("_")[0][-1])
        from deepspeed.utils import groups

        own = groups._get_data_parallel_group()._get_backend(torch.device("cpu"))
        assert world == 1 or own.options._timeout == timedelta(seconds=2 * STALL_SECONDS), own.options._timeout
        load_whole_models()
    return engine


class Watch:
    """Counts what is reduced over the ranks, sees the vectors of each pass, and spoils a step."""

    reduced = 0
    """Floating-point numbers that were given to a reduction."""

    def __init__(self, engine: Engine, spoilt: str | None):
        self.engine, self.spoilt = engine, spoilt
        self.step = 0
        self.passes: list[torch.Tensor] = []
        self.held: dict[str, int] = {}
        engine.module.register_forward_hook(self._seen)
        objective = engine.objective
        engine.objective = lambda vectors, batch: self._loss(objective(vectors, batch))
        if engine.stage is None and world_size() > 1:
            engine.model.register_comm_hook(None, self._ddp)
        if engine.stage:
            zero = engine.model.optimizer
            # Where buckets are full, and after a backward pass: gradients are what is left then.
            for place, name in ((zero, "independent_gradient_partition_epilogue"), (engine, "_backward")):
                setattr(place, name, self._held_around(getattr(place, name)))

    @classmethod
    def counted(cls, reduction):
        """Return a reduction of torch.distributed that counts."""

        def call(*arguments, **options):
            tensors = [value for value in [*arguments, *options.values()] if torch.is_tensor(value)]
            cls.reduced += max((value.numel() for value in tensors if value.is_floating_point()), default=0)
            return reduction(*arguments, **options)

        return call

    def _ddp(self, state, bucket):
        # The reduction that DDP does where nothing can be counted.
        return (
            group.all_reduce(bucket.buffer() / group.get_world_size(), async_op=True)
            .get_future()
            .then(lambda done: done.value()[0])
        )

    def _held_around(self, usual):
        def call(*arguments):
            before = held(self.engine)
            result = usual(*arguments)
            for found in (before, held(self.engine)):
                self.held = {key: max(size, self.held.get(key, 0)) for key, size in found.items()}
            return result

        return call

    def _hit(self, what: str) -> bool:
        return self.spoilt == what and self.step == SPOILT and rank() == world_size() - 1

    def _seen(self, module, tokens, vectors):
        self.passes.append(vectors.detach().clone())
        if vectors.requires_grad and self._hit("gradient"):
            vectors.register_hook(lambda gradient: gradient * float("inf"))

    def _loss(self, loss: Loss) -> Loss:
        # A constant: the gradient stays finite.
        return Loss(loss.value + float("inf"), loss.accuracy) if self._hit("loss") else loss


def run(options: dict, world: int, parallelism: str) -> dict:
    """Do the steps of one configuration; returns what the optimizer was given and did, and what was seen on the way."""
    engine = make_engine(options, world, parallelism)
    accelerator, watch = engine.accelerator, Watch(engine, options.get("spoilt"))
    seen = {"losses": [], "norms": [], "skipped": [], "reduced": [], "passes": []}
    with wrong_gather(options.get("gather")):
        for step in range(options.get("steps", 2)):
            if step in options.get("left_out", []):
                continue
            batch = toy_batch(step, PAIRS, accelerator.process_index, world, negatives=options.get("negatives", False))
            watch.step, watch.passes, Watch.reduced = step, [], 0
            result = engine.step(batch, step)
            seen["reduced"].append(Watch.reduced)
            seen["passes"].append(watch.passes)
            seen["skipped"].append(gather_objects(result.skipped))
            seen["losses"].append(float(accelerator.reduce(result.loss, "mean")))
            seen["norms"].append(float(result.gradient_norm))
            if not step:
                seen["gradient"] = {name: 10 * moment(engine, p, "exp_avg") for name, p in trained(engine).items()}
    seen["held"] = gather_objects(watch.held)
    inner = getattr(engine.optimizer.optimizer, "optimizer", engine.optimizer.optimizer)
    states = [value for state in inner.state.values() for value in state.values()]
    seen["state_types"] = sorted({str(value.dtype) for value in states if torch.is_tensor(value)})
    return seen | {"weights": {name: weight(engine, value) for name, value in trained(engine).items()}}


def main(out: str, designs: dict[str, dict[str, dict]], world: int) -> None:
    """Run the configurations of each parallelism and save what they gave; a refused one gives the sentence."""
    for name in REDUCTIONS:
        setattr(group, name, Watch.counted(getattr(group, name)))
    results = {}
    for parallelism, design in designs.items():
        found = results[parallelism] = {}
        for name, options in design.items():
            try:
                found[name] = run(options, world, parallelism)
            except InputError as error:
                found[name] = {"refused": str(error)}
    if is_main():
        torch.save(results, out)


if __name__ == "__main__":
    run_to_end(main, sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3]))
