"""Bad input on the ranks that are given, while the others wait for them, or `hang` as NCCL does."""

import sys
import time
from pathlib import Path

from hybrid.runtime import watchdog
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
            if "hang" in sys.argv:
                watchdog.TOLD_SECONDS = 1.0
                time.sleep(1e6)
            barrier()


if __name__ == "__main__":
    run_to_end(main)
