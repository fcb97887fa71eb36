"""FAISS as a back-end of the search: its exact search, or an index that is trained once and then holds block by block.

GPU paths were not run here: no GPU. Legend: B queries, N documents, D dimensions, K candidates.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch

from hybrid.evaluation.config import SearchConfig
from hybrid.runtime.errors import InputError
from hybrid.runtime.processes import local_rank, rank, world_size

GPU_LIMIT = 2048
"""A GPU returns no more documents than this."""
_TRAINED_ON = 131072

Find = Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]
"""Documents of a block, float32 [n, D], and K to scores, float32 [B, K], and rows of the block, int64 [B, K]."""


def check_index(config: SearchConfig, documents: int) -> None:
    """Raise InputError where the index or its device cannot be: before anything is encoded, as far as their names tell.

    Args:
        documents: of the smallest corpus that is searched.
    """
    if config.device == "cuda" and not torch.cuda.is_available():
        raise InputError("search.device is cuda, but torch finds no GPU here; leave it out, or give cpu.")
    if config.exact:
        return
    if faiss_gpus(config) and re.search(r"(^|,)HNSW", config.factory):
        raise InputError(
            f"search.factory is {config.factory!r}, which FAISS has on no GPU; give search.device cpu, or an IVF index."
        )
    clusters = [int(count) for count in re.findall(r"IVF(\d+)", config.factory)]
    clusters += [2 ** int(bits or 8) for bits in re.findall(r"PQ\d+(?:x(\d+))?", config.factory)]
    own = documents // world_size()
    if clusters and own < max(clusters):
        raise InputError(
            f"search.factory is {config.factory!r}, which is trained on {max(clusters)} documents or more, but a rank "
            f"searches {own} ({documents} documents, {world_size()} ranks); give a smaller index, or the exact search "
            "(search.factory Flat)."
        )


def finder(queries_BD: np.ndarray, documents, own: range, wanted: int, config: SearchConfig) -> Find:
    """Return what finds the first documents of each query in a block of those of `own`.

    Raises InputError where FAISS takes the factory or its parameters not.
    """
    faiss, gpus = import_faiss(), faiss_gpus(config)
    if config.exact and not gpus:
        return lambda block, k: faiss.knn(queries_BD, block, k, metric=faiss.METRIC_INNER_PRODUCT)
    with _told(config, len(own)):
        index = _trained(faiss, documents, own, config, gpus if wanted <= GPU_LIMIT else 0)

    def find(block: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        index.reset()  # drops the documents of the block before and stays trained
        index.add(block)
        return index.search(queries_BD, k)

    return find


def _trained(faiss, documents, own: range, config: SearchConfig, gpus: int):
    """Return an empty index, trained on documents evenly spaced over all of this rank, not on those of a block."""
    index = faiss.index_factory(documents.shape[1], config.factory, faiss.METRIC_INNER_PRODUCT)
    if not index.is_trained:
        count = min(len(own), max(_TRAINED_ON, config.block_rows))
        rows = np.linspace(own.start, own.stop - 1, count).astype(np.int64)
        index.train(np.ascontiguousarray(documents[rows], dtype=np.float32))
    index = _on_gpus(faiss, index, gpus)
    if config.parameters:
        space = faiss.GpuParameterSpace() if gpus else faiss.ParameterSpace()
        space.set_index_parameters(index, config.parameters)
    return index


@contextmanager
def _told(config: SearchConfig, documents: int) -> Iterator[None]:
    """Turn FAISS's refusal of an index into an InputError with its reason."""
    try:
        yield
    except RuntimeError as error:
        reason = re.sub(r"^.*?\.\w+:\d+: (Error: '.*?' failed: )?", "", " ".join(str(error).split()))
        raise InputError(
            f"search.factory {config.factory!r} with parameters {config.parameters!r} cannot be used for the "
            f"{documents} documents of rank {rank()}: FAISS says {reason!r}; give another factory or other parameters."
        ) from error


def device_of(config: SearchConfig) -> torch.device:
    """Return the device that searches."""
    return torch.device(config.device or ("cuda" if torch.cuda.is_available() else "cpu"))


def faiss_gpus(config: SearchConfig) -> int:
    """Return how many GPUs FAISS uses in this process: with several ranks each its own, else all."""
    faiss = import_faiss()
    if device_of(config).type != "cuda" or not hasattr(faiss, "get_num_gpus"):
        return 0
    return min(faiss.get_num_gpus(), 1) if world_size() > 1 else faiss.get_num_gpus()


def _on_gpus(faiss, index, gpus: int):
    """Return the index on this rank's GPU or spread over all; moved to zero GPUs it would be empty, silently."""
    if not gpus:
        return index
    if world_size() > 1:
        return faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), local_rank(), index)
    options = faiss.GpuMultipleClonerOptions()
    options.shard = True
    return faiss.index_cpu_to_all_gpus(index, options)


def import_faiss():
    """Return the module; raises InputError where it is not installed."""
    try:
        import faiss
    except ImportError as error:
        raise InputError("search.backend is faiss, which is not installed here; install it or take torch.") from error
    return faiss
