"""Started by accelerate: bad input on the ranks that are given, while the others wait for them."""

import sys
from pathlib import Path

from hybrid.runtime.errors import InputError
from hybrid.runtime.launch import start
from hybrid.runtime.logs import bad_input_told
from hybrid.runtime.processes import barrier, rank
from hybrid.training.ending import Ending

if __name__ == "__main__":
    with bad_input_told():
        start("fp32")
        with Ending(Path(sys.argv[1]), 60.0):
            if str(rank()) in sys.argv[2:]:
                raise InputError("the disk of this node is full")
            barrier()
