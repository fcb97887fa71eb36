"""Fixtures that every room shares."""

import os
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="module", autouse=True)
def no_accelerator_of_another_file():
    """Let a file's tests start with another precision or device than those that came before in the same process."""
    yield
    if state := sys.modules.get("accelerate.state"):
        state.AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope="session")
def hybrid_data() -> Path:
    """The folder of real public data sets; tests that need it skip where it is not given."""
    folder = os.environ.get("HYBRID_DATA")
    if not folder:
        pytest.skip("HYBRID_DATA is not set: the real data sets named in the README are not on this machine")
    return Path(folder)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put what starts jobs first: a worker that is left with a long file at the end keeps the other one waiting."""
    items.sort(key=lambda item: not {"training", "studies", "test_job.py"}.intersection(item.path.parts))
