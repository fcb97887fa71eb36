"""Steps of the same configurations in one process, under DDP and under every ZeRO stage: one launch each."""

import json
import os
from pathlib import Path
from unittest import mock

import pytest
import torch
from filelock import FileLock

from tests.launch import launch
from tests.training.cases import ALL, OFFLOADED, REFERENCE

SCRIPT = Path(__file__).parent / "run_steps.py"


@pytest.fixture(scope="session")
def reference() -> dict[str, dict]:
    """What one process gives for the joined batches, without any means of saving memory."""
    from accelerate.state import AcceleratorState

    from tests.training.run_steps import run

    with mock.patch.dict(os.environ):
        found = {name: run(options, 1, "ddp") for name, options in (ALL | REFERENCE).items() if "spoilt" not in options}
    AcceleratorState._reset_state(reset_partial_state=True)
    return found


@pytest.fixture(scope="session")
def steps(tmp_path_factory):
    """A function from a parallelism ("ddp" or a file of ds_configs/) to what its two processes gave."""
    # A worker's folder lies in one of all workers, which may need the same launch for tests of other files.
    own, found = tmp_path_factory.getbasetemp(), {}
    folder = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own

    def of(parallelism: str) -> dict[str, dict]:
        if parallelism not in found:
            out = folder / f"steps-{parallelism}.pt"
            with FileLock(f"{out}.lock"):
                if not out.exists():
                    design = {parallelism: OFFLOADED if "offload" in parallelism else ALL}
                    zero = None if parallelism == "ddp" else parallelism
                    launch(SCRIPT, out, json.dumps(design), "2", processes=2, zero=zero, timeout=600)
            found.update(torch.load(out))
        return found[parallelism]

    return of
