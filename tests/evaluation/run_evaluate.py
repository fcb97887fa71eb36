"""Started by accelerate: evaluate.py with shards of 16 texts, of which each rank's second one never ends.

Arguments: the folder for the pids, and those of evaluate.py.
"""

import os
import sys
import time
from pathlib import Path

import evaluate
from hybrid.evaluation import encoding, vectors
from hybrid.runtime.interruption import run_to_end
from hybrid.runtime.logs import log
from tests.launched import note_pid

SHARD = 16


def never_ending(usual):
    """Return what encodes a shard, and from its second call on stands still."""
    calls = []

    def encode(encoder, ids, tokens, device, bar):
        calls.append(len(ids))
        if len(calls) == 2:
            log("here")
        while len(calls) > 1:
            time.sleep(0.05)
            bar.update(0)
        return usual(encoder, ids, tokens, device, bar)

    return encode


def main() -> None:
    note_pid(Path(sys.argv.pop(1)), f"rank-{os.environ['RANK']}")
    vectors._FEWEST_ROWS = SHARD
    encoding._encode_shard = never_ending(encoding._encode_shard)
    evaluate.main()


if __name__ == "__main__":
    run_to_end(main)
