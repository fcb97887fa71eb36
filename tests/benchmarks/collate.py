"""Rows per second of the collator: ``python tests/benchmarks/collate.py RECIPE TOKENIZER [ROWS] [BATCHES]``."""

import sys
import time
from types import SimpleNamespace

import numpy as np
from transformers import AutoTokenizer

from hybrid.data.__main__ import read_arguments
from hybrid.data.collate import Collator
from hybrid.data.load import load_corpora
from hybrid.data.store import token_store

PREFIXES = {"query": "query: ", "passage": "passage: "}


def main(recipe: str, tokenizer_name: str, rows: int = 1024, batches: int = 50) -> None:
    """Print the rate of the first data set's largest block."""
    config, _ = read_arguments([recipe])
    corpora = load_corpora(config).train
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_name)
    collator = Collator(corpora, token_store(corpora, tokenizer, config.cache), config, tokenizer, PREFIXES)
    largest = max(corpora[0].blocks, key=lambda block: (block.stop - block.start) * len(block.languages))
    generator = np.random.default_rng(0)
    codes = sorted({code for corpus in corpora for code in corpus.languages})
    own = np.array([codes.index(corpora[0].languages[language]) for language in largest.languages])

    def draw(step: int) -> SimpleNamespace:
        items = generator.integers(largest.start, largest.stop, rows)
        table = np.stack([0 * items, items, generator.choice(own, rows), generator.choice(own, rows)], 1)
        return SimpleNamespace(rows=table, step=step, kind="mixed", streams=np.zeros(rows, np.int64))

    drawn = [draw(step) for step in range(batches)]
    start = time.perf_counter()
    for one in drawn:
        batch = collator(one)
    seconds = time.perf_counter() - start
    texts = len(batch.queries) + len(batch.passages)
    print(f"{rows * batches / seconds:,.0f} rows/s, {1000 * seconds / batches:.1f} ms a batch of {texts} texts")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
