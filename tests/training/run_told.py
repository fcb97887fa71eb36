"""Started by accelerate: bad input on the ranks that are given, while the others wait for them."""

import sys
from pathlib import Path

from hybrid.runtime.errors import InputError
from hybrid.runtime.interruption import run_to_end
from hybrid.runtime.launch import start
from hybrid.runtime.logs import bad_input_told
from hybrid.runtime.processes import barrier, rank
from hybrid.training.ending import TrainingEnding


def main() -> None:
    with bad_input_told():
        start("fp32")
        with TrainingEnding(Path(sys.argv[1]), 60.0):
            if str(rank()) in sys.argv[2:]:
                raise InputError("the disk of this node is full")
            barrier()


if __name__ == "__main__":
    run_to_end(main)
