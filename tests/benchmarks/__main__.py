"""`HYBRID_DATA=... python -m tests.benchmarks NAME ...`: one benchmark, with its flags; `all` runs them one by one."""

from argparse import ArgumentParser, Namespace
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
_MODEL = {"sampler": None, "zero": "--tokenizer"}
"""The flag for the encoder's directory where it is not --model."""


def main() -> None:
    """Run what is named."""
    parser = ArgumentParser(prog="python -m tests.benchmarks")
    names = parser.add_subparsers(dest="name", required=True)
    for name, (module, run) in BENCHMARKS.items():
        one = _common(names.add_parser(name, help=module.__doc__))
        module.add_arguments(one)
        one.set_defaults(run=run)
    every = _common(names.add_parser("all", help="every one of them, as it is by default"))
    every.add_argument("--model", required=True, help="directory of multilingual-e5-small, or another small encoder")
    every.set_defaults(run=partial(_run_all, parser))
    given = parser.parse_args()
    given.run(given)


def _common(parser: ArgumentParser) -> ArgumentParser:
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"), help="folder of the JSON files")
    return parser


def _run_all(parser: ArgumentParser, given: Namespace) -> None:
    for name in BENCHMARKS:
        flag = _MODEL.get(name, "--model")
        model = [flag, given.model] if flag else []
        one = parser.parse_args([name, "--repeats", str(given.repeats), "--out", str(given.out), *model])
        one.run(one)


if __name__ == "__main__":
    main()
