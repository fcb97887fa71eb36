"""What each of the processes of a real group gets from its DataLoaders, held together and against one process.

Started by test_processes.py through accelerate; prints one line where all is equal.
"""

import numpy as np
import torch.distributed as dist
from accelerate import Accelerator
from torch.utils.data import DataLoader, Dataset

from hybrid.runtime.interruption import run_to_end
from hybrid.sampling import HybridBatchSampler, Rows
from tests.sampling.synthetic import small_sampler

STEPS = 8


class Same(Dataset):
    """A data set whose element under some rows are these rows, sent through a worker."""

    def __getitem__(self, rows: Rows) -> Rows:
        return rows


def same(rows: Rows) -> Rows:
    """Collate nothing."""
    return rows


def loader(sampler: HybridBatchSampler, workers: int = 0, method: str | None = None) -> DataLoader:
    """Return the loader that a training job makes of a sampler."""
    extra = {"multiprocessing_context": method, "persistent_workers": True, "prefetch_factor": 3} if workers else {}
    return DataLoader(Same(), sampler=sampler, batch_size=None, collate_fn=same, num_workers=workers, **extra)


def joined(batches: list[Rows]) -> list[np.ndarray]:
    """Return the global batches of steps of which every process has its rows."""
    every = [None] * dist.get_world_size()
    dist.all_gather_object(every, [rows.rows for rows in batches])
    return [np.concatenate(parts) for parts in zip(*every, strict=True)]


def main() -> None:
    Accelerator()
    rank, ranks = dist.get_rank(), dist.get_world_size()
    assert ranks == 2, f"2 processes were asked for, {ranks} came"
    for form in ("single", "mixed", "hybrid"):
        alone = [rows.rows for rows in small_sampler(form, steps=STEPS)]
        for workers in (0, 2):
            mine = loader(small_sampler(form, rank, ranks, steps=STEPS), workers, "fork" if workers else None)
            for _ in range(2):  # persistent workers are used again
                together = joined(list(mine))
                assert len(together) == STEPS
                assert all((a == b).all() for a, b in zip(together, alone, strict=True)), (form, workers)
        state = [small_sampler(form, 3, 8).state_dict(5)]  # stopped by a run on 8 ranks, continued on 2
        dist.broadcast_object_list(state)
        again = small_sampler(form, rank, ranks, steps=STEPS)
        again.load_state_dict(state[0])
        assert all((a == b).all() for a, b in zip(joined(list(loader(again, 1, "fork"))), alone[5:], strict=True)), form
    if rank == 0:
        print("two processes hold the batches of one")


if __name__ == "__main__":
    run_to_end(main)
