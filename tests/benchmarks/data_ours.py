"""Run by the benchmark `data`: `build RECIPE`, or `rows RECIPE WORKERS BATCH BATCHES`; prints JSON."""

import json
import resource
import sys
import time

from hybrid.config import read_config
from hybrid.data.collate import Collator
from hybrid.data.load import load_corpora
from hybrid.data.store import token_store
from hybrid.sampling import HybridBatchSampler, Mixture
from hybrid.training.batches import make_batches


def build(config, tokenizer) -> dict:
    """Read the files and tokenise every text."""
    start = time.perf_counter()
    data = load_corpora(config.data)
    token_store(data.train, tokenizer, config.data.cache)
    seconds = time.perf_counter() - start
    return {"texts": sum(len(corpus.texts) for corpus in data.train), "seconds": seconds, "memory_gb": largest_gb()}


def largest_gb() -> float:
    """Return the peak memory of this process or of one that it waited for, whichever is more."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return max(resource.getrusage(kind).ru_maxrss for kind in kinds) * 1024 / 1e9


def rows(config, tokenizer, workers: int, batch: int, batches: int) -> dict:
    """Take batches as training does, but compute nothing on them; the first ones, which start workers, do not count."""
    data = load_corpora(config.data)
    store = token_store(data.train, tokenizer, config.data.cache)
    warm = 2 + 4 * workers
    sampler = HybridBatchSampler(Mixture(config.mixture, data.train), batch, 0, 0, 1, steps=warm + batches)
    collator = Collator(data.train, store, config.data, tokenizer, {"query": "query: ", "passage": "passage: "})
    start = 0.0
    for number, _ in enumerate(make_batches(sampler, collator, workers), 1):
        if number == warm:
            start = time.perf_counter()
    return {"rows": batch * batches, "seconds": time.perf_counter() - start, "memory_gb": largest_gb()}


if __name__ == "__main__":
    from transformers import AutoTokenizer

    what, recipe, *numbers = sys.argv[1:]
    given = read_config(["--config", recipe])
    encoder_tokenizer = AutoTokenizer.from_pretrained(given.model.name)
    work = {"build": build, "rows": rows}[what]
    print(json.dumps(work(given, encoder_tokenizer, *map(int, numbers))))
