"""Hybrid batches with exact ratios: the rows of every step are known in advance and computed, not stored."""

from hybrid.sampling.config import MixtureConfig, MixtureError
from hybrid.sampling.layout import Layout
from hybrid.sampling.mixture import Mixture
from hybrid.sampling.sampler import HybridBatchSampler, Rows, lanes_of

__all__ = ["HybridBatchSampler", "Layout", "Mixture", "MixtureConfig", "MixtureError", "Rows", "lanes_of"]
