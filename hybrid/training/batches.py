"""Batches of this rank, made ahead by worker processes."""

import atexit
import multiprocessing
import signal
from collections.abc import Callable, Iterable

import torch
from torch.utils.data import DataLoader, Dataset

from hybrid.data.batch import Batch
from hybrid.runtime.interruption import ignore_in_worker


class _Collated(Dataset):
    """Its "index" is a sampler's `Rows`, its element the batch of them."""

    def __init__(self, collate: Callable[..., Batch]):
        self.collate = collate

    def __getitem__(self, rows) -> Batch:
        return self.collate(rows)


def make_batches(sampler: Iterable, collate: Callable[..., Batch], workers: int) -> DataLoader:
    """Return a loader of one `Batch` per `Rows` of the sampler, in order, whatever the number of workers.

    It is not handed to accelerate, which would shard it a second time.
    """
    if workers:
        atexit.register(_end_workers)
    return DataLoader(
        _Collated(collate),
        sampler=sampler,
        batch_size=None,
        collate_fn=_as_it_is,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=_start_worker,
    )


def _as_it_is(batch: Batch) -> Batch:
    return batch


def _start_worker(_: int) -> None:
    ignore_in_worker()


def _end_workers() -> None:
    """End them with their rank: an error's frames may still hold the loader, which would have ended them.

    They ignore the signal by which `multiprocessing` ends its children before it waits for them without limit.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # The loader's would report them as lost.
    for worker in multiprocessing.active_children():
        worker.kill()
