"""`train.py --check_gradients`: the recipe's parallelism on these machines against one process on the joined batch."""

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import dataclass

import torch

from hybrid.data.batch import Batch
from hybrid.models.config import ModelConfig
from hybrid.models.encoder import Encoder
from hybrid.models.load import check_origin
from hybrid.runtime.errors import InputError, first_line
from hybrid.runtime.logs import log
from hybrid.runtime.processes import gather_objects, is_main, world_size
from hybrid.training.engine import Engine, StepResult
from hybrid.training.observe import moment, trained, weight
from hybrid.training.optimizer import decays
from hybrid.training.reference import Expected, Reference, joined, same_kind, small, without_dropout
from hybrid.training.zero import load_whole_models

BATCHES = 3
"""Global batches that are compared, each followed by a step."""
GRADIENT_TOLERANCE = {"fp32": 1e-4, "bf16": 0.05}
"""Largest relative error of the loss, the norm, and a group of parameters. Wrong gathers are off by half and more."""
NOISE = 2.0
"""In bf16 each may be off by this many times what rounding alone makes of it, in one process, besides: a temperature of
0.02 makes fifty times as much of a cosine's rounding, and where texts are still alike (random weights), gradients are
small differences of large numbers."""
STEP_TOLERANCE = 1e-4
"""Largest relative error of a step, given the moments it was taken from; optimizers work in fp32 everywhere."""
SMALL_GROUP = 1e-2
"""Part of the whole gradient's norm below which a group's error is measured against that, not against its own."""


@dataclass
class Sums:
    """Squared norms over some parameters."""

    reference: float = 0.0
    noise: float = 0.0
    gradient_error: float = 0.0
    step: float = 0.0
    step_error: float = 0.0

    def __add__(self, other: "Sums") -> "Sums":
        return Sums(*(getattr(self, key) + getattr(other, key) for key in self.__dataclass_fields__))


def checked_model(config: ModelConfig, which: str) -> ModelConfig:
    """Return the encoder that is checked: a small one of the recipe's architecture, or its own ("model")."""
    return without_dropout(config) if which == "model" else small(config, _saved)


def _saved(config: ModelConfig):
    from transformers import AutoConfig

    check_origin(config)
    options = {"revision": config.revision, "trust_remote_code": config.trust_remote_code}
    try:
        return AutoConfig.from_pretrained(config.name, **options)
    except (OSError, ValueError) as error:
        raise InputError(
            f"model.name = {config.name}: its architecture cannot be read ({first_line(error)}); give a directory with "
            "config.json, or a hub id that this machine can reach."
        ) from error


def check_gradients(
    config, encoder: Encoder, make_whole: Callable[[], Encoder], batches: Iterable[Batch], accelerator
) -> bool:
    """Compare gradient and step of a few global batches, print a table per group of parameters; True if all is right.

    Args:
        config: objective and training of the recipe.
        encoder: what is checked, without dropout; under ZeRO-3 it may be spread over the ranks already.
        make_whole: makes such an encoder again, for the reference on the main rank; its weights are replaced.
        batches: this rank's batches.
        accelerator: of the job as it was launched. Every rank calls this.
    """
    engine = Engine(encoder.to(accelerator.device), config.objective, config.training, accelerator)
    if engine.stage == 3:
        load_whole_models()
    # Only the main rank compares: copies of an encoder on each rank would take the memory that the recipe has to have.
    check = _Check(engine, _references(make_whole(), engine) if is_main() else [])
    right = True
    for number, batch in zip(range(BATCHES), batches, strict=False):
        right &= check.batch(batch, number)
    right = gather_objects(right)[0]
    log("gradients and steps are those of one process" if right else "error: gradients or steps are not right")
    return right


def _references(whole: Encoder, engine: Engine) -> list[Reference]:
    """Return the reference, and the one that rounds as the job does: in fp32 they are the same."""
    objective, device = engine.objective.config, engine.accelerator.device
    exact = Reference(whole, objective, device)
    if engine.config.precision == "fp32":
        return [exact, exact]
    return [exact, Reference(deepcopy(whole), objective, device, "weights" if engine.stage else "products")]


