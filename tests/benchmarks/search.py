"""Exact search in many random vectors from a memory map, beside plain `faiss.IndexFlatIP` on the part that fits.

    python tests/benchmarks/search.py FOLDER [--documents 5000000] [--in_memory 1000000]

Writes the vectors (768 dimensions, fp16: 7.7 GB for five million) into FOLDER once. Prints seconds, the peak of the
process's resident memory, pages of the map included, and whether all rankings equal a float64 reference.
"""

import sys
import threading
import time
from pathlib import Path

import numpy as np
import torch
from jsonargparse import ArgumentParser

sys.path.insert(0, str(Path(__file__).parents[2]))

from hybrid.evaluation.config import SearchConfig
from hybrid.evaluation.search import search

DIMENSIONS, QUERIES, DEPTH, STEP = 768, 1000, 100, 50_000


class Names:
    """Ids of any number of documents."""

    def __getitem__(self, row: int) -> str:
        return f"d{row:08d}"


def main() -> None:
    """Make the vectors, search them, and compare."""
    parser = ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--documents", type=int, default=5_000_000)
    parser.add_argument("--in_memory", type=int, default=1_000_000)
    parser.add_argument("--backend", default="torch", choices=["torch", "faiss"])
    given = parser.parse_args()
    documents = _vectors(Path(given.folder) / f"{given.documents}.npy", given.documents)
    torch.manual_seed(1)
    queries = torch.nn.functional.normalize(torch.randn(QUERIES, DIMENSIONS), dim=1).numpy()
    peak = _watch_memory()
    start = time.monotonic()
    found = search(queries, documents, Names(), DEPTH, SearchConfig(backend=given.backend))
    print(f"{given.documents} documents: {time.monotonic() - start:.0f} s, memory {peak[0] / 2**20:.1f} GiB at most")
    same = np.array_equal(found.rows, _reference(queries, documents))
    print(f"equal to the float64 reference on all {QUERIES} queries: {same}")
    _beside_faiss(queries, documents[: given.in_memory], given.backend)


def _vectors(path: Path, count: int) -> np.ndarray:
    if not path.exists():
        part = path.with_suffix(".part")
        made = np.lib.format.open_memmap(part, "w+", np.float16, (count, DIMENSIONS))
        for start in range(0, count, STEP):
            torch.manual_seed(start)
            rows = min(STEP, count - start)
            unit = torch.nn.functional.normalize(torch.randn(rows, DIMENSIONS), dim=1)
            made[start : start + rows] = unit.half().numpy()
        made.flush()
        part.rename(path)
    return np.load(path, mmap_mode="r")


def _watch_memory() -> list[int]:
    """Return a list whose one number, in KiB, grows to the peak of this process's resident memory (Linux)."""
    peak = [0]

    def watch() -> None:
        while True:
            status = Path("/proc/self/status").read_text()
            peak[0] = max(peak[0], int(status.split("VmRSS:")[1].split()[0]))
            time.sleep(0.2)

    threading.Thread(target=watch, daemon=True).start()
    return peak


def _reference(queries: np.ndarray, documents: np.ndarray) -> np.ndarray:
    double, names, keep = queries.astype(np.float64), Names(), 2 * DEPTH
    rows, scores = [], []
    for start in range(0, len(documents), STEP):
        block = (double @ documents[start : start + STEP].astype(np.float64).T).astype(np.float32)
        best = np.argpartition(-block, keep, axis=1)[:, :keep]
        rows.append(best + start)
        scores.append(np.take_along_axis(block, best, axis=1))
    candidates = zip(np.concatenate(rows, axis=1), np.concatenate(scores, axis=1), strict=True)
    order = [sorted(zip(s.tolist(), r.tolist(), strict=True), key=lambda c: (c[0], names[c[1]])) for r, s in candidates]
    return np.array([[row for _, row in line[: -DEPTH - 1 : -1]] for line in order])


def _beside_faiss(queries: np.ndarray, documents: np.ndarray, backend: str) -> None:
    import faiss

    index = faiss.IndexFlatIP(DIMENSIONS)
    for start in range(0, len(documents), STEP):
        index.add(documents[start : start + STEP].astype(np.float32))
    start = time.monotonic()
    index.search(queries, DEPTH)
    plain = time.monotonic() - start
    start = time.monotonic()
    search(queries, documents, Names(), DEPTH, SearchConfig(backend=backend))
    ours = time.monotonic() - start
    print(f"{len(documents)} of them: faiss.IndexFlatIP {plain:.1f} s in memory, ours {ours:.1f} s from the map")


if __name__ == "__main__":
    main()
