"""One step: from a batch to the next weights, the same whatever the number of ranks."""

import math
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hybrid.data.batch import Batch
from hybrid.models.encoder import Encoder, chunks
from hybrid.runtime.ragged import Ragged
from hybrid.training.config import ObjectiveConfig, TrainingConfig
from hybrid.training.objective import Loss, Objective
from hybrid.training.optimizer import learning_rate, make_optimizer
from hybrid.training.zero import configure_zero, uses_deepspeed


class ScaledEncoder(nn.Module):
    """The encoder and the temperature τ: vectors of length τ^-1/2, so that their dot products are the scores.

    The temperature sits inside the wrapped module, so that DDP, ZeRO and the gradient cache treat it as they treat
    every other parameter.
    """

    def __init__(self, encoder: Encoder, config: ObjectiveConfig):
        super().__init__()
        self.encoder = encoder
        self.log_temperature = nn.Parameter(
            torch.tensor([math.log(config.temperature)]), requires_grad=config.learn_temperature
        )

    def forward(self, tokens: Ragged) -> Tensor:
        """Return [N, D] in fp32."""
        return self.encoder(tokens) * torch.exp(-self.log_temperature.float() / 2)


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
        module = ScaledEncoder(encoder, objective)
        self.zero = uses_deepspeed(accelerator)
        if self.zero:
            configure_zero(accelerator, config)
        self.model, self.optimizer = accelerator.prepare(module, make_optimizer(module, config))

    @property
    def module(self) -> ScaledEncoder:
        """The module without its wrappers."""
        return self.accelerator.unwrap_model(self.model)

    def step(self, batch: Batch, step: int) -> StepResult:
        """Do optimizer step number `step` (from 0) on this rank's part of the global batch."""
        self.model.train()
        rate = learning_rate(step, self.config)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        batch = batch.to(self.accelerator.device)
        tokens = Ragged.join([batch.queries, batch.passages])
        loss = self._cached(tokens, batch) if self.config.cache_tokens else self._plain(tokens, batch)
        norm = self._clip()
        # DeepSpeed has stepped with the backward pass already.
        skipped = not self.zero and not math.isfinite(norm)
        if not skipped:
            self.optimizer.step()
        self.optimizer.zero_grad()
        return StepResult(loss.value.detach(), loss.accuracy, norm, rate, skipped)

    def _plain(self, tokens: Ragged, batch: Batch) -> Loss:
        loss = self.objective(self.model(tokens), batch)
        self.accelerator.backward(loss.value)
        return loss

    def _cached(self, tokens: Ragged, batch: Batch) -> Loss:
        """Gradient cache (Gao et al. 2021, arXiv 2101.06983, section 3).

        Vectors first, without activations; then the loss and its gradient with respect to the vectors; then each
        chunk again, with activations, sending that gradient on. A chunk's two passes draw the same dropout masks.
        Ranks reduce gradients once, with the last chunk.
        """
        parts = list(chunks(tokens.lengths, self.config.cache_tokens))
        states, vectors = [], []
        with torch.no_grad():
            for rows in parts:
                states.append(_rng_state(tokens.ids.device))
                vectors.append(self.module(tokens.select(rows)))
        back = torch.argsort(torch.cat(parts))
        leaf = torch.cat(vectors)[back].requires_grad_()
        loss = self.objective(leaf, batch)
        loss.value.backward()
        after = _rng_state(tokens.ids.device)
        for number, (rows, state) in enumerate(zip(parts, states, strict=True), 1):
            _set_rng_state(state, tokens.ids.device)
            last = number == len(parts)
            with nullcontext() if last else self.accelerator.no_sync(self.model):
                again = self.model(tokens.select(rows))
                self.accelerator.backward((again * leaf.grad[rows]).sum())
        _set_rng_state(after, tokens.ids.device)
        return loss

    def _clip(self) -> Tensor:
        """Clip by the norm of the whole gradient, which is the same on every rank; returns the norm before.

        It is NaN under ZeRO-0, where DeepSpeed does not tell it.
        """
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), self.config.clip or float("inf"))
        return torch.tensor(float("nan")) if norm is None else torch.as_tensor(norm)


def _rng_state(device: torch.device) -> tuple[Tensor, Tensor | None]:
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


def _set_rng_state(state: tuple[Tensor, Tensor | None], device: torch.device) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1], device)
