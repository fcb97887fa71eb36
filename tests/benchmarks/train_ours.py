"""Started by accelerate: a few training steps of this project. One argument, JSON; prints JSON of times and memory."""

import json
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import torch
import yaml

from hybrid.config import read_config
from hybrid.data.load import load_corpora
from hybrid.runtime.interruption import run_to_end
from hybrid.runtime.launch import start
from hybrid.runtime.processes import gather_objects, is_main
from hybrid.training.batches import make_batches
from hybrid.training.engine import Engine
from hybrid.training.flops import costs, peak_flops
from tests.benchmarks.suite import memory_gb
from train import make_collator, make_encoder, make_sampler


def recipe(given: dict) -> dict:
    """Return the recipe that does the benchmark's work."""
    model = {"dropout": 0.0, "query_prefix": "query: ", "passage_prefix": "passage: "} | given["model"]
    return {
        "data": {
            "sets": {"pairs": {"format": "pairs", "files": given["pairs"], "columns": {"lang": "=en"}}},
            "passage": "paragraph",
            "query_max_length": given["length"],
            "passage_max_length": given["length"],
            "cache": given["cache"],
        },
        "mixture": {"monolingual": 1},
        "model": model,
        "objective": {"temperature": 0.02},
        "training": {
            "steps": given["steps"],
            "global_batch": given["batch"],
            "learning_rate": 2e-5,
            "precision": given["precision"],
            "cache_tokens": given.get("cache_tokens"),
        },
    }


def main(given: dict) -> dict:
    """Do the steps; the median leaves the first out, in which kernels are chosen."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recipe.yaml"
        path.write_text(yaml.safe_dump(recipe(given)), encoding="utf-8")
        config = read_config(["--config", str(path)])
    accelerator = start(config.training.precision, 0)
    data = load_corpora(config.data)
    sampler = make_sampler(config, data)
    encoder = make_encoder(config, data).to(accelerator.device)
    if given.get("compile"):
        encoder.backbone.compile(backend=given["compile"], dynamic=True)
    collator = make_collator(config, data, encoder)
    engine = Engine(encoder, config.objective, config.training, accelerator)
    count, operations = costs(encoder.backbone), 0.0
    seconds, ids, tokens, loss, last = [], [], [], 0.0, time.perf_counter()
    for step, batch in enumerate(make_batches(sampler, collator, config.training.workers)):
        result = engine.step(batch, step)
        value = result.loss.item()
        now = time.perf_counter()
        seconds.append(now - last)
        lengths = torch.cat([batch.queries.lengths, batch.passages.lengths])
        tokens.append(int(lengths.sum()))
        operations += count.training(lengths) + count.scores(len(batch.queries), given["batch"])
        if step == 0:
            loss, ids = value, [data.train[0].item_name(item) for item in batch.rows[:, 1].tolist()]
        last = now
    pairs = given["batch"] * given["steps"] / accelerator.num_processes
    first = gather_objects((loss, ids))  # ranks measure the peak at once, right after it
    return {
        "world": accelerator.num_processes,
        "seconds": median(seconds[1:] or seconds),
        "memory_gb": sum(gather_objects(memory_gb())),
        "tokens_per_pair": sum(tokens) / pairs,
        "operations_per_pair": operations / pairs,
        # Of all ranks, measured at the same time, as the pairs are those of all of them.
        "peak": sum(gather_objects(peak_flops(accelerator.device, config.training.precision))),
        "first_loss": sum(loss for loss, _ in first) / len(first),
        "ids": [name for _, names in first for name in names],
    }


def run() -> None:
    result = main(json.loads(sys.argv[1]))
    if is_main():
        print(json.dumps(result))


if __name__ == "__main__":
    run_to_end(run)
