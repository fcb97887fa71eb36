"""The training loop: steps, log lines, evaluations of the development split, checkpoints."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from hybrid.models.encoder import Encoder
from hybrid.runtime.errors import InputError, nearest
from hybrid.runtime.logs import log, progress, warn
from hybrid.runtime.processes import gather_objects
from hybrid.runtime.tracking import Tracker
from hybrid.training.checkpoint import load_checkpoint, newest_checkpoint, read_state, save_checkpoint
from hybrid.training.config import TrainingConfig
from hybrid.training.engine import Engine
from hybrid.training.flops import peak_flops
from hybrid.training.meter import Meter, line
from hybrid.training.realised import Realised
from hybrid.training.zero import load_whole_models, shards_weights

Scores = dict[str, float]


@dataclass
class Progress:
    """Where the job stands beyond weights and sampler: goes into checkpoints."""

    step: int = 0
    """Steps done."""
    best: float | None = None
    """Best score of `keep_best` so far."""
    best_step: int = 0
    """Steps done when it was reached."""
    worse: int = 0
    """Evaluations since then."""
    skipped: int = 0
    """Steps whose gradient was not finite."""


@dataclass
class Hooks:
    """What the loop is handed, so that it need not know benchmarks, files of models or the sampler's counts."""

    evaluate: Callable[[Encoder, int], Scores] | None = None
    """Scores of the development split; called on every rank."""
    keep: Callable[[dict[str, Tensor]], None] | None = None
    """Save the encoder with these parameters, as the best so far or the last; called on every rank."""
    state: Callable[[int], dict] | None = None
    """What a checkpoint holds beside weights and progress (sampler, digests, MLflow run)."""


class Loop:
    """Runs an engine over batches from where `progress` stands."""

    def __init__(
        self,
        config: TrainingConfig,
        engine: Engine,
        hooks: Hooks,
        realised: Realised,
        folder: Path,
        tracker: Tracker,
    ):
        self.config, self.engine, self.hooks = config, engine, hooks
        self.realised, self.folder, self.tracker = realised, folder, tracker
        self.progress = Progress()

    def run(self, batches) -> Progress:
        """Do the steps that are left; `batches` yields this rank's batch of each of them."""
        config, done = self.config, self.progress
        encoder, accelerator = self.engine.module.encoder, self.engine.accelerator
        peak = peak_flops(accelerator.device, config.precision)
        meter = Meter(encoder.backbone, peak, config.steps - done.step)
        with progress(config.steps, "training", "steps") as bar:
            bar.update(done.step)
            for batch in batches:
                result = self.engine.step(batch, done.step)
                done.step += 1
                meter.add(batch, result)
                self.realised.add(batch.streams)
                bar.update(1)
                self._note_skip(result)
                if done.step % config.log_every == 0 or done.step == config.steps:
                    self._report(meter.read(accelerator))
                if self._evaluate_and_stop(encoder):
                    break
                self._checkpoint()
                meter.pause()
        if not config.keep_best:
            self._keep()
        return done

    def resume(self, sampler) -> None:
        """Go on from the newest whole checkpoint, if there is one: weights, optimizer, random states, next rows."""
        found = newest_checkpoint(self.folder / "checkpoints")
        if found is None:
            log(f"{self.folder}: there is no checkpoint yet; starting at step 0")
            return
        state = read_state(found)
        sampler.load_state_dict(state["sampler"])
        load_checkpoint(found, self.engine.accelerator)
        self.progress = Progress(**state["progress"])
        self.realised.restore(state["rows"])
        log(f"resumed at step {self.progress.step} from {found}")

    def kept(self, load: Callable[[], Encoder]) -> Encoder:
        """Return the encoder that was kept: the one in memory, or what `load` reads.

        It is read where the best came earlier, and under ZeRO-3, where no rank has all of the weights.
        """
        earlier = self.config.keep_best and self.progress.best_step != self.progress.step
        sharded = shards_weights(self.engine.accelerator)
        if sharded:
            load_whole_models()
        if earlier or sharded:
            return load().to(self.engine.accelerator.device)
        return self.engine.module.encoder

    def _keep(self) -> None:
        if self.hooks.keep:
            # Under ZeRO-3 every rank takes part, and the main one alone gets the weights.
            state = self.engine.accelerator.get_state_dict(self.engine.model) or {}
            inner = "encoder."
            self.hooks.keep({name.removeprefix(inner): v for name, v in state.items() if name.startswith(inner)})

    def _report(self, values: Scores) -> None:
        step = self.progress.step
        log(line(step, self.config.steps, values))
        rows = self.realised.metrics(self.realised.total())
        known = {f"train/{key}": value for key, value in values.items() if not math.isnan(value)}
        self.tracker.metrics(known | rows, step)

    def _note_skip(self, result) -> None:
        if result.skipped:
            self.progress.skipped += 1
            warn(f"step {self.progress.step}: the gradient is not finite; the step is skipped on all ranks.")

    def _evaluate_and_stop(self, encoder: Encoder) -> bool:
        config, done = self.config, self.progress
        every = config.evaluate_every or config.steps
        if not self.hooks.evaluate or (done.step % every and done.step != config.steps):
            return False
        scores = gather_objects(self.hooks.evaluate(encoder, done.step))[0]
        self.tracker.metrics(scores, done.step)
        if not config.keep_best:
            return False
        if config.keep_best not in scores:
            hint = nearest(config.keep_best, scores)
            raise InputError(f"training.keep_best = {config.keep_best}: the development split has no such score{hint}.")
        score = scores[config.keep_best]
        log(f"step {done.step}: {config.keep_best} {score:.4f}" + (f", best {done.best:.4f}" if done.best else ""))
        if done.best is None or score > done.best:
            done.best, done.best_step, done.worse = score, done.step, 0
            self._keep()
            return False
        done.worse += 1
        if config.patience and done.worse >= config.patience:
            log(f"stopping early: no better {config.keep_best} since step {done.best_step}")
            return True
        return False

    def _checkpoint(self) -> None:
        every, step = self.config.checkpoint_every, self.progress.step
        if every and step % every == 0 and step < self.config.steps:
            state = {
                "progress": vars(self.progress),
                "rows": self.realised.total(),
                **(self.hooks.state(step) if self.hooks.state else {}),
            }
            accelerator = self.engine.accelerator
            save_checkpoint(self.folder / "checkpoints", step, accelerator, state, self.config.keep_last)
