"""Started by accelerate: train.py with a gather whose backward pass leaves out what the other ranks have."""

import train
from hybrid.runtime.interruption import run_to_end
from tests.training.run_steps import wrong_gather


def main() -> None:
    with wrong_gather("detached"):
        train.main()


if __name__ == "__main__":
    run_to_end(main)
