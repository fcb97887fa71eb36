"""Fixtures of the benchmarks' tests."""

import importlib
import json
import os
from collections.abc import Callable
from unittest import mock

import pytest


@pytest.fixture
def in_this_process() -> Callable[[str, dict], dict]:
    """What stands in for `worker`: a script does its work in this process, which costs no start."""

    def run(script: str, work: dict, processes: int = 1) -> dict:
        from accelerate.state import AcceleratorState

        AcceleratorState._reset_state(reset_partial_state=True)
        module = importlib.import_module(f"tests.benchmarks.{script.removesuffix('.py')}")
        with mock.patch.dict(os.environ):
            found = module.main(json.loads(json.dumps(work)))
        return json.loads(json.dumps(found))

    return run
