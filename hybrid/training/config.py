"""What a recipe says about the loss and the training job."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from hybrid.runtime.errors import InputError, nearest
from hybrid.sampling.config import KINDS


@dataclass
class ObjectiveConfig:
    """The contrastive loss over the gathered global batch."""

    temperature: float = 0.05
    """τ, by which cosines are divided; the starting value where it is learned."""
    learn_temperature: bool = False
    """Train log τ with the encoder's learning rate, without weight decay."""
    both_directions: bool = False
    """Add the loss of passages against all queries, and take the mean of the two."""
    kind_temperatures: dict[str, float] = field(default_factory=dict)
    """τ of batches of these kinds, {self_supervised: 0.05}, fixed also where `temperature` is learned; other kinds
    have `temperature`."""
    variance_penalty: float = 0.0
    """Weight λ of the penalty on the variance of the negatives' similarities (arXiv 2506.09781); 0 leaves it out."""

    def __post_init__(self) -> None:
        temperatures = {"temperature": self.temperature}
        temperatures |= {f"kind_temperatures.{kind}": value for kind, value in self.kind_temperatures.items()}
        for key, value in temperatures.items():
            if not value > 0:
                raise InputError(f"objective.{key} is {value}; give a positive number such as 0.05.")
        for kind in self.kind_temperatures:
            if kind not in KINDS:
                raise InputError(
                    f"objective.kind_temperatures has {kind!r}{nearest(kind, KINDS)}; the kinds are {', '.join(KINDS)}."
                )
        if not self.variance_penalty >= 0:
            raise InputError(f"objective.variance_penalty is {self.variance_penalty}; give 0 or a positive number.")


@dataclass
class TrainingConfig:
    """One training job. A step is one optimizer step on one global batch."""

    name: str = "run"
    """Name of the run, in MLflow and as its folder below `output`."""
    output: str = "runs"
    """Folder for runs; this one goes to output/name."""
    seed: int = 0
    """Seed of the sampler, of fresh weights and of dropout."""
    steps: int = 1000
    """Number of optimizer steps."""
    global_batch: int = 64
    """Pairs in a global batch, over all ranks; the contrastive batch."""
    learning_rate: float = 3e-5
    """Highest learning rate of AdamW."""
    warmup_steps: int = 0
    """Steps in which the learning rate rises linearly from 0."""
    decay: Literal["linear", "cosine", "none"] = "linear"
    """How the learning rate falls to 0 after the warm-up."""
    weight_decay: float = 0.01
    """Decay of AdamW; none on biases, norms and temperature."""
    clip: float = 1.0
    """Largest norm of the whole gradient; 0 leaves it alone."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16: matrix products in bfloat16, weights and optimizer in fp32 (under ZeRO 1 to 3 only the optimizer)."""
    deterministic: bool = False
    """Take only kernels that give the same sums each time: a resumed run is bit-identical on a GPU too, and slower."""
    cache_tokens: int | None = None
    """Gradient cache (GradCache, arXiv 2101.06983): tokens of a rank whose activations are held at once; unset holds
    those of all its rows. The contrastive batch, and with it the loss, stays the same."""
    activation_checkpointing: bool = False
    """Compute activations again in the backward pass instead of holding them."""
    stop_after_skips: int = 10
    """Stop after this many steps in a row whose loss or gradient is not finite; 0 never does."""
    workers: int = 1
    """Processes per rank that make batches; 0 makes them in the training process."""
    log_every: int = 10
    """Steps between two log lines."""
    evaluate_every: int = 0
    """Steps between two evaluations of the development split; 0 evaluates it at the end only."""
    keep_best: str | None = None
    """Score of the development split by which the best weights are kept, such as dev/multilingual/map."""
    patience: int = 0
    """Stop after this many evaluations without a better `keep_best` score; 0 never stops early."""
    checkpoint_every: int = 0
    """Steps between two checkpoints; 0 writes one when the job is asked to stop, and one at the end, which goes once
    the scores are there."""
    keep_last: int = 2
    """Number of newest checkpoints that are kept; with `keep_best`, that of the best score is written and kept too."""
    checkpoint_copy: str | None = None
    """A folder elsewhere, to which each checkpoint is copied while training goes on; `--resume` looks there as well."""
    stall_seconds: float = 1800.0
    """Seconds without progress on any rank after which the job stops and names the rank that hangs."""

    @property
    def copies(self) -> Path | None:
        """Folder of this run's copied checkpoints, None where they are not copied."""
        return Path(self.checkpoint_copy) / self.name if self.checkpoint_copy else None

    def __post_init__(self) -> None:
        positive = ("steps", "global_batch", "learning_rate", "log_every", "keep_last", "stall_seconds")
        for key in positive:
            if not getattr(self, key) > 0:
                raise InputError(f"training.{key} is {getattr(self, key)}; give a positive number.")
        natural = (
            "warmup_steps",
            "weight_decay",
            "clip",
            "stop_after_skips",
            "workers",
            "evaluate_every",
            "patience",
            "checkpoint_every",
        )
        for key in natural:
            if not getattr(self, key) >= 0:
                raise InputError(f"training.{key} is {getattr(self, key)}; give 0 or a positive number.")
        if not 0 <= self.seed < 2**32:
            raise InputError(f"training.seed is {self.seed}; give a whole number of at least 0 and below 2**32.")
        if self.cache_tokens is not None and self.cache_tokens < 1:
            raise InputError(f"training.cache_tokens is {self.cache_tokens}; give a positive number or leave it unset.")
        if self.warmup_steps >= self.steps:
            raise InputError(
                f"training.warmup_steps is {self.warmup_steps} of {self.steps} training.steps; give fewer, the "
                "learning rate would never reach its highest value."
            )
        if self.patience and not (self.keep_best and self.evaluate_every):
            raise InputError(
                "training.patience is set, but training.keep_best or training.evaluate_every is not; early stopping "
                "needs the score to look at and how often."
            )
