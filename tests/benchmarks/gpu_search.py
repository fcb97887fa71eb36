"""Started by accelerate for `gpu`: exact search beside its peers. One argument, JSON; prints JSON of seconds.

Shapes: N documents, B queries, D dimensions, K documents found.
"""

import json
import sys
import threading
import time
from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional as F

from hybrid.evaluation.config import SearchConfig
from hybrid.evaluation.faiss_index import import_faiss
from hybrid.evaluation.search import search
from hybrid.runtime.errors import InputError
from tests.benchmarks.search import Names
from tests.benchmarks.suite import interleaved

DEPTH, BLOCK = 100, 100_000
OURS, FAISS = ("hybrid, torch", "hybrid, faiss"), "faiss.IndexFlatIP"
PEER = "sentence-transformers, semantic_search"
AGAINST = {OURS[0]: PEER, OURS[1]: FAISS}

Find = Callable[[], np.ndarray]
"""Returns the rows found, int64 [B, K]."""


def unit_vectors(count: int, dimensions: int, device: str, seed: int) -> np.ndarray:
    """Return random vectors of length 1, float16 [count, D], in the machine's memory."""
    torch.manual_seed(seed)
    made = np.empty((count, dimensions), np.float16)
    for start in range(0, count, BLOCK):
        block = torch.randn(min(BLOCK, count - start), dimensions, device=device)
        made[start : start + BLOCK] = F.normalize(block, dim=1).half().cpu().numpy()
    return made


def without_faiss(device: str) -> str | None:
    """Return why FAISS is left out, in words, or None where it is measured: its CPU build is no peer of a GPU."""
    try:
        gpus = getattr(import_faiss(), "get_num_gpus", lambda: 0)()
    except InputError:
        return "it is not installed"
    return None if gpus or device == "cpu" else "what is installed knows no GPU"


def ours(queries_BD: np.ndarray, documents_ND: np.ndarray, backend: str) -> Find:
    """Search as evaluation does."""
    return lambda: search(queries_BD, documents_ND, Names(), DEPTH, SearchConfig(backend=backend)).rows


def plain_faiss(queries_BD: np.ndarray, documents_ND: np.ndarray, device: str) -> Find:
    """Fill a flat index, on the GPU where there is one; what is measured is its search."""
    faiss = import_faiss()
    index = faiss.IndexFlatIP(documents_ND.shape[1])
    if device == "cuda":
        index = faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, index)
    for start in range(0, len(documents_ND), BLOCK):
        index.add(documents_ND[start : start + BLOCK].astype(np.float32))
    return lambda: index.search(queries_BD, DEPTH)[1]


def plain_torch(queries_BD: np.ndarray, documents_ND: np.ndarray, device: str) -> Find:
    """Search by sentence-transformers' utility, in float16 on the device."""
    from sentence_transformers.util import semantic_search

    corpus = torch.from_numpy(documents_ND).to(device)
    queries = torch.from_numpy(queries_BD).to(device).half()

    def find() -> np.ndarray:
        hits = semantic_search(queries, corpus, top_k=DEPTH, query_chunk_size=len(queries))
        return np.array([[hit["corpus_id"] for hit in row] for row in hits])

    return find


def seconds(name: str, find: Find, rows: dict[str, np.ndarray]) -> float:
    """Search once; what was found goes to `rows`."""
    start = time.perf_counter()
    rows[name] = find()
    return time.perf_counter() - start


def set_up(make: Callable[[], Find], device: str) -> tuple[Find, float | None]:
    """Make a finder and search once, for what is laid out at the first use; returns it and the GB that this case takes.

    They are those of the device, of what the finder keeps and what its search needs, by whichever library; none on a
    CPU, where all share one process.
    """
    made: list[Find] = []

    def work() -> None:
        made.append(make())
        made[0]()

    if device == "cpu":
        work()
        return made[0], None
    torch.cuda.empty_cache()  # else this case would be given what the one before has left
    taken = peak_gb(work, device_bytes)
    return made[0], taken


def device_bytes() -> int:
    """Return what is taken of the GPU; FAISS's part is not in torch's own figures."""
    free, total = torch.cuda.mem_get_info()
    return total - free


def peak_gb(work: Callable[[], None], used: Callable[[], int]) -> float:
    """Do it, and return by how much what is used grew meanwhile at the most, asked every millisecond and at the end."""
    before, over = used(), threading.Event()
    peak = [before]

    def watch() -> None:
        while not over.wait(0.001):
            peak[0] = max(peak[0], used())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        work()
    finally:
        over.set()
        watcher.join()
    return (max(peak[0], used()) - before) / 1e9


def main(work: dict) -> dict:
    """Measure all in turn, once before for what is laid out at the first use."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    documents = unit_vectors(work["documents"], work["dimensions"], device, 0)
    queries = unit_vectors(work["queries"], work["dimensions"], device, 1).astype(np.float32)
    makers = {
        OURS[0]: lambda: ours(queries, documents, "torch"),
        PEER: lambda: plain_torch(queries, documents, device),
    }
    if not (reason := without_faiss(device)):
        makers[OURS[1]] = lambda: ours(queries, documents, "faiss")
        makers[FAISS] = lambda: plain_faiss(queries, documents, device)
    finders, memory, rows = {}, {}, {}
    for name, make in makers.items():
        finders[name], memory[name] = set_up(make, device)
    measures = {name: lambda name=name, find=find: seconds(name, find, rows) for name, find in finders.items()}
    found = interleaved(work["repeats"], measures)
    exact = rows[OURS[0]]
    same = {name: float((rows[name] == exact).mean()) for name in finders if name != OURS[0]}
    about = {"same": same, "against": AGAINST, "depth": DEPTH, "without_faiss": reason}
    return {"seconds": found, "memory_gb": memory} | about


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
