"""`python -m hybrid.training.roofline --config RECIPE`: how far a step is from what this machine allows, and why.

Counts operations and bytes of the recipe's step, measures this machine's matrix and memory rates in a few seconds, and
holds the last run of the recipe (training.output/training.name, or --run) against the bound.
"""

import argparse
import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from hybrid.config import Config, read_config
from hybrid.runtime.errors import InputError
from hybrid.runtime.processes import cores
from hybrid.runtime.tracking import JOURNAL
from hybrid.sampling import MixtureError
from hybrid.training.flops import best_seconds, measured_flops, peak_flops
from hybrid.training.plan_memory import Layout
from hybrid.training.plan_step import Lengths
from hybrid.training.report import flat
from hybrid.training.roofline_terms import Rates, Term, terms

WORK = (
    *("model.name", "model.from_scratch", "model.layers", "model.lora", "model.projection", "model.freeze_embeddings"),
    *("data.query_max_length", "data.passage_max_length", "data.hard_negatives", "training.global_batch"),
    *("training.precision", "training.cache_tokens", "training.activation_checkpointing"),
)
"""Settings that a step's operations and bytes depend on."""
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class LastRun:
    """What the journal of a run tells about its steps."""

    seconds: float
    """Of a step, at the last log line."""
    tokens: float
    """Of a pair, no padding."""
    world: int
    mfu: float


