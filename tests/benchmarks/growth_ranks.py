"""Started by accelerate for `growth`: one rank's exchange of vectors and its loss among simulated ranks.

torch's fake process group answers collective calls at once with this rank's own rows: what is measured is what the rank
computes and holds, without the network's time. One argument, JSON; prints JSON. Shapes: B pairs of the rank, D
dimensions.
"""

import json
import statistics
import sys
import time

import torch
from torch import distributed
from torch.nn import functional as F
from torch.testing._internal.distributed.fake_pg import FakeStore

from hybrid.training.config import ObjectiveConfig
from hybrid.training.objective import Objective
from tests.benchmarks.large_models import random_batch
from tests.benchmarks.sampler import peak

B, D, TIMES = 32, 384, 10


def main(work: dict) -> dict:
    """Do a few exchanges; the median leaves the first out."""
    before = peak()
    distributed.init_process_group("fake", rank=0, world_size=work["ranks"], store=FakeStore())
    objective, batch, seconds = Objective(ObjectiveConfig()), random_batch(0, B, 8, 100, 0), []
    for seed in range(TIMES + 1):
        torch.manual_seed(seed)
        vectors = F.normalize(torch.randn(2 * B, D), dim=1).requires_grad_()
        start = time.perf_counter()
        objective(vectors, batch).value.backward()
        seconds.append(time.perf_counter() - start)
    distributed.destroy_process_group()
    return {"seconds": statistics.median(seconds[1:]), "memory_gb": (peak() - before) / 1e3}


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
