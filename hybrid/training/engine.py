"""One step: from a batch to the next weights, the same whatever the number of ranks."""

import math
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hybrid.data.batch import Batch
from hybrid.models.encoder import Encoder, chunks
from hybrid.runtime.processes import world_size
from hybrid.runtime.ragged import Ragged
from hybrid.training.config import ObjectiveConfig, TrainingConfig
from hybrid.training.gather import most_chunks
from hybrid.training.objective import Loss, Objective
from hybrid.training.optimizer import learning_rate, make_optimizer
from hybrid.training.rows import row_gradient
from hybrid.training.zero import configure_zero, shards_weights, zero_stage


class ScaledEncoder(nn.Module):
    """The encoder and the temperature τ: vectors of length τ^-1/2, so that their dot products are the scores.

    The temperature sits inside the wrapped module, so that DDP, ZeRO and the gradient cache treat it as they treat
    every other parameter.
    """

    def __init__(self, encoder: Encoder, config: ObjectiveConfig):
        super().__init__()
        self.encoder = encoder
        self.start = math.log(config.temperature)
        # The change from the start: DeepSpeed rounds parameters to bf16, which would change log τ itself by up to 0.4%.
        self.log_temperature = nn.Parameter(torch.zeros(1), requires_grad=config.learn_temperature)

    def forward(self, tokens: Ragged) -> Tensor:
        """Return [N, D] in fp32."""
        return self.encoder(tokens) * torch.exp(-(self.log_temperature.float() + self.start) / 2)


@dataclass
class StepResult:
    """What a step tells about itself; tensors are of this rank and on its device, so that nothing waits for them."""

    loss: Tensor
    accuracy: Tensor
    gradient_norm: Tensor
    rate: float
    skipped: bool


class Engine:
    """Holds the prepared module and optimizer, and does steps."""

    def __init__(self, encoder: Encoder, objective: ObjectiveConfig, config: TrainingConfig, accelerator):
        self.config = config
        self.accelerator = accelerator
        self.objective = Objective(objective)
        if config.activation_checkpointing:
            encoder.backbone.activation_checkpointing_enable()
        if shards_weights(accelerator):
            encoder.agree = most_chunks
        # Accelerate's way to take wrappers off imports DeepSpeed, whatever the parallelism.
        self.module = module = ScaledEncoder(encoder, objective)
        """The module without its wrappers."""
        self.stage = zero_stage(accelerator)
        """ZeRO stage, None without DeepSpeed."""
        if self.stage is not None:
            configure_zero(accelerator, config)
        self.rows = None if self.stage is not None else row_gradient(module, encoder.backbone.get_input_embeddings())
        """Of the token embeddings, where they are trained and nothing spreads them."""
        self.model, self.optimizer = accelerator.prepare(module, make_optimizer(module, config))
        if self.rows:
            self.rows.agree()

    def step(self, batch: Batch, step: int) -> StepResult:
        """Do optimizer step number `step` (from 0) on this rank's part of the global batch.

        Where the loss of any rank or the gradient is not finite, all ranks leave weights and optimizer as they are.
        """
        self.model.train()
        rate = learning_rate(step, self.config)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        if self.rows:
            # Of backward passes that were no step's.
            self.rows.clear()
        batch = batch.to(self.accelerator.device)
        tokens = Ragged.join([batch.queries, batch.passages])
        loss = self._cached(tokens, batch) if self.config.cache_tokens else self._plain(tokens, batch)
        norm, skipped = self._update()
        return StepResult(loss.value.detach(), loss.accuracy, norm, rate, skipped)

    def close(self) -> None:
        """Give the encoder back as it was, its weights trained; there is no step after it."""
        if self.rows:
            self.rows.close()
            self.rows = None

    def _plain(self, tokens: Ragged, batch: Batch) -> Loss:
        loss = self.objective(self.model(tokens), batch)
        self._backward(_spoilt(loss.value))
        return loss

    def _cached(self, tokens: Ragged, batch: Batch) -> Loss:
        """Gradient cache (Gao et al. 2021, arXiv 2101.06983, section 3).

        Vectors first, without activations; then the loss and its gradient with respect to the vectors; then each
        chunk again, with activations, sending that gradient on. A chunk's two passes draw the same dropout masks.
        Ranks reduce gradients once: DDP and ZeRO-0 with the last chunk, the other stages after it.
        """
        device, agree = tokens.ids.device, self.module.encoder.agree
        parts = list(chunks(tokens.lengths, self.config.cache_tokens, agree))
        states, vectors = [], []
        with torch.no_grad():
            for rows in parts:
                states.append(_rng_state(device))
                vectors.append(self.module(tokens.select(rows)))
        back = torch.argsort(torch.cat(parts))
        leaf = torch.cat(vectors)[back].requires_grad_()
        loss = self.objective(leaf, batch)
        _spoilt(loss.value).backward()
        after = _rng_state(device)
        with self.model.coalesce_grad_reduction() if self.stage else nullcontext():
            for number, (rows, state) in enumerate(zip(parts, states, strict=True), 1):
                _set_rng_state(state, device)
                with nullcontext() if self.stage or number == len(parts) else self._unreduced():
                    again = self.model(tokens.select(rows))
                    self._backward((again * leaf.grad[rows]).sum())
        _set_rng_state(after, device)
        return loss

    def _unreduced(self):
        """Leave the gradients of a backward pass with their ranks."""
        return self.accelerator.no_sync(self.model)

    def _backward(self, value: Tensor) -> None:
        # accelerate's backward would do DeepSpeed's step as well.
        self.accelerator.backward(value) if self.stage is None else self.model.backward(value)

    def _update(self) -> tuple[Tensor, bool]:
        """Clip by the norm of the whole gradient and step; returns that norm, before, and whether the step was skipped.

        Both are the same on every rank. ZeRO 1 to 3 clip, look for what is not finite and skip by themselves.
        """
        if self.stage:
            self.model.step()
            return torch.as_tensor(self.model.get_global_grad_norm()), bool(self.model.optimizer.overflow)
        rows = [self.rows.reduce()] if self.rows else []
        norm = torch.nn.utils.clip_grad_norm_([*self.model.parameters(), *rows], self.config.clip or math.inf)
        skipped = not math.isfinite(norm)
        if not skipped:
            if self.rows:
                self.rows.give(*rows)
            self.optimizer.step() if self.stage is None else self.model.step()
        if self.rows:
            self.rows.clear()
        # DDP's gradients stay views of its buckets: new ones, of passes that it does not see (gradient cache), would
        # lie beside them.
        ddp = self.stage is None and world_size() > 1
        self.model.zero_grad(set_to_none=False) if ddp else self.model.zero_grad()
        return norm, skipped


def _spoilt(value: Tensor) -> Tensor:
    """Return the loss, as NaN with NaN gradients where it is not finite: an infinite loss may have finite ones.

    The reduction carries them to all ranks, which so agree without another exchange.
    """
    return value * (1 + 0 * value.detach())


def _rng_state(device: torch.device) -> tuple[Tensor, Tensor | None]:
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


def _set_rng_state(state: tuple[Tensor, Tensor | None], device: torch.device) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1], device)