def main(arguments: list[str] | None = None) -> int:
    """Print the terms of a step and the distance of the last run; returns the exit status."""
    parser = argparse.ArgumentParser("python -m hybrid.training.roofline", description=__doc__, allow_abbrev=False)
    parser.add_argument("--run", type=Path, help="folder of a run of this recipe; unset: training.output/training.name")
    parser.add_argument("--ranks", type=int, help="number of ranks; unset: the run's, else 1")
    parser.add_argument("--zero", type=int, choices=[0, 1, 2, 3], help="ZeRO stage; unset: DDP")
    parser.add_argument("--bandwidth", type=float, default=10, help="GB/s that a rank sends to the others")
    options, recipe = parser.parse_known_args(arguments)
    try:
        config = read_config(recipe)
        run = last_run(options.run or config.folder, config, required=options.run is not None)
        world = (run.world if run else 1) if options.ranks is None else options.ranks
        check(config, run, world, options.bandwidth)
        layout = Layout("DDP" if options.zero is None else f"ZeRO-{options.zero}", options.zero)
        lengths = mean_lengths(config, run)
        parts = terms(config, world, lengths, layout)
    except (InputError, MixtureError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rates = measure(device, config.training.precision, options.bandwidth * 1e9, world)
    for line in [*report(config, world, lengths, parts, rates), *distance(parts, rates, run)]:
        print(line)
    for line in slower_precision(device, config.training.precision):
        print(line)
    return 0


def last_run(folder: Path, config: Config, required: bool = False) -> LastRun | None:
    """Read a run's journal; None where there is none, or no rate was logged yet.

    Raises InputError where it is `required` and not there, or its steps did other work than the recipe's do.
    """
    if not (folder / JOURNAL).exists():
        if required:
            raise InputError(
                f"--run {folder}: holds no {JOURNAL}; give the folder of a run with tracking.enabled true."
            )
        return None
    parameters, rates = {}, {}
    with open(folder / JOURNAL, encoding="utf-8") as journal:
        for line in journal:
            if not line.endswith("\n"):
                break  # of a run that goes on, or was killed
            event = json.loads(line)
            if event["kind"] == "params":
                parameters |= event["values"]
            elif event["kind"] == "metrics" and event["values"].get("train/pairs_per_second"):
                rates = event["values"]
    if not rates:
        if required:
            raise InputError(f"--run {folder}: has logged no rate yet; wait for its first log line after step 2.")
        return None
    own = {key: str(value) for key, value in flat(config).items()}
    keys = sorted(key for key in own.keys() | parameters.keys() if key.startswith(WORK))
    if other := [key for key in keys if own.get(key) != parameters.get(key)]:
        raise InputError(
            f"{folder}: was trained with {other[0]} {parameters.get(other[0])}, the recipe has {own.get(other[0])}; "
            f"give the run's own configuration, --config {folder / 'config.yaml'}."
        )
    pairs, tokens = rates["train/pairs_per_second"], rates["train/tokens_per_second"]
    seconds, world = config.training.global_batch / pairs, int(parameters["world_size"])
    return LastRun(seconds, tokens / pairs, world, rates["train/mfu"])


def check(config: Config, run: LastRun | None, world: int, bandwidth: float) -> None:
    """Raise InputError where ranks or bandwidth cannot be."""
    if world < 1 or config.training.global_batch % world:
        raise InputError(
            f"--ranks is {world}; give a divisor of training.global_batch, {config.training.global_batch}."
        )
    if run and run.world != world:
        raise InputError(f"--ranks is {world}, but the run had {run.world}; leave --ranks away, or give another --run.")
    if not 0 < bandwidth < math.inf:
        raise InputError(f"--bandwidth is {bandwidth}; give a positive number of GB/s.")


def mean_lengths(config: Config, run: LastRun | None) -> Lengths:
    """Return tokens of a query and of a passage: the run's, shared out as the recipe's limits are, or those limits."""
    data = config.data
    longest = data.query_max_length + (1 + data.hard_negatives) * data.passage_max_length
    part = run.tokens / longest if run else 1.0
    return Lengths(max(1, round(data.query_max_length * part)), max(1, round(data.passage_max_length * part)))


def measure(device: torch.device, precision: str, link: float, world: int) -> Rates:
    """Measure matrix products (a GPU's are the data sheet's) and memory, of one of `world` ranks.

    Ranks on a CPU share it: several get equal parts of what all its cores do together.
    """
    if device.type == "cuda" or world == 1:
        return Rates(peak_flops(device, precision), memory_rate(device), link)
    threads = torch.get_num_threads()
    torch.set_num_threads(cores())
    try:
        return Rates(peak_flops(device, precision) / world, memory_rate(device) / world, link)
    finally:
        torch.set_num_threads(threads)


def memory_rate(device: torch.device, size: int = 2**26) -> float:
    """Return bytes per second, read and written, of copying `size` numbers: the best of five."""
    source, target = (torch.ones(size, device=device) for _ in range(2))

    def copy() -> None:
        target.copy_(source)
        target[-1].item()

    return 2 * source.nbytes / best_seconds(copy, device)


def report(config: Config, world: int, lengths: Lengths, parts: list[Term], rates: Rates) -> list[str]:
    """Return the terms, each with its least seconds and its part of their sum."""
    whole = sum(rates.seconds(term) for term in parts)
    lines = [
        f"{config.training.global_batch} pairs on {world} ranks, queries of {lengths.query} and passages of "
        f"{lengths.passage} tokens on average, {config.training.precision}",
        f"a rank: {rates.operations / 1e9:.0f} GFLOP/s of matrix products, {rates.memory / 1e9:.1f} GB/s of memory, "
        f"{rates.link / 1e9:.1f} GB/s to the others (stated)",
        "",
        f"{'term':<34}{'GFLOP':>12}{'GB':>10}{'s at least':>12}{'part':>8}",
    ]
    for term in parts:
        seconds, moved = rates.seconds(term), term.moved + term.sent
        lines.append(
            f"{term.name:<34}{term.operations / 1e9:>12.1f}{moved / 1e9:>10.2f}{seconds:>12.4f}{seconds / whole:>8.1%}"
        )
    return [*lines, ""]


def distance(parts: list[Term], rates: Rates, run: LastRun | None) -> list[str]:
    """Return the bound, the term that binds, and how far the run's step is from it."""
    bound, binding = rates.bound(parts), max(parts, key=rates.seconds)
    kinds = {"operations": binding.operations / rates.operations, "memory": binding.moved / rates.memory}
    kinds["communication"] = binding.sent / rates.link
    limit = max(kinds, key=kinds.get)
    lines = [f"bound: {bound:.4f} s a step; {binding.name} binds, by {limit}"]
    if run is None:
        return [*lines, "no run of this recipe was found to hold against it (--run FOLDER)"]
    ratio = run.seconds / bound
    lines.append(
        f"last run: {run.seconds:.4f} s a step, {ratio:.2f} times the bound; its log line's mfu is {run.mfu:.0%}"
    )
    if ratio < 1:
        lines.append("a run faster than the bound: this machine is slower now (busy?), or was another; measure again")
    return lines


def slower_precision(device: torch.device, precision: str) -> list[str]:
    """Return a warning where products in the recipe's precision are slower here than in the other one."""
    rates = {name: measured_flops(device, dtype) for name, dtype in PRECISIONS.items()}
    other = next(name for name in PRECISIONS if name != precision)
    line = ", ".join(f"{name} {rate / 1e9:.0f} GFLOP/s" for name, rate in rates.items())
    lines = [f"measured products: {line}"]
    if rates[other] > 1.1 * rates[precision]:
        times = rates[other] / rates[precision]
        lines.append(
            f"warning: training.precision is {precision}, but products in {other} are {times:.1f} times as fast on "
            f"this machine; set training.precision to {other} here."
        )
    return lines


if __name__ == "__main__":
    sys.exit(main())
