"""Fixtures that every room shares."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def hybrid_data() -> Path:
    """The folder of real public data sets; tests that need it skip where it is not given."""
    folder = os.environ.get("HYBRID_DATA")
    if not folder:
        pytest.skip("HYBRID_DATA is not set: the real data sets named in the README are not on this machine")
    return Path(folder)
