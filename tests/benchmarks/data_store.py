"""Run by the benchmark `data`: the token store of many short texts, `MODEL TEXTS FOLDER`; prints JSON.

Memory is the largest sum over this process and those that tokenise, seen twice a second, shared pages once (Linux).
"""

import gzip
import json
import re
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from hybrid.data.store import token_store
from hybrid.data.texts import TEXTS, Texts
from tests.benchmarks.suite import data_folder

WIDTH, WORDS, BLOCK = 8, 3, 1_000_000
"""Bytes of a word with its space, words of a text, texts that are made at once."""


def write_texts(folder: Path, count: int) -> Texts:
    """Write texts of three random words of SQuAD each, as the corpora's cache holds texts."""
    with gzip.open(data_folder() / "squad" / "train.en.json.gz", "rt", encoding="utf-8") as file:
        words = sorted(set(re.findall(r"\b[a-z]{3,7}\b", file.read(10_000_000))))
    table = np.frombuffer("".join(word.ljust(WIDTH) for word in words).encode(), np.uint8).reshape(-1, WIDTH)
    form = {"descr": np.dtype(np.int64).str, "fortran_order": False, "shape": (count,)}
    rng = np.random.default_rng(0)
    with open(folder / f"{TEXTS}.utf8", "wb") as texts, open(folder / f"{TEXTS}.ends.npy", "wb") as ends:
        np.lib.format.write_array_header_1_0(ends, form)
        for start in range(0, count, BLOCK):
            rows = min(BLOCK, count - start)
            texts.write(table[rng.integers(len(table), size=(rows, WORDS))])
            ends.write(np.arange(start + 1, start + rows + 1) * WIDTH * WORDS)
    np.save(folder / f"{TEXTS}.digests.npy", np.zeros((0, 2), np.uint64))
    return Texts(folder)


def main(model: str, count: int, folder: Path) -> dict:
    """Build the store; writing the texts does not count."""
    from transformers import AutoTokenizer

    texts = write_texts(folder, count)
    corpus = SimpleNamespace(name="synthetic", texts=texts, texts_digest=str(count))
    peak, start = watch_memory(), time.perf_counter()
    token_store([corpus], AutoTokenizer.from_pretrained(model), folder)
    return {"seconds": time.perf_counter() - start, "memory_gb": peak[0]}


def watch_memory() -> list[float]:
    """Return a list whose one number grows to the peak of what this process and its children hold, in GB."""
    peak = [held_gb()]

    def watch() -> None:
        while True:
            time.sleep(0.5)
            peak[0] = max(peak[0], held_gb())

    threading.Thread(target=watch, daemon=True).start()
    return peak


def held_gb() -> float:
    """Return the memory of this process and its children now; a page that n of them share counts 1/n in each."""
    tasks = Path("/proc/self/task").glob("*/children")
    total = 0
    for process in ["self", *(child for task in tasks for child in task.read_text().split())]:
        with suppress(OSError):  # one that has ended meanwhile
            lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
            total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total * 1024 / 1e9


if __name__ == "__main__":
    name, texts_count, place = sys.argv[1:]
    print(json.dumps(main(name, int(texts_count), Path(place))))
