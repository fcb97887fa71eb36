"""A job that meets an error, of the class that is named, while a worker makes its batches."""

import builtins
import sys

from hybrid.runtime.interruption import run_to_end
from hybrid.runtime.logs import bad_input_told
from hybrid.training.batches import make_batches


def main() -> None:
    with bad_input_told():
        batches = iter(make_batches(range(1000), int, workers=1))
        next(batches)
        raise getattr(builtins, sys.argv[1])(28, "No space left on device")


if __name__ == "__main__":
    run_to_end(main)
