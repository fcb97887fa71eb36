"""Started by accelerate: a few engine steps of each configuration. Arguments: output, JSON of them, world size."""

import json
import sys

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from hybrid.training import gather
from hybrid.training.config import ObjectiveConfig, TrainingConfig
from hybrid.training.engine import Engine
from tests.training.toy import toy_batch, toy_encoder


def run(options: dict, world: int) -> dict:
    """Do the steps of one configuration; returns gradients of every step, last weights and losses."""
    AcceleratorState._reset_state(reset_partial_state=False)
    accelerator = Accelerator(mixed_precision=options.get("mixed_precision", "no"))
    assert accelerator.num_processes == world, accelerator.num_processes
    objective = ObjectiveConfig(temperature=0.2, **options.get("objective", {}))
    config = TrainingConfig(steps=8, learning_rate=1e-3, **options.get("training", {}))
    engine = Engine(toy_encoder(chunk_tokens=options.get("chunk_tokens", 16384)), objective, config, accelerator)
    right = gather._Gather.backward
    if options.get("detached_gather"):
        gather._Gather.backward = staticmethod(lambda ctx, g: (g[ctx.start : ctx.stop], None, None))
    gradients, losses = [], []

    def keep(*_):
        named = engine.module.named_parameters()
        gradients.append({name: p.grad.clone() for name, p in named if p.grad is not None})

    engine.optimizer.optimizer.register_step_pre_hook(keep)
    for step in range(3):
        batch = toy_batch(step, 12, accelerator.process_index, world, negatives=options.get("negatives", False))
        result = engine.step(batch, step)
        losses.append(float(accelerator.reduce(result.loss, "mean")))
    gather._Gather.backward = right
    weights = {name: value.detach() for name, value in engine.module.state_dict().items()}
    return {"gradients": gradients, "weights": weights, "losses": losses}


def main(out: str, design: dict[str, dict], world: int) -> None:
    results = {name: run(options, world) for name, options in design.items()}
    if Accelerator().is_main_process:
        torch.save(results, out)


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3]))
