"""Started by accelerate: a job that is done, with an exit function and an object that outlives it."""

import atexit

from hybrid.runtime.interruption import run_to_end
from hybrid.runtime.launch import start
from hybrid.runtime.processes import gather_objects, rank, world_size


class Outlives:
    """Told when the interpreter ends by itself."""

    def __del__(self, say=print):
        say("taken apart")


def main() -> None:
    start("fp32")
    atexit.outlives = Outlives()
    own, world = rank(), world_size()
    atexit.register(lambda: print(f"rank {own} of {world} called its exit functions"))
    gather_objects(own)


if __name__ == "__main__":
    run_to_end(main)
