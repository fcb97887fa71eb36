"""The dense log line: what the last steps did and cost."""

import math
import resource
import time
from dataclasses import dataclass, field

import torch

from hybrid.data.batch import Batch
from hybrid.runtime.processes import world_size
from hybrid.training.engine import StepResult
from hybrid.training.flops import Costs

WARM_UP = 2
"""Steps that do not count for rates: kernels are chosen and workers start in them."""


@dataclass
class Meter:
    """Counts steps between two log lines, on this rank; rates are of all ranks, taking them as alike."""

    costs: Costs
    peak: float
    """Operations per second that one rank could do."""
    steps_left: int
    pairs: int = 0
    tokens: int = 0
    flops: float = 0.0
    seconds: float = 0.0
    timed: int = 0
    seen: int = 0
    last: float = field(default_factory=time.monotonic)
    results: list[StepResult] = field(default_factory=list)

    def add(self, batch: Batch, result: StepResult) -> None:
        """Count one step, at its end."""
        now = time.monotonic()
        self.seen += 1
        self.steps_left -= 1
        self.results.append(result)
        if self.seen > WARM_UP:
            lengths = torch.cat([batch.queries.lengths, batch.passages.lengths])
            self.pairs += len(batch.queries)
            self.tokens += int(lengths.sum())
            candidates = len(batch.passages) * world_size()
            self.flops += self.costs.training(lengths) + self.costs.scores(len(batch.queries), candidates)
            self.seconds += now - self.last
            self.timed += 1
        self.last = now

    def pause(self) -> None:
        """Leave out the time since the last step: evaluation and checkpoints are no training."""
        self.last = time.monotonic()

    def read(self, accelerator) -> dict[str, float]:
        """Return the mean over the steps since the last reading, and the rates; every rank calls it."""
        # All ranks skip the same steps; one that is skipped has no loss, and must not take those of the others.
        taken = [result for result in self.results if not result.skipped] or self.results
        sums = torch.stack([torch.stack([r.loss.float(), r.accuracy.float()]) for r in taken]).mean(0)
        loss, accuracy = accelerator.reduce(sums, "mean").tolist()
        values = {
            "loss": loss,
            "accuracy": accuracy,
            "gradient_norm": float(taken[-1].gradient_norm),
            "learning_rate": self.results[-1].rate,
            "skipped_steps": float(sum(result.skipped for result in self.results)),
            "memory_gb": memory_gb(accelerator.device),
            **self._rates(),
        }
        self.results.clear()
        self.pairs = self.tokens = self.timed = 0
        self.flops = self.seconds = 0.0
        return values

    def _rates(self) -> dict[str, float]:
        """Return what was reached since the last reading; NaN where no step since then was timed."""
        seconds = self.seconds if self.timed else math.nan
        return {
            "pairs_per_second": self.pairs * world_size() / seconds,
            "tokens_per_second": self.tokens * world_size() / seconds,
            "mfu": self.flops / seconds / self.peak,
            "seconds_left": self.steps_left * seconds / max(self.timed, 1),
        }


def memory_gb(device: torch.device) -> float:
    """Return this rank's peak memory in GB: of the GPU, or of the process where there is none."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def line(step: int, steps: int, v: dict[str, float]) -> str:
    """Format a reading as one line."""
    words = [
        f"step {step}/{steps}",
        f"loss {v['loss']:.4f}",
        f"accuracy {v['accuracy']:.3f}",
        f"norm {v['gradient_norm']:.2f}",
        f"rate {v['learning_rate']:.1e}",
    ]
    if not math.isnan(v["pairs_per_second"]):
        words += [f"{v['pairs_per_second']:.1f} pairs/s", f"{v['tokens_per_second']:.0f} tokens/s"]
        words += [f"mfu {v['mfu']:.0%}"]
    words += [f"{v['memory_gb']:.1f} GB"]
    if not math.isnan(v["seconds_left"]):
        minutes, seconds = divmod(int(v["seconds_left"]), 60)
        words += [f"{minutes}:{seconds:02d} left"]
    return " | ".join(words)
