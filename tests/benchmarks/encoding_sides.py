"""Started by accelerate for the benchmark `encode`: one of its sides. One argument, JSON; prints JSON of texts/s."""

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from tests.benchmarks.suite import PREFIXES, memory_gb

LENGTHS = {"passage": 256, "query": 64}
"""Tokens of a text, at the most."""

Encode = Callable[[list[str], str], np.ndarray]
"""From texts and what they are (query or passage) to vectors [N, D]."""


def ours(work: dict) -> Encode:
    """Encode as evaluate.py does: its start, its shards on the disk."""
    from hybrid.evaluation.config import EncodingConfig
    from hybrid.evaluation.encoding import encode
    from hybrid.models.config import ModelConfig
    from hybrid.models.load import load_encoder
    from hybrid.runtime.launch import start

    accelerator = start(work["precision"], 0)
    config = ModelConfig(name=work["model"], query_prefix=PREFIXES["query"], passage_prefix=PREFIXES["passage"])
    encoder = load_encoder(config).to(accelerator.device)

    def encode_part(texts: list[str], what: str) -> np.ndarray:
        with tempfile.TemporaryDirectory() as folder:
            return encode(encoder, texts, what, LENGTHS[what], Path(folder), EncodingConfig(work["precision"]), None)[:]

    return encode_part


def theirs(work: dict) -> Encode:
    """Encode with sentence-transformers as its documentation does, in batches of 32."""
    from sentence_transformers import SentenceTransformer

    device = "cuda" if torch.cuda.is_available() else "cpu"
    encoder = SentenceTransformer(work["model"], device=device, prompts=PREFIXES)

    def encode_part(texts: list[str], what: str) -> np.ndarray:
        encoder.max_seq_length = LENGTHS[what]
        with torch.autocast(device, torch.bfloat16, enabled=work["precision"] == "bf16"):
            # A directory without modules.json normalises nothing by itself; ours are always unit vectors.
            vectors = encoder.encode(texts, prompt_name=what, batch_size=32, normalize_embeddings=True)
        return np.asarray(vectors, np.float32)

    return encode_part


def main(work: dict) -> dict:
    """Encode both kinds of text; the first eight of each, in which kernels are chosen, do not count."""
    encode_part = {"hybrid": ours, "sentence-transformers": theirs}[work["side"]](work)
    out = Path(work["out"])
    out.mkdir(exist_ok=True)
    found = {"device": "cuda" if torch.cuda.is_available() else "cpu", "threads": torch.get_num_threads()}
    for what, texts in json.loads(Path(work["texts"]).read_text()).items():
        encode_part(texts[:8], what)
        begin = time.perf_counter()
        vectors = encode_part(texts, what)
        found[what] = len(texts) / (time.perf_counter() - begin)
        np.save(out / f"{what}.npy", vectors)
    return found | {"memory_gb": memory_gb()}


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
