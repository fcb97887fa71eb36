"""Started by accelerate: the same training steps by sentence-transformers' trainer. One argument, JSON; prints JSON."""

import json
import os
import sys
import time
from statistics import median

import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.losses import (
    CachedMultipleNegativesRankingLoss,
    MultipleNegativesRankingLoss,
)
from transformers import AutoConfig, TrainerCallback

from tests.benchmarks.suite import PREFIXES, memory_gb


class Clock(TrainerCallback):
    """Seconds of each step, data included."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.last = 0.0

    def on_train_begin(self, *_, **__) -> None:
        """Start with the first batch."""
        self.last = time.perf_counter()

    def on_step_end(self, *_, **__) -> None:
        """Take the time since the step before."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        now = time.perf_counter()
        self.seconds.append(now - self.last)
        self.last = now


def load(given: dict) -> SentenceTransformer:
    """Return the same encoder, without dropout."""
    name = given["model"]["name"]
    rates = AutoConfig.from_pretrained(name).to_dict().items()
    settings = {key: 0.0 for key, value in rates if "dropout" in key and isinstance(value, float)}
    model = SentenceTransformer(name, device=None, config_kwargs=settings)
    model.max_seq_length = given["length"]
    if given["model"].get("freeze_embeddings"):
        model[0].auto_model.get_input_embeddings().requires_grad_(False)
    return model


def make_loss(model: SentenceTransformer, given: dict, gather_across_devices: bool) -> torch.nn.Module:
    """Return the peer's loss; with the gradient cache its mini-batches hold as many tokens as our chunks.

    Theirs are cut in the order of the batch and count no padding, which they then compute.
    """
    if not given.get("cache_tokens"):
        return MultipleNegativesRankingLoss(model, 50.0, gather_across_devices=gather_across_devices)
    return CachedMultipleNegativesRankingLoss(
        model,
        50.0,
        mini_batch_size=max(1, given["cache_tokens"] // given["length"]),  # rows of scores that are made at once
        mini_batch_num_tokens=given["cache_tokens"],
        gather_across_devices=gather_across_devices,
    )


def main(given: dict) -> dict:
    """Train on the pairs, or those with `ids`."""
    with open(given["pairs"], encoding="utf-8") as lines:
        pairs = [json.loads(line) for line in lines]
    world = int(os.environ.get("WORLD_SIZE", 1))
    model = load(given)
    if given.get("ids"):
        by_id = {pair["id"]: pair for pair in pairs}
        pairs = [by_id[name] for name in given["ids"]]
    count = given["steps"] * given["batch"]
    rows = Dataset.from_dict({name: [pair[name] for pair in pairs[:count]] for name in ("query", "passage")})
    settings = SentenceTransformerTrainingArguments(
        output_dir=given["cache"],
        max_steps=given["steps"],
        per_device_train_batch_size=given["batch"] // world,
        learning_rate=2e-5,
        weight_decay=0.01,
        max_grad_norm=1.0,
        bf16=given["precision"] == "bf16",
        use_cpu=not torch.cuda.is_available(),
        ddp_backend="gloo" if world > 1 and not torch.cuda.is_available() else None,
        dataloader_num_workers=1,
        prompts=PREFIXES,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        logging_strategy="no",
    )
    loss = make_loss(model, given, gather_across_devices=world > 1)
    clock, losses = Clock(), []
    loss.register_forward_hook(lambda *passed: losses.append(passed[-1].item()))
    trainer = SentenceTransformerTrainer(model, settings, train_dataset=rows, loss=loss, callbacks=[clock])
    trainer.train()
    ranks = [(losses[0], memory_gb())] * world
    if world > 1:
        torch.distributed.all_gather_object(ranks, ranks[0])
    return {
        "world": trainer.accelerator.num_processes,
        "seconds": median(clock.seconds[1:] or clock.seconds),
        "memory_gb": sum(memory for _, memory in ranks),
        "first_loss": sum(loss for loss, _ in ranks) / world,
    }


if __name__ == "__main__":
    result = main(json.loads(sys.argv[1]))
    if int(os.environ.get("RANK", 0)) == 0:
        print(json.dumps(result))
