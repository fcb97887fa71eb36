"""`HYBRID_DATA=... python -m tests.benchmarks NAME ...`: one benchmark, with its flags; `all` runs them one by one.

Their peers: `pip install -r tests/benchmarks/requirements.txt`. A long one is measured in parts with `--append`.
"""

import sys
import traceback
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from functools import partial
from pathlib import Path

from hybrid.runtime.errors import InputError
from tests.benchmarks import data, encoding, evaluation, gpu, growth, sampler, training, zero
from tests.benchmarks.suite import data_folder, earlier

BENCHMARKS = {
    "train": (training, training.run),
    "cached": (training, partial(training.run, cached=True)),
    "encode": (encoding, encoding.run),
    "evaluate": (evaluation, evaluation.run),
    "data": (data, data.run),
    "growth": (growth, growth.run),
    "sampler": (sampler, sampler.run),
    "zero": (zero, zero.run),
    "gpu": (gpu, gpu.run),
}
_DEFAULTS = {
    "train": {"batch": 64, "steps": 4},
    "cached": {"batch": 2048, "steps": 1, "processes": [2], "embeddings": ["frozen"]},
}
"""Where benchmarks of one module differ. A step of 2,048 pairs takes minutes, beside which the choice of its first
chunk's kernels is nothing."""
_MODEL = {"sampler": None, "zero": "--tokenizer", "gpu": "--tokenizer"}
"""The flag for the encoder's directory where it is not --model."""


def main(arguments: list[str] | None = None) -> int:
    """Run what is named; returns the exit status."""
    parser = ArgumentParser(prog="python -m tests.benchmarks", allow_abbrev=False)
    names = parser.add_subparsers(dest="name", required=True)
    for name, (module, run) in BENCHMARKS.items():
        one = _common(names.add_parser(name, help=module.__doc__))
        module.add_arguments(one)
        one.set_defaults(run=run, **_DEFAULTS.get(name, {}))
    every = _common(names.add_parser("all", help="every one of them, as it is by default; gpu where there is one"))
    every.add_argument("--model", required=True, help="directory of multilingual-e5-small, or another small encoder")
    given = parser.parse_args(arguments)
    try:
        if given.name == "all":
            return _run_all(_members(parser, given))
        earlier(given)
        given.run(given)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _common(parser: ArgumentParser) -> ArgumentParser:
    parser.add_argument("--repeats", type=_positive, default=5)
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"), help="folder of the JSON files")
    parser.add_argument("--append", action="store_true", help="add repeats and cases to those in OUT/NAME.json")
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"is {text}; give a whole number of at least 1")
    return int(text)


def _members(parser: ArgumentParser, given: Namespace) -> list[Namespace]:
    """Return the call of each benchmark."""
    calls = []
    for name in BENCHMARKS:
        if name == "gpu" and (obstacle := gpu.obstacle()):
            print(f"gpu: left out, {obstacle}")
            continue
        flag = _MODEL.get(name, "--model")
        more = [flag, given.model] if flag else []
        more += ["--append"] if given.append else []
        calls.append(parser.parse_args([name, "--repeats", str(given.repeats), "--out", str(given.out), *more]))
    return calls


def _run_all(members: list[Namespace]) -> int:
    """Run one after the other; an error ends its benchmark alone. Returns the exit status, 1 where there was one.

    Raises InputError before the first of them, as the last starts hours later, where there are no real data sets or
    one cannot add to its table.
    """
    data_folder()
    for one in members:
        earlier(one)
    failed = []
    for one in members:
        try:
            one.run(one)
        except Exception as error:
            failed.append(one.name)
            print(f"\nerror: {one.name}: {error}", file=sys.stderr)
            if not isinstance(error, InputError):
                traceback.print_exc()
    if failed:
        print(f"\nerror: not measured to the end: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
