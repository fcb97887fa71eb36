"""`python -m hybrid.training.plan --config RECIPE --gpus 16 --gpu_memory 80`: what a step needs, before you pay for it.

Bytes per rank for DDP, each ZeRO stage and offload, the largest batch and chunk that fit, the seconds of a step, and
what to launch. It needs no GPU, no weights and, for the recipes' encoders, no network.
"""

import argparse
import math
import sys

from hybrid.config import Config, read_config
from hybrid.runtime.errors import InputError
from hybrid.sampling import MixtureError, lanes_of
from hybrid.training.flops import PEAKS
from hybrid.training.plan_memory import LAYOUTS, Layout
from hybrid.training.plan_step import MARGIN, Lengths, Machine, Planner, Prediction

SMALL_CHUNK = 4096
"""Tokens of a chunk below which it is recommended only where nothing else fits."""


def main(arguments: list[str] | None = None) -> int:
    """Print the plan of a recipe; returns the exit status, 1 where nothing fits."""
    parser = argparse.ArgumentParser("python -m hybrid.training.plan", description=__doc__, allow_abbrev=False)
    parser.add_argument("--gpus", type=int, default=8, help="number of GPUs, of all nodes")
    parser.add_argument("--gpu_memory", type=float, default=80, help="GB of one")
    parser.add_argument("--gpu", default="H100", choices=sorted(PEAKS), help="whose data sheet gives the peak")
    parser.add_argument("--mfu", type=float, default=0.4, help="the part of the peak that training reaches")
    parser.add_argument("--bandwidth", type=float, default=100, help="GB/s that a GPU sends to the others")
    parser.add_argument("--query_tokens", type=int, help="of a query; unset: data.query_max_length")
    parser.add_argument("--passage_tokens", type=int, help="of a passage; unset: data.passage_max_length")
    options, recipe = parser.parse_known_args(arguments)
    try:
        config = read_config(recipe)
        machine, lengths = check(options, config)
        planner = Planner(config, machine, lengths)
    except (InputError, MixtureError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    predictions = [planner.predict(layout) for layout in LAYOUTS]
    for line in [*heading(planner, options), *table(predictions, machine)]:
        print(line)
    return recommend(predictions, planner)


def check(options: argparse.Namespace, config: Config) -> tuple[Machine, Lengths]:
    """Return what the plan is for; raises InputError where a number cannot be, MixtureError for one of ranks."""
    for name in ("gpus", "gpu_memory", "bandwidth"):
        if not 0 < getattr(options, name) < math.inf:
            raise InputError(f"--{name} is {getattr(options, name)}; give a positive number.")
    if not 0 < options.mfu <= 1:
        raise InputError(f"--mfu is {options.mfu}; give a part of the peak above 0 and at most 1, such as 0.4.")
    if config.training.global_batch % options.gpus:
        raise InputError(
            f"training.global_batch is {config.training.global_batch}, which --gpus {options.gpus} do not divide; "
            "change one of them."
        )
    lanes_of(config.mixture, config.training.global_batch, options.gpus)  # what the job would refuse is not planned
    query, passage = options.query_tokens, options.passage_tokens
    query = config.data.query_max_length if query is None else query
    passage = config.data.passage_max_length if passage is None else passage
    for name, value, most in (
        ("query", query, config.data.query_max_length),
        ("passage", passage, config.data.passage_max_length),
    ):
        if not 0 < value <= most:
            raise InputError(f"--{name}_tokens is {value}; give 1 to {most} (data.{name}_max_length).")
    # fp32 products run at a sixteenth of bf16's rate (A100's and H100's data sheets; torch leaves TF32 off).
    peak = PEAKS[options.gpu] / (1 if config.training.precision == "bf16" else 16)
    machine = Machine(options.gpus, options.gpu_memory * 1e9, peak, options.mfu, options.bandwidth * 1e9)
    return machine, Lengths(query, passage)


def heading(planner: Planner, options: argparse.Namespace) -> list[str]:
    """Return what is planned, in lines."""
    sizes, training = planner.sizes, planner.config.training
    cached = f", gradient cache of {training.cache_tokens} tokens" if training.cache_tokens else ""
    again = ", activations computed again" if training.activation_checkpointing else ""
    return [
        f"{planner.config.model.name or 'from scratch'}: {sizes.entries / 1e6:.1f} M parameters, "
        f"{sizes.trained / 1e6:.1f} M trained, {sizes.embedding / 1e6:.1f} M in the embedding matrix; "
        f"{training.precision}{again}{cached}",
        f"{training.global_batch} pairs on {options.gpus} GPUs: {planner.rows} rows a rank, "
        f"{planner.passages} passages a row, queries of {planner.lengths.query} and passages of "
        f"{planner.lengths.passage} tokens",
        f"step: {planner.operations(bool(training.cache_tokens)) / 1e12:.1f} TFLOP a rank at {options.mfu:.0%} of "
        f"{planner.machine.peak / 1e12:.0f} TFLOP/s; GB below are 1e9 bytes, {MARGIN:.0%} of a GPU's are filled",
        "",
    ]


def table(predictions: list[Prediction], machine: Machine) -> list[str]:
    """Return a line for each layout."""
    names = ["weights", "gradients", "optimizer", "buffers", "activations", "vectors", "total", "host"]
    limits = ["rows", "cache_tokens", "s/step"]
    width = max(len(prediction.layout.name) for prediction in predictions)
    lines = [f"{'':<{width}}" + "".join(f"{name:>13}" for name in names + limits) + "  fits"]
    for found in predictions:
        held = found.states
        values = [held.parameters, held.gradients, held.optimizer, held.buffers, found.activations, found.vectors]
        cells = "".join(f"{value / 1e9:>13.2f}" for value in [*values, found.total, held.host])
        cells += f"{found.rows:>13}{found.cache_tokens:>13}{found.seconds:>13.3f}"
        lines.append(f"{found.layout.name:<{width}}{cells}  {'yes' if fits(found, machine) else 'no'}")
    return [*lines, "rows, cache_tokens: the most that fit, without and with the gradient cache", ""]


def fits(found: Prediction, machine: Machine) -> bool:
    """Return whether a layout's step stays within a GPU's memory."""
    return found.total <= MARGIN * machine.memory


def recommend(predictions: list[Prediction], planner: Planner) -> int:
    """Print the fastest layout that fits as the recipe is, or else with a smaller chunk; returns 1 where none does."""
    good = [found for found in predictions if fits(found, planner.machine)]
    if good:
        best = min(good, key=lambda found: found.seconds)
        print(f"recommended: {best.layout.name}, as the recipe is ({best.seconds:.3f} s a step)")
        if best.uses_cache and best.rows >= planner.rows:
            spared = planner.seconds(best.layout, None)
            print(f"faster: without training.cache_tokens all rows fit at once ({spared:.3f} s a step)")
        # Of the smaller chunks none whose products are too small for the stated MFU.
        smaller = [found for found in predictions if found.cache_tokens >= SMALL_CHUNK]
        chunked = min(smaller, key=lambda found: planner.seconds(found.layout, _chunk(found)), default=None)
        if chunked and planner.seconds(chunked.layout, _chunk(chunked)) < best.seconds:
            print(f"faster: {_chunked(chunked, planner)}")
    else:
        longest = max(planner.lengths.query, planner.lengths.passage)
        good = [found for found in predictions if found.cache_tokens >= longest]
        if not good:
            again = "" if planner.config.training.activation_checkpointing else "training.activation_checkpointing, "
            print(f"nothing fits; take {again}more GPUs, LoRA (model.lora), fewer model.layers or a smaller batch.")
            return 1
        best = min(good, key=lambda found: planner.seconds(found.layout, _chunk(found)))
        print(f"recommended: {_chunked(best, planner)}")
    print(f"launch: {launch(best.layout, planner.machine.gpus)}")
    return 0


def _chunk(found: Prediction) -> int:
    """Return the largest power of two of tokens that fits."""
    return 2 ** (found.cache_tokens.bit_length() - 1)


def _chunked(found: Prediction, planner: Planner) -> str:
    seconds = planner.seconds(found.layout, _chunk(found))
    return f"{found.layout.name} with --training.cache_tokens {_chunk(found)} ({seconds:.3f} s a step)"


def launch(layout: Layout, gpus: int) -> str:
    """Return the launcher's part of the command, for GPUs of eight a node."""
    nodes = -(-gpus // 8)
    many = f" --num_machines {nodes} --machine_rank R --main_process_ip ADDRESS --main_process_port 29500" * (nodes > 1)
    start = f"accelerate launch --num_processes {gpus}{many}"
    if layout.stage is None:
        return start + (" --multi_gpu" if gpus > 1 else "") + " train.py --config RECIPE"
    file = f"ds_configs/zero{layout.stage}{'_offload' * layout.offload_optimizer}.json"
    less = layout.stage == 3 and layout.offload_optimizer and not layout.offload_parameters
    where = f" (FILE: {file} without offload_param)" if less else ""
    # Else accelerate gives the nodes to pdsh, which wants a hostfile and no line of its own on each node.
    each = " --deepspeed_multinode_launcher standard" * (nodes > 1)
    named = "FILE" if less else file
    return f"{start} --use_deepspeed{each} --deepspeed_config_file {named} train.py --config RECIPE{where}"


if __name__ == "__main__":
    sys.exit(main())
