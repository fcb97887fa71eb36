"""Started by a test: two steps of each recipe's tiny variant. Arguments: output folder, then the names of recipes."""

import os
import sys
from pathlib import Path

os.environ.setdefault("HYBRID_DATA", "nowhere")

from accelerate.state import AcceleratorState

from hybrid.config import read_config
from hybrid.runtime.interruption import run_to_end
from hybrid.runtime.processes import world_size
from train import train

RECIPES = Path(__file__).parents[2] / "hybrid" / "recipes"


def main(out: str, names: list[str]) -> None:
    for name in names:
        AcceleratorState._reset_state(reset_partial_state=False)
        flags = ["--config", str(RECIPES / f"{name}.yaml"), "--config", str(RECIPES / "tiny.yaml")]
        # The tiny variant names XLM-R's architecture; its sizes hold for mT5's too.
        flags += ["--model.from_scratch.model_type", "mt5"] if name.startswith("mt5") else []
        flags += ["--training.output", out, "--training.steps", "2", "--training.checkpoint_every", "0"]
        flags += ["--benchmark.tasks", "[]", "--tracking.enabled", "false", "--data.cache", f"{out}/cache"]
        train(read_config(flags))
        print(f"done {name} on {world_size()}")


if __name__ == "__main__":
    run_to_end(main, sys.argv[1], sys.argv[2:])
