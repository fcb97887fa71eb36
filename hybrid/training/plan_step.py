"""A step of a recipe on W ranks, before anything is paid for: bytes, what fits, seconds."""

import math
from dataclasses import dataclass
from functools import cache

import torch

from hybrid.config import Config
from hybrid.models.encoder import CHUNK_TOKENS
from hybrid.training.plan_encoder import Anatomy, Saved, anatomy, saved
from hybrid.training.plan_memory import Layout, States, states, vector_bytes

MARGIN = 0.92
"""Part of a GPU's memory that a plan fills: CUDA's context and fragments take the rest."""


KEPT_ALIVE = 1e9
"""Weights that ZeRO-3 keeps gathered (stage3_max_live_parameters, stage3_max_reuse_distance)."""


@dataclass(frozen=True)
class Machine:
    """What the plan is for."""

    gpus: int
    """W, of all nodes."""
    memory: float
    """Bytes of a GPU."""
    peak: float
    """Operations per second of a GPU."""
    mfu: float
    """The part of them that training reaches."""
    bandwidth: float
    """Bytes per second that a GPU sends to the others, and receives."""
    host_bandwidth: float = 20e9
    """Bytes per second between a GPU and its host's memory."""


@dataclass(frozen=True)
class Lengths:
    """Tokens of a query and of a passage."""

    query: int
    passage: int


@dataclass
class Prediction:
    """A layout's step, of one rank."""

    layout: Layout
    states: States
    activations: float
    """What a forward pass keeps, bf16 copies of weights and the layer at work included."""
    vectors: float
    rows: int
    """Largest number of rows of a rank without gradient cache; 0 where none fits."""
    cache_tokens: int
    """Largest chunk with gradient cache; 0 where none fits."""
    seconds: float
    uses_cache: bool

    @property
    def total(self) -> float:
        return self.states.device + self.activations + self.vectors


