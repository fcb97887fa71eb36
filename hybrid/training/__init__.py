"""Objectives, gradients across ranks, the engine, checkpoints and the training loop."""

from hybrid.training.config import ObjectiveConfig, TrainingConfig

__all__ = ["ObjectiveConfig", "TrainingConfig"]
