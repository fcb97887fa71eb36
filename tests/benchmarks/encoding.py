"""Texts per second of our encoding and of sentence-transformers', on the same texts, in turns.

    HYBRID_DATA=... python tests/benchmarks/encoding.py MODEL [--texts 10000] [--turns 10] [--precision fp32]

MODEL is a directory that sentence-transformers loads, such as one that training saved. The two take turns, each on the
same part of the texts, so that other jobs on the machine slow both. Prints the ratios of wall and of processor time,
and the largest difference between the embeddings.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable
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
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16"])
    given = parser.parse_args()
    documents = load(find_task("xquad-r"), os.environ["HYBRID_DATA"]).documents.texts
    chosen = np.random.default_rng(0).permutation(len(documents))[: given.texts]
    texts = [documents[row] for row in chosen.tolist()]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    ways = {"hybrid": _ours(given.model, given.precision, device)}
    ways["sentence-transformers"] = _sentence_transformers(given.model, given.precision, device)
    for encode_part in ways.values():
        encode_part(texts[:8])
    wall, busy, difference = dict.fromkeys(ways, 0.0), dict.fromkeys(ways, 0.0), 0.0
    for part in np.array_split(np.arange(len(texts)), given.turns):
        found = []
        for name, encode_part in ways.items():
            start, processor = time.monotonic(), time.process_time()
            found.append(encode_part([texts[row] for row in part.tolist()]))
            wall[name] += time.monotonic() - start
            busy[name] += time.process_time() - processor
        difference = max(difference, float(np.abs(found[0] - found[1]).max()))
    print(f"{len(texts)} texts in {given.turns} turns, {device}, {given.precision}, {torch.get_num_threads()} threads")
    for name, seconds in wall.items():
        print(
            f"{name:<22}{len(texts) / seconds:8.1f} texts/s {len(texts) / busy[name]:8.1f} a second of processor time"
        )
    ours, theirs = ways
    print(f"ratio {wall[theirs] / wall[ours]:.2f}, of processor time {busy[theirs] / busy[ours]:.2f}")
    print(f"largest difference {difference:.1e}")


def _ours(model: str, precision: str, device: str) -> Callable[[list[str]], np.ndarray]:
    encoder = load_encoder(ModelConfig(name=model)).to(device)

    def encode_part(texts: list[str]) -> np.ndarray:
        with tempfile.TemporaryDirectory() as folder:
            return encode(encoder, texts, "passage", 256, Path(folder), EncodingConfig(precision), None)[:]

    return encode_part


def _sentence_transformers(model: str, precision: str, device: str) -> Callable[[list[str]], np.ndarray]:
    from sentence_transformers import SentenceTransformer

    encoder = SentenceTransformer(model, device=device)
    encoder.max_seq_length = 256

    def encode_part(texts: list[str]) -> np.ndarray:
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
            return np.asarray(encoder.encode(texts, prompt_name="passage", batch_size=32), np.float32)

    return encode_part


if __name__ == "__main__":
    main()
