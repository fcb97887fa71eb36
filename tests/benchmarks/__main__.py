"""`HYBRID_DATA=... python -m tests.benchmarks NAME ...`: one benchmark, with its flags."""

from argparse import ArgumentParser
from functools import partial
from pathlib import Path

from tests.benchmarks import data, encoding, evaluation, growth, sampler, training, zero

BENCHMARKS = {
    "train": (training, training.run),
    "cached": (training, partial(training.run, cached=True)),
    "encode": (encoding, encoding.run),
    "evaluate": (evaluation, evaluation.run),
    "data": (data, data.run),
    "growth": (growth, growth.run),
    "sampler": (sampler, sampler.run),
    "zero": (zero, zero.run),
}


def main() -> None:
    """Run what is named."""
    parser = ArgumentParser(prog="python -m tests.benchmarks")
    names = parser.add_subparsers(dest="name", required=True)
    for name, (module, run) in BENCHMARKS.items():
        one = names.add_parser(name, help=module.__doc__)
        one.add_argument("--repeats", type=int, default=5)
        one.add_argument("--out", type=Path, default=Path("runs/benchmarks"), help="folder of the JSON files")
        module.add_arguments(one)
        one.set_defaults(run=run)
    given = parser.parse_args()
    given.run(given)


if __name__ == "__main__":
    main()
