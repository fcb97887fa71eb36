"""What a rank's step has to compute, move through memory and send: the terms of its lower bound.

Williams et al. 2009, "Roofline": a term takes at least its operations at the machine's rate of matrix products, or its
bytes at the rate of its memory, whichever is longer. Terms follow each other; sending overlaps with them at best.
"""

from dataclasses import dataclass

import torch

from hybrid.config import Config
from hybrid.training.plan_encoder import Anatomy, anatomy, saved
from hybrid.training.plan_memory import Layout
from hybrid.training.plan_step import Lengths, communication, gathers


@dataclass(frozen=True)
class Term:
    """One part of a step."""

    name: str
    operations: float = 0.0
    moved: float = 0.0
    """Bytes to and from memory, at least."""
    sent: float = 0.0
    """Bytes to other ranks."""


@dataclass(frozen=True)
class Rates:
    """What one rank's machine does per second."""

    operations: float
    """Of matrix products, in the recipe's precision."""
    memory: float
    """Bytes read and written."""
    link: float
    """Bytes sent to other ranks."""

    def seconds(self, term: Term) -> float:
        """Return the least time of a term."""
        return max(term.operations / self.operations, term.moved / self.memory, term.sent / self.link)

    def bound(self, terms: list[Term]) -> float:
        """Return the least time of a step: its terms one after the other, or its sending, which overlaps with them."""
        sent = sum(self.seconds(term) for term in terms if term.sent)
        return max(sent, sum(self.seconds(term) for term in terms if not term.sent))


def terms(config: Config, world: int, lengths: Lengths, layout: Layout) -> list[Term]:
    """Return the terms of one rank's step.

    Args:
        config: the recipe.
        world: W ranks that share its global batch.
        lengths: tokens of a query and of a passage, on average.
        layout: DDP or a ZeRO stage.
    """
    sizes, training = anatomy(config.model), config.training
    rows, passages = training.global_batch // world, 1 + config.data.hard_negatives
    texts = torch.tensor([lengths.query, *[lengths.passage] * passages])
    count, tokens = sizes.costs, rows * float(texts.sum())
    part = sizes.projections / count.matrices
    trained = count.trained / count.matrices
    products = 2.0 * count.matrices * tokens * (2 + trained)
    again = bool(training.cache_tokens) + training.activation_checkpointing
    passes = gathers(config, sizes, tokens, training.cache_tokens)
    sent = communication(layout, sizes, world, training.precision, tokens * world, passes)
    found = [
        Term("attention: scores and sums", rows * 12.0 * count.attention * float((texts.double() ** 2).sum())),
        Term("attention: projections", products * part),
        Term("feed-forward", products * (1 - part)),
        Term("loss: scores", count.scores(rows, rows * passages * world)),
        Term("activations, written and read", moved=2 * _activations(config, lengths, rows, passages, layout)),
        Term("embeddings", moved=_embeddings(sizes, layout, tokens)),
        *_updates(config, sizes, world, layout, tokens),
        Term(f"communication ({layout.name})", sent=sent),
    ]
    if again:
        found.insert(3, Term("forward passes done again", again * rows * count.forward(texts)))
    return [term for term in found if term.operations or term.moved or term.sent]


def _activations(config: Config, lengths: Lengths, rows: int, passages: int, layout: Layout) -> float:
    precision = config.training.precision
    if precision == "bf16":
        precision = "autocast" if layout.stage is None else "bf16"
    query, passage = (saved(config.model, length, precision, False) for length in (lengths.query, lengths.passage))
    return rows * (query.text + passages * passage.text)


def _embeddings(sizes: Anatomy, layout: Layout, tokens: float) -> float:
    """Return bytes: a row a token read and written, and again for the gradient; under ZeRO that is dense, and zero."""
    rows = 2 * 4.0 * tokens * sizes.hidden
    if not sizes.rows:
        return rows
    return 2 * rows + (0.0 if layout.stage is None else 4.0 * sizes.rows)


def _updates(config: Config, sizes: Anatomy, world: int, layout: Layout, tokens: float) -> list[Term]:
    """Return clipping (the norm reads, the factor reads and writes) and AdamW (reads 4 numbers, writes 3), in fp32."""
    share = sizes.trained / (world if layout.stage else 1)
    clipped = share
    if layout.stage is None:
        clipped -= sizes.rows - min(sizes.rows, tokens * world * sizes.hidden)
    clipping = Term("norm and clipping", moved=4.0 * clipped * (3 if config.training.clip else 1))
    casts = 6.0 * sizes.costs.matrices if config.training.precision == "bf16" and layout.stage is None else 0.0
    return [clipping, Term("AdamW", moved=28.0 * share), Term("weights to bf16", moved=casts)]
