"""What a training process has freed, it uses again."""

import subprocess
import sys

import pytest

_FAULTS = """
import resource, sys
import torch
from hybrid.runtime.memory import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
for turn in range(16):
    if turn == 8:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(12_000_000) + torch.ones(12_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", _FAULTS, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="page faults are those of Linux with glibc")
def test_large_tensors_that_are_made_again_and_again_bring_no_fresh_pages():
    assert faults("kept") < 1000 < 24 * 48_000_000 // 4096 // 2 < faults("as usual")
