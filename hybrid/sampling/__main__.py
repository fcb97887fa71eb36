"""`python -m hybrid.sampling --config RECIPE --world_size 8 --steps 10000`: the audit of a recipe's mixture."""

import argparse
import sys

import numpy as np

from hybrid.sampling.audit import Audit, audit, branch_name, differences
from hybrid.sampling.config import MixtureError
from hybrid.sampling.mixture import Mixture
from hybrid.sampling.sampler import HybridBatchSampler

SHOWN = 40  # rows of a table that are printed


def main(arguments: list[str] | None = None) -> int:
    """Audit the recipe's mixture on the recipe's data; no model is loaded. Returns the exit status."""
    parser = argparse.ArgumentParser("python -m hybrid.sampling", description=__doc__, allow_abbrev=False)
    parser.add_argument("--world_size", type=int, default=1, help="number of processes to simulate")
    parser.add_argument("--steps", type=int, default=10_000, help="steps to go through")
    parser.add_argument("--save", help="Parquet file for the whole table")
    parser.add_argument("--plot", help="PNG file for realised shares over steps")
    parser.add_argument("--against", help="JSON file of a run's realised rows by stream name, after as many steps")
    options, recipe = parser.parse_known_args(arguments)
    if options.world_size < 1 or options.steps < 1:
        parser.error(f"--world_size {options.world_size} and --steps {options.steps} have to be 1 or more")
    from hybrid.config import read_config
    from hybrid.data.load import load_corpora
    from hybrid.runtime.errors import InputError

    try:
        config = read_config(recipe)
        return report(Mixture(config.mixture, load_corpora(config.data).train), config.training, options)
    except (InputError, MixtureError) as error:
        print(error, file=sys.stderr)
        return 2


def report(mixture: Mixture, training, options: argparse.Namespace) -> int:
    """Print, and save where asked for, the audit of a mixture; returns 1 if a run differs from it."""
    from hybrid.runtime.files import atomic_file, read_json

    counts = read_json(options.against) if options.against else None
    sampler = HybridBatchSampler(mixture, training.global_batch, training.seed)
    found = audit(mixture, training.global_batch, training.seed, options.world_size, options.steps)
    print(
        f"{options.steps} steps of {training.global_batch} rows, form {mixture.config.form}, schedule "
        f"{mixture.config.schedule}, {len(mixture.items)} streams, {sampler.lanes} lanes, {options.world_size} ranks"
    )
    print("\n".join(lines(found, mixture.config.schedule == "quota")))
    if options.save:
        import pyarrow
        import pyarrow.parquet

        with atomic_file(options.save, "wb") as file:
            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(found.branches), file)
    if options.plot:
        plot(options.plot, sampler, options.steps)
    if counts is None:
        return 0
    wrong = differences(found, counts)
    print("\n".join(wrong) or "the run's counts are those of the audit")
    return 1 if wrong else 0


def lines(found: Audit, bounded: bool) -> list[str]:
    """Return the audit as text; of long tables only the streams that deviate most."""
    first = [row for row in found.branches if row["rank"] == 0]
    streams = sorted((row for row in first if row["level"] == "stream"), key=lambda row: -row["deviation"])
    text = _table([row for row in first if row["level"] != "stream"] + streams[:SHOWN])
    if len(streams) > SHOWN:
        text.append(f"... and {len(streams) - SHOWN} streams that deviate less; --save writes all")
    text += ["", "largest deviation by rank, over all prefixes" + (" (quota: below 1)" if bounded else "")]
    worst: dict[int, dict[str, float]] = {}
    for row in found.branches:
        levels = worst.setdefault(row["rank"], {})
        levels[row["level"]] = max(levels.get(row["level"], 0.0), row["deviation"])
    for rank, levels in worst.items():
        whose = f"rank {rank}" if len(worst) == len(found.rows) else "all ranks alike"
        cut = (f"{level} {int(value * 1e4) / 1e4:.4f}" for level, value in levels.items())
        text.append(f"  {whose}: {', '.join(cut)}")
    shares = found.duplicates
    text += ["", *_table(found.languages[:SHOWN]), ""]
    told = "unknown" if shares is None else f"{shares:.2%} of its rows"
    return [*text, f"duplicate groups per batch, within a data set: {told}"]


def _table(rows: list[dict]) -> list[str]:
    """Return dictionaries as aligned columns, numbers with as many digits as they need."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    values = [[row.get(name, "") for name in columns] for row in rows]
    cells = [columns] + [[f"{cell:.6g}" if isinstance(cell, float) else str(cell) for cell in row] for row in values]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def plot(path: str, sampler: HybridBatchSampler, steps: int) -> None:
    """Draw the realised shares of the first branching over steps, a line for each lane, as PNG."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 5), layout="constrained")
    nodes = [entry for entry in sampler.nodes(steps) if len(entry[1].parts) > 1]
    drawn = min((node.path for _, node, _ in nodes), key=len, default=None)
    for number, (lane, node, turns) in enumerate(entry for entry in nodes if entry[1].path == drawn):
        child, turn = sampler.schedule(node, lane).take(np.arange(turns))[0], np.arange(1, turns + 1)
        for i, share in enumerate(map(float, node.shares()[:10])):
            label = None if number else f"{branch_name(sampler.mixture, node, i)}, share {share:.4g}"
            axes.plot(turn, np.cumsum(child == i) / turn, color=f"C{i}", linewidth=0.8, label=label)
            axes.axhline(share, color=f"C{i}", linestyle=":")
    axes.set(xscale="log", xlabel="batches (or rows) drawn", ylabel="realised share")
    if nodes:
        axes.legend()
    figure.savefig(path, format="png", dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    sys.exit(main())
