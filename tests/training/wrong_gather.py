"""Started by accelerate: train.py with a gather whose backward pass leaves out what the other ranks have."""

import train
from tests.training.run_steps import wrong_gather

if __name__ == "__main__":
    with wrong_gather("detached"):
        train.main()