class _Check:
    def __init__(self, engine: Engine, references: list[Reference]):
        """`references`, of the main rank alone: what is right, and what rounding makes of that."""
        self.engine, self.references, self.config = engine, references, engine.config
        self.weights = {}
        for name, value in engine.module.named_parameters():
            copy = weight(engine, value)
            if references:
                self.weights[name] = copy
        self.moments = {name: torch.zeros_like(self.weights[name]) for name in trained(engine) if references}
        self.tolerance = GRADIENT_TOLERANCE[self.config.precision]

    def batch(self, batch: Batch, number: int) -> bool:
        """Take step `number`; the main rank prints the table of it, and returns whether it is right."""
        batches = gather_objects(batch)
        same_kind(batches, self.engine.objective.config)
        expected = self._expected(joined(batches)) if self.references else []
        # From the highest rate on, so that steps are well above what fp32 rounds away.
        step = min(self.config.warmup_steps + number, self.config.steps - 1)
        result = self.engine.step(batch, step)
        if result.skipped:
            log(f"global batch {number + 1}: the step was skipped, loss or gradient is not finite")
            return False
        loss = sum(gather_objects(float(result.loss))) / world_size()
        groups, given = self._compare(expected, result, number + 1)
        if not self.references:
            return True
        pairs = sum(len(part.queries) for part in batches)
        log(f"\nglobal batch {number + 1}: {pairs} pairs, {len(batches)} ranks, rate {result.rate:.2e}")
        groups["all"] = sum(groups.values(), Sums())
        norm = math.sqrt(groups["all"].reference)
        clipped = min(norm, self.config.clip or math.inf)
        allowed = self._allowed(groups["all"], norm)
        right = True
        for name, found, wanted, most in (
            ("loss", loss, expected[0].loss, self.tolerance + NOISE * _loss_noise(*expected)),
            ("gradient norm", float(result.gradient_norm), norm, allowed),
            ("norm after clipping", given, clipped, allowed),
        ):
            error = abs(found - wanted) / abs(wanted)
            right &= error <= most
            log(
                f"{name:<40} {found:12.6g}  one process {wanted:12.6g}  error {error:8.1e}  allowed {most:8.1e}"
                f"{_mark(error, most)}"
            )
        return self._table(groups, norm) and right

    def _expected(self, whole: Batch) -> list[Expected]:
        exact, rounded = self.references
        expected = exact.gradient(self.weights, whole)
        return [expected, expected if rounded is exact else rounded.gradient(self.weights, whole)]

    def _compare(self, expected: list[Expected], result: StepResult, done: int) -> tuple[dict[str, Sums], float]:
        """Return the sums of each group, and the norm of the gradient that the optimizer got.

        Both come from AdamW's moments after `done` steps (Loshchilov & Hutter 2019, arXiv 1711.05101, algorithm 2).
        """
        options = self.engine.optimizer.param_groups[0]
        (beta1, beta2), eps = options["betas"], options["eps"]
        unclipped = max(1.0, (float(result.gradient_norm) + 1e-6) / (self.config.clip or math.inf))
        groups, given = defaultdict(Sums), 0.0
        for name, parameter in trained(self.engine).items():
            first, second = (moment(self.engine, parameter, key) for key in ("exp_avg", "exp_avg_sq"))
            now = weight(self.engine, parameter)
            if not expected:
                # Reading took all ranks; comparing takes one.
                continue
            before, target = self.weights[name], expected[0].gradient[name]
            first, second, now = (value.view_as(before) for value in (first, second, now))
            got = (first - beta1 * self.moments[name]) / (1 - beta1)
            direction = (first / (1 - beta1**done)) / ((second / (1 - beta2**done)).sqrt() + eps)
            decay = self.config.weight_decay if decays(before) else 0.0
            wanted = before * (1 - result.rate * decay) - result.rate * direction
            off = float((now - wanted).norm())
            # Half a unit in the last place for each of the two roundings of a weight.
            off = max(0.0, off - float(before.norm()) * 2**-23)
            groups[group_of(name)] += Sums(
                reference=float(target.square().sum()),
                noise=float((expected[1].gradient[name] - target).square().sum()),
                gradient_error=float((got * unclipped - target).square().sum()),
                step=float((wanted - before).square().sum()),
                step_error=off**2,
            )
            given += float(got.square().sum())
            self.weights[name], self.moments[name] = now, first
        return dict(groups), math.sqrt(given)

    def _allowed(self, of: Sums, norm: float) -> float:
        return self.tolerance + NOISE * math.sqrt(of.noise) / _scale(of, norm)

    def _table(self, groups: dict[str, Sums], norm: float) -> bool:
        right = True
        log(f"{'parameters':<40} {'gradient':>12} {'error':>9} {'allowed':>9} {'step':>12} {'error':>9}")
        for name, of in groups.items():
            gradient, allowed = math.sqrt(of.gradient_error) / _scale(of, norm), self._allowed(of, norm)
            step = math.sqrt(of.step_error) / (math.sqrt(of.step) or 1.0)
            right &= gradient <= allowed and step <= STEP_TOLERANCE
            log(
                f"{name:<40} {math.sqrt(of.reference):12.4e} {gradient:9.1e} {allowed:9.1e} {math.sqrt(of.step):12.4e} "
                f"{step:9.1e}{_mark(gradient, allowed)}{_mark(step, STEP_TOLERANCE)}"
            )
        return right


def _loss_noise(expected: Expected, rounded: Expected) -> float:
    """Return by what part of it the rounding of each vector may move the loss, to first order, were no two to cancel.

    The difference of the two losses says less: it may be nothing by chance.
    """
    moved_N = (expected.pull_ND * (rounded.vectors_ND - expected.vectors_ND)).sum(1)
    return float(moved_N.abs().sum()) / abs(expected.loss)


def _scale(of: Sums, norm: float) -> float:
    """Return the norm that a group's error is divided by."""
    return max(math.sqrt(of.reference), SMALL_GROUP * norm) or 1.0


def _mark(error: float, allowed: float) -> str:
    # NaN is no error that is allowed.
    return "" if error <= allowed else " WRONG"


def group_of(name: str) -> str:
    """Return the group of a parameter in the table: its layer, or the module that holds it."""
    if found := re.match(r"(?:encoder\.)?(.*?\.\d+)\.", name):
        return found[1]
    return name.removeprefix("encoder.").rpartition(".")[0] or name