class Planner:
    """Predicts layouts for one recipe and machine."""

    def __init__(self, config: Config, machine: Machine, lengths: Lengths):
        self.config, self.machine, self.lengths = config, machine, lengths
        self.sizes: Anatomy = anatomy(config.model)
        self.rows = config.training.global_batch // machine.gpus
        self.passages = 1 + config.data.hard_negatives
        """Passages of a row."""
        self._saved = cache(self._saved_at)

    def predict(self, layout: Layout) -> Prediction:
        """Return bytes, limits and seconds of a layout, with the gradient cache where the recipe has it."""
        training, gpus = self.config.training, self.machine.gpus
        plain, cached = (states(layout, self.sizes, gpus, training.precision, each) for each in (False, True))
        vectors = self._vectors(self.rows)
        fixed = self._keep(layout, "passage").fixed
        free = MARGIN * self.machine.memory - fixed
        chunk = int((free - cached.device - vectors) / (self._token(layout) * self._backward(layout)))
        tokens = training.cache_tokens or self.rows * self._row_tokens()
        return Prediction(
            layout=layout,
            states=cached if training.cache_tokens else plain,
            activations=fixed
            + min(tokens, self.rows * self._row_tokens()) * self._token(layout) * self._backward(layout),
            vectors=vectors,
            rows=self._largest(layout, free - plain.device),
            cache_tokens=max(0, chunk),
            seconds=self.seconds(layout, training.cache_tokens),
            uses_cache=bool(training.cache_tokens),
        )

    def seconds(self, layout: Layout, chunk: int | None) -> float:
        """Return a step's seconds: products at the stated MFU or communication, the longer, and the host's transfers.

        A gradient cache and activation checkpointing do one forward pass more, each.

        Args:
            chunk: tokens of a chunk of the gradient cache, None without it; the recipe may have another.
        """
        compute = self.operations(chunk is not None) / (self.machine.peak * self.machine.mfu)
        gpus, training = self.machine.gpus, self.config.training
        tokens = training.global_batch * self._row_tokens()
        passes = gathers(self.config, self.sizes, self.rows * self._row_tokens(), chunk)
        traffic = communication(layout, self.sizes, gpus, training.precision, tokens, passes)
        host = 0.0
        if layout.offload_optimizer:
            width = 2 if self.config.training.precision == "bf16" else 4
            host += 2 * width * self.sizes.trained / self.machine.gpus / self.machine.host_bandwidth
        if layout.offload_parameters:
            host += 2 * 2 * self.sizes.entries / self.machine.gpus / self.machine.host_bandwidth
        return max(compute, traffic / self.machine.bandwidth) + host

    def operations(self, cached: bool) -> float:
        """Return the operations of a rank's step, those that are done again included."""
        query, passage = self.lengths.query, self.lengths.passage
        texts = torch.tensor([query, *[passage] * self.passages])
        again = self.sizes.costs.forward(texts) * (cached + self.config.training.activation_checkpointing)
        scores = self.sizes.costs.scores(self.rows, self.rows * self.passages * self.machine.gpus)
        return self.rows * (self.sizes.costs.training(texts) + again) + scores

    def _largest(self, layout: Layout, free: float) -> int:
        """Return how many rows fit: activations grow with them, scores with their square."""
        row = self._row_tokens() * self._token(layout) * self._backward(layout)
        low, high = 0, max(1, int(free / row)) + 1
        while low + 1 < high:
            middle = (low + high) // 2
            low, high = (middle, high) if middle * row + self._vectors(middle) <= free else (low, middle)
        return low

    def _vectors(self, rows: int) -> float:
        return vector_bytes(rows, rows * self.passages, self.machine.gpus, self.sizes.costs.dimensions)

    def _row_tokens(self) -> int:
        return self.lengths.query + self.passages * self.lengths.passage

    def _token(self, layout: Layout) -> float:
        """Return the bytes that a row keeps for a token of it, on average."""
        query, passage = self._keep(layout, "query").text, self._keep(layout, "passage").text
        return (query + self.passages * passage) / self._row_tokens()

    def _backward(self, layout: Layout) -> float:
        """Return a pass's peak by what it keeps: gradients of about a quarter of a layer are at work."""
        kept = self._keep(layout, "passage")
        return 1 + kept.layer / 4 / kept.text

    def _keep(self, layout: Layout, side: str) -> Saved:
        precision = self.config.training.precision
        if precision == "bf16":
            precision = "autocast" if layout.stage is None else "bf16"
        return self._saved(getattr(self.lengths, side), precision)

    def _saved_at(self, length: int, precision: str) -> Saved:
        return saved(self.config.model, length, precision, self.config.training.activation_checkpointing)


def gathers(config: Config, sizes: Anatomy, tokens: float, chunk: int | None) -> int:
    """Return how often ZeRO-3 gathers all weights in a rank's step of so many tokens.

    In both passes; of weights that it does not keep alive, in those of every chunk, and in those that are done again.

    Args:
        chunk: tokens of a chunk of the gradient cache, None without it.
    """
    if sizes.entries <= KEPT_ALIVE:
        return 2
    budget = min(config.model.chunk_tokens or CHUNK_TOKENS["cuda"], chunk or math.inf)
    return math.ceil(tokens / budget) * (2 + (chunk is not None) + config.training.activation_checkpointing)


def communication(layout: Layout, sizes: Anatomy, world: int, precision: str, tokens: float, passes: int = 2) -> float:
    """Return the bytes that a rank sends in a step (Rajbhandari et al. 2020, section 7).

    All-reduce of gradients is twice their size (under DDP of the rows that occur of the token embeddings, a row for
    each of the global batch's `tokens` at most); ZeRO-1 and 2 scatter gradients and gather what was trained; ZeRO-3
    gathers all weights in each of `passes` and scatters gradients.
    """
    if world == 1:
        return 0.0
    if layout.stage is None:
        sent = 2 * (sizes.trained - sizes.rows + min(float(sizes.rows), tokens * sizes.hidden))
        return 4 * sent * (world - 1) / world
    gathered = passes * sizes.entries if layout.stage == 3 else sizes.trained
    return (4 if precision == "fp32" else 2) * (sizes.trained + gathered) * (world - 1) / world
