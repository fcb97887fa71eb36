"""AdamW's parameter groups and the learning rate as a pure function of the step."""

import math

import torch
from torch import Tensor, nn

from hybrid.training.config import TrainingConfig


def make_optimizer(module: nn.Module, config: TrainingConfig) -> torch.optim.AdamW:
    """Return AdamW over the trainable parameters; vectors and scalars (biases, norms, temperature) do not decay."""
    trainable = [p for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trainable if decays(p)], "weight_decay": config.weight_decay},
        {"params": [p for p in trainable if not decays(p)], "weight_decay": 0.0},
    ]
    # torch's one kernel: a tenth of the time of its loop over operations on a CPU, and no copies as large as weights.
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=config.learning_rate, fused=True)


def decays(parameter: Tensor) -> bool:
    """Return whether a parameter has weight decay. One that ZeRO-3 has spread already is told by its whole shape."""
    return len(getattr(parameter, "ds_shape", parameter.shape)) > 1


def learning_rate(step: int, config: TrainingConfig) -> float:
    """Return the rate of a step, counted from 0: linear warm-up, then linear or cosine decay to 0, or none."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    done = (step - config.warmup_steps) / (config.steps - config.warmup_steps)
    factor = {"linear": 1 - done, "cosine": (1 + math.cos(math.pi * done)) / 2, "none": 1.0}[config.decay]
    return config.learning_rate * factor
