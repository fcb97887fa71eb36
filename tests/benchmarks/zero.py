"""Step time and memory of DeepSpeed's ZeRO 0 to 3 against DDP, two processes, an XLM-R with random weights."""

import tempfile
from argparse import ArgumentParser, Namespace
from pathlib import Path

from tests.benchmarks.suite import ROOT, Case, report, worker
from tests.benchmarks.training import write_pairs

SIZES = {"small": (384, 6, 6), "base": (768, 12, 12), "large": (1024, 24, 16)}
"""Hidden size, layers, heads; the feed-forward layer has four times the hidden size."""


def add_arguments(parser: ArgumentParser) -> None:
    """Add what it can be told."""
    parser.add_argument("--tokenizer", required=True, help="a directory with XLM-R's tokenizer")
    parser.add_argument("--size", default="base", choices=SIZES)
    parser.add_argument("--stages", type=int, nargs="+", default=[0, 1, 2, 3], choices=range(4), help="beside DDP")
    parser.add_argument("--batch", type=int, default=8, help="pairs of the global batch")
    parser.add_argument("--length", type=int, default=64, help="tokens at the most")
    parser.add_argument("--steps", type=int, default=4, help="steps of one repeat; the first is not counted")
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16"])
    parser.add_argument("--cache_tokens", type=int, help="gradient cache; unset is plain")
    parser.add_argument("--train_embeddings", action="store_true", help="10 GB a process with base in fp32")


def run(given: Namespace) -> None:
    """Measure DDP and each stage in turn."""
    launchers = {"DDP": ()}
    for stage in given.stages:
        config = str(ROOT / "ds_configs" / f"zero{stage}.json")
        launchers[f"ZeRO-{stage}"] = ("--use_deepspeed", "--deepspeed_config_file", config)
    cases = {name: Case(name, "s a step", memory_gb=0.0, against="DDP") for name in launchers}
    cases["DDP"].against = None
    with tempfile.TemporaryDirectory() as folder:
        work = {
            "model": {
                "from_scratch": random_xlmr(given.size, given.tokenizer),
                "freeze_embeddings": not given.train_embeddings,
            },
            "pairs": str(write_pairs(Path(folder), given.batch * given.steps)),
            "cache": folder,
            "length": given.length,
            "batch": given.batch,
            "steps": given.steps,
            "precision": given.precision,
            "cache_tokens": given.cache_tokens,
        }
        for _ in range(given.repeats):
            for name, launcher in launchers.items():
                found = worker("train_ours.py", work, 2, launcher)
                assert found["world"] == 2, found
                cases[name].values.append(found["seconds"])
                cases[name].memory_gb = max(cases[name].memory_gb, found["memory_gb"])
    notes = [
        f"XLM-R {given.size}, random weights, embeddings {'trained' if given.train_embeddings else 'frozen'}",
        f"batch {given.batch}, {given.length} tokens, {given.precision}",
        "Memory is the sum over both processes.",
    ]
    report(list(cases.values()), notes, given)


def random_xlmr(size: str, tokenizer: str) -> dict:
    """Return what a recipe says of an XLM-R of this size without pretrained weights."""
    hidden, layers, heads = SIZES[size]
    shape = {"hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads}
    more = {"intermediate_size": 4 * hidden, "max_position_embeddings": 514, "type_vocab_size": 1}
    return {"model_type": "xlm-roberta", "config": shape | more, "tokenizer": tokenizer}
