"""The training loop: steps, log lines, evaluations of the development split, checkpoints."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from hybrid.models.encoder import Encoder
from hybrid.runtime.errors import InputError, nearest
from hybrid.runtime.files import disk_fault
from hybrid.runtime.logs import log, progress, warn
from hybrid.runtime.processes import barrier, gather_objects, is_main, no_boundaries, world_size
from hybrid.runtime.tracking import Tracker
from hybrid.runtime.watchdog import note
from hybrid.training.checkpoint import Copier, newest_checkpoint, read_state, remove_old, save_checkpoint
from hybrid.training.config import TrainingConfig
from hybrid.training.elastic import load_any_states
from hybrid.training.engine import Engine
from hybrid.training.flops import costs, peak_flops
from hybrid.training.folder import CHECKPOINTS, check_changes, other_scores
from hybrid.training.meter import Meter, line
from hybrid.training.not_finite import stop_with_batch
from hybrid.training.realised import Realised
from hybrid.training.states import load_random_states, random_states, set_random_states
from hybrid.training.whole import whole_encoder
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
    """Steps whose loss or gradient was not finite."""
    skipped_in_a_row: int = 0
    """Those since the last one that was taken."""
    evaluated: int = 0
    """Steps done at the last evaluation that was finished."""
    stopped: bool = False
    """Whether training stopped early."""


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
        self.checkpoints = folder / CHECKPOINTS
        self.copier = Copier(config.copies, config.keep_last) if config.copies else None
        self.progress = Progress()
        self.saved = (0, 0)
        """Steps and evaluated steps of the last checkpoint."""
        self.random: dict | None = None
        """This rank's random states between a checkpoint, or the last step, and the next step."""

    def run(self, batches) -> Progress:
        """Do the steps that are left; `batches` yields this rank's batch of each of them.

        Raises Interrupted, on every rank alike, where the job has been asked to stop; `save` then keeps what was done.
        """
        config, done = self.config, self.progress
        encoder, accelerator = self.engine.module.encoder, self.engine.accelerator
        work = costs(encoder.backbone, encoder.projection and encoder.projection.out_features)
        barrier()  # ranks that share a machine measure it at once, as they will use it
        meter = Meter(work, peak_flops(accelerator.device, config.precision), config.steps - done.step)
        batches = iter(batches)
        if self.random:
            # Here and not earlier: starting the loader draws a number too.
            set_random_states(self.random)
        with progress(config.steps, "training", "steps", done.step) as bar:
            done.stopped = done.stopped or self._evaluate_and_stop()
            while not done.stopped and done.step < config.steps:
                note(f"waiting for the batch of step {done.step + 1}")
                batch = next(batches)
                note(f"in step {done.step + 1}")
                with no_boundaries():
                    self._step(batch, meter)
                    bar.update(1)
                done.stopped = self._evaluate_and_stop()
                if self._checkpoint_due():
                    self.save()
                note(f"at the end of step {done.step}")
                barrier()
                meter.pause()
        if done.best is None:
            # Nothing is kept for its score, or no disk had room for it: then it is the last, or an error.
            self._keep()
        return done

    def _step(self, batch, meter: Meter) -> None:
        done = self.progress
        result = self.engine.step(batch, done.step)
        done.step += 1
        meter.add(batch, result)
        self.realised.add(batch.streams)
        self._note_skip(batch, result)
        if done.step % self.config.log_every == 0 or done.step == self.config.steps:
            self._report(meter.read(self.engine.accelerator))

    def resume(self, sampler) -> dict | None:
        """Go on from the newest whole checkpoint: weights, optimizer, random states, next rows; returns what it holds.

        None if there is none, here or among the copies. Every rank calls it.
        """
        found = newest_checkpoint([self.checkpoints, *([self.copier.folder] if self.copier else [])])
        if found is None:
            log(f"{self.folder}: there is no whole checkpoint; starting at step 0")
            return None
        state = read_state(found)
        before = state.get("settings", {})
        now = (self.hooks.state(0) if self.hooks.state else {}).get("settings", {})
        check_changes(before, now)
        if state["step"] > self.config.steps:
            raise InputError(
                f"--resume: training.steps is {self.config.steps}, but {found} was written after step {state['step']}; "
                "give as many or more."
            )
        sampler.load_state_dict(state["sampler"])
        with no_boundaries():
            load_any_states(found, self.engine, state)
            self.random = load_random_states(found, world_size(), self.config.seed, state["step"])
        self.progress = Progress(**state["progress"])
        self.saved = (self.progress.step, self.progress.evaluated)
        if self.progress.best is not None and not (self.folder / "model").is_dir():
            warn(f"{self.folder / 'model'}, the best weights so far, is not there; the best of what follows is kept.")
            self._forget_best()
        elif self.progress.best is not None and other_scores(before, now):
            warn("the best so far was by another training.keep_best or data.dev; the best of what follows is kept.")
            self._forget_best()
        self.realised.restore(state["rows"])
        log(f"resumed at step {self.progress.step} from {found}")
        return state

    def _forget_best(self) -> None:
        self.progress.best, self.progress.best_step, self.progress.worse = None, 0, 0

    def save(self) -> None:
        """Write a checkpoint of where the job stands, unless there is one; every rank calls it."""
        done, config = self.progress, self.config
        now = (done.step, done.evaluated)
        if self.saved == now:
            return
        note(f"saving the checkpoint of step {done.step}")
        with no_boundaries():
            state = {
                "progress": vars(done),
                "rows": self.realised.total(),
                **(self.hooks.state(done.step) if self.hooks.state else {}),
            }
            if not save_checkpoint(self.checkpoints, done.step, self.engine, state):
                return
        self.saved = now
        if is_main():
            best = done.best_step if config.keep_best else None
            if self.copier:
                self.copier.copy(self.checkpoints / f"step-{done.step}", best)
            remove_old(self.checkpoints, done.step, config.keep_last, {best, self.copier and self.copier.step})

    def close(self, seconds: float) -> None:
        """Wait for what is still being copied, no longer than `seconds`."""
        if self.copier:
            self.copier.wait(seconds)

    def kept(self, load: Callable[[], Encoder]) -> Encoder:
        """Return the encoder that was kept: the one in memory, or what `load` reads.

        It is read where the best came earlier, and under ZeRO-3, where no rank has all of the weights. There is no step
        after it.
        """
        self.engine.close()
        done, device = self.progress, self.engine.accelerator.device
        earlier = done.best is not None and done.best_step != done.step
        sharded = shards_weights(self.engine.accelerator)
        if sharded:
            load_whole_models()
        # DeepSpeed's weights may be bfloat16; what is saved, and what evaluate.py loads, is float32.
        encoder = load().to(device) if earlier or sharded else self.engine.module.encoder.float()
        if earlier:
            # The files of the development split are those of a later evaluation.
            log(f"the best encoder, of step {done.best_step}, is kept; its development scores are written anew")
            self.hooks.evaluate(encoder, done.best_step)
        return encoder

    def _keep(self) -> None:
        if self.hooks.keep:
            # Under ZeRO-3 every rank takes part, and the main one alone gets the weights.
            accelerator, module = self.engine.accelerator, self.engine.module
            spread = shards_weights(accelerator)
            state = (accelerator.get_state_dict(self.engine.model) or {}) if spread else module.state_dict()
            inner = "encoder."
            self.hooks.keep({name.removeprefix(inner): v for name, v in state.items() if name.startswith(inner)})

    def _report(self, values: Scores) -> None:
        step = self.progress.step
        log(line(step, self.config.steps, values))
        rows = self.realised.metrics(self.realised.total())
        known = {f"train/{key}": value for key, value in values.items() if math.isfinite(value)}
        self.tracker.metrics(known | rows, step)

    def _note_skip(self, batch, result) -> None:
        done = self.progress
        done.skipped_in_a_row = done.skipped_in_a_row + 1 if result.skipped else 0
        if result.skipped:
            done.skipped += 1
            warn(f"step {done.step}: the loss or the gradient is not finite; the step is skipped on all ranks.")
        # Not "==": a run may go on, from a checkpoint between two of them, with fewer allowed.
        if 0 < self.config.stop_after_skips <= done.skipped_in_a_row:
            stop_with_batch(self.folder / "not_finite", self.engine, batch, result)

    def _evaluate_and_stop(self) -> bool:
        config, done = self.config, self.progress
        due = done.step % (config.evaluate_every or config.steps) == 0 or done.step == config.steps
        if not self.hooks.evaluate or not due or done.evaluated == done.step:
            return False
        note(f"in the evaluation after step {done.step}")
        # The next step draws the same numbers whether the evaluation drew any, was interrupted, or done again.
        before = random_states()
        try:
            with whole_encoder(self.engine) as encoder:
                scores = gather_objects(self.hooks.evaluate(encoder, done.step))[0]
        finally:
            set_random_states(before)
        self.tracker.metrics(scores, done.step)
        if config.keep_best and config.keep_best not in scores:
            self.save()
            hint = nearest(config.keep_best, scores)
            raise InputError(
                f"training.keep_best = {config.keep_best}: the development split has no such score{hint}; set it right "
                "and give --resume, nothing trained is lost."
            )
        # No boundary between what is written and what is known of it: an evaluation is not done again.
        with no_boundaries():
            done.evaluated = done.step
            return bool(config.keep_best) and self._no_better(scores)

    def _no_better(self, scores: Scores) -> bool:
        """Keep the weights if their score is the best so far; returns whether to stop early."""
        config, done = self.config, self.progress
        score = scores[config.keep_best]
        log(f"step {done.step}: {config.keep_best} {score:.4f}" + (f", best {done.best:.4f}" if done.best else ""))
        if math.isnan(score):
            warn(f"step {done.step}: {config.keep_best} is no number, and so not the best.")
        elif done.best is None or score > done.best:
            try:
                self._keep()
            except Exception as error:
                fault = disk_fault(error)
                if not fault:
                    raise
                warn(f"step {done.step}: the best encoder could not be written ({fault}); the one before stands.")
                return False
            done.best, done.best_step, done.worse = score, done.step, 0
            return False
        done.worse += 1
        if config.patience and done.worse >= config.patience:
            log(f"stopping early: no better {config.keep_best} since step {done.best_step}")
            return True
        return False

    def _checkpoint_due(self) -> bool:
        config, done = self.config, self.progress
        best = bool(config.keep_best) and done.best_step == done.step
        end = done.stopped or done.step == config.steps
        # At the end always: what fails in saving or scoring then costs no step.
        return end or (bool(config.checkpoint_every) and (done.step % config.checkpoint_every == 0 or best))
