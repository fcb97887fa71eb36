"""The same rows in real processes: a group of two, other workers and start methods, other seeds of Python's hash."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.launch import ROOT, launch
from tests.sampling.synthetic import digest, small_sampler

DIGESTS = {
    "single": "fead19e620eb3e1d",
    "mixed": "51bf83b6aa894440",
    "hybrid": "498262e1c7536c2d",
}


def test_two_processes_with_loaders_hold_the_batches_of_one():
    printed = launch(Path(__file__).parent / "run_ranks.py", processes=2)
    assert "two processes hold the batches of one" in printed


@pytest.mark.parametrize(("method", "workers"), [("spawn", 1), ("fork", 2)])
def test_workers_and_their_start_method_change_nothing(method, workers):
    from tests.sampling.run_ranks import loader

    batches = list(loader(small_sampler("hybrid", 1, 2, steps=10), workers, method))
    assert digest(batches) == digest(small_sampler("hybrid", 1, 2, steps=10))


@pytest.mark.parametrize("form", ["single", "mixed", "hybrid"])
def test_the_seed_of_pythons_hash_changes_nothing(form):
    code = f"from tests.sampling.synthetic import *; print(digest(small_sampler({form!r}, steps=20)))"
    found = set()
    for seed in ("0", "1", "random"):
        environment = os.environ | {"PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        found.add(done.stdout.strip())
    assert found == {digest(small_sampler(form, steps=20))}


@pytest.mark.parametrize("form", ["single", "mixed", "hybrid"])
def test_rows_are_those_of_the_version_that_wrote_this_test(form):
    """A change of these digests breaks the resumption of runs that were started before it."""
    assert digest(small_sampler(form, steps=20))[:16] == DIGESTS[form]
