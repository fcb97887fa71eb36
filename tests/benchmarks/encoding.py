"""Texts per second of our encoding and of sentence-transformers', on the same texts, one after the other.

    HYBRID_DATA=... python tests/benchmarks/encoding.py MODEL [--texts 10000] [--precision fp32]

MODEL is a directory that sentence-transformers loads, such as one that training saved. Prints the ratio and the largest
difference between the embeddings.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from jsonargparse import ArgumentParser

sys.path.insert(0, str(Path(__file__).parents[2]))

from hybrid.evaluation.config import EncodingConfig
from hybrid.evaluation.encoding import encode
from hybrid.evaluation.task import find_task, load
from hybrid.models.config import ModelConfig
from hybrid.models.load import load_encoder


def main() -> None:
    """Time both on the first candidates of XQuAD-R, shuffled over its languages."""
    parser = ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--texts", type=int, default=10000)
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16"])
    given = parser.parse_args()
    documents = load(find_task("xquad-r"), os.environ["HYBRID_DATA"]).documents.texts
    chosen = np.random.default_rng(0).permutation(len(documents))[: given.texts]
    texts = [documents[row] for row in chosen.tolist()]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    ours, mine = _ours(given.model, texts, given.precision, device)
    theirs, other = _sentence_transformers(given.model, texts, given.precision, device)
    print(f"{len(texts)} texts, {device}, {given.precision}, {torch.get_num_threads()} threads")
    print(f"hybrid                {len(texts) / ours:8.1f} texts/s")
    print(f"sentence-transformers {len(texts) / theirs:8.1f} texts/s")
    print(f"ratio {theirs / ours:.2f}, largest difference {np.abs(mine - other).max():.1e}")


def _ours(model: str, texts: list[str], precision: str, device: str) -> tuple[float, np.ndarray]:
    encoder = load_encoder(ModelConfig(name=model)).to(device)
    with tempfile.TemporaryDirectory() as folder:
        start = time.monotonic()
        vectors = encode(encoder, texts, "passage", 256, Path(folder), EncodingConfig(precision), None)[:]
        return time.monotonic() - start, vectors


def _sentence_transformers(model: str, texts: list[str], precision: str, device: str) -> tuple[float, np.ndarray]:
    from sentence_transformers import SentenceTransformer

    encoder = SentenceTransformer(model, device=device)
    encoder.max_seq_length = 256
    with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
        start = time.monotonic()
        vectors = encoder.encode(texts, prompt_name="passage", batch_size=32)
        return time.monotonic() - start, np.asarray(vectors, np.float32)


if __name__ == "__main__":
    main()
