"""Texts/s of our encoding and of sentence-transformers', on real texts, the same embeddings (`encode`)."""

import os
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from hybrid.evaluation.config import EncodingConfig
from hybrid.evaluation.encoding import encode
from hybrid.evaluation.task import find_task, load
from hybrid.models.config import ModelConfig
from hybrid.models.load import load_encoder
from tests.benchmarks.suite import Case, report

LENGTHS = {"passage": 256, "query": 64}
"""Tokens of a text, at the most."""

Encode = Callable[[list[str], str], np.ndarray]
"""From texts and what they are (query or passage) to vectors [N, D]."""


def add_arguments(parser: ArgumentParser) -> None:
    """Add what it can be told."""
    parser.add_argument("--model", required=True, help="a directory as training saves it")
    parser.add_argument("--texts", type=int, default=10000, help="passages, and as many questions, over all repeats")
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16"])


def run(given: Namespace) -> None:
    """Encode XQuAD-R's candidates and questions, shuffled over languages: each repeat a part, both sides in turn."""
    task = load(find_task("xquad-r"), os.environ["HYBRID_DATA"])
    device = "cuda" if torch.cuda.is_available() else "cpu"
    sides = {
        "hybrid": _ours(given.model, given.precision, device),
        "sentence-transformers": _sentence_transformers(given.model, given.precision, device),
    }
    cases, notes = (
        [],
        [f"{device}, {given.precision}, {torch.get_num_threads()} threads, model {Path(given.model).name}"],
    )
    for what, texts in (("passage", task.documents.texts), ("query", task.queries.texts)):
        chosen = np.random.default_rng(0).permutation(len(texts))[: given.texts]
        parts = [[texts[row] for row in part.tolist()] for part in np.array_split(chosen, given.repeats)]
        found, difference = _both(sides, what, parts)
        cases += found
        notes.append(f"{len(chosen)} {what} texts; largest difference of an embedding's number {difference:.1e}")
    report("encode", cases, notes, given.out)


def _both(sides: dict[str, Encode], what: str, parts: list[list[str]]) -> tuple[list[Case], float]:
    """Measure both sides on every part; returns their cases and the largest difference between their vectors."""
    ours, theirs = (Case(f"{side}, {what}", "texts/s") for side in sides)
    ours.against = theirs.name
    difference = 0.0
    for encode_part in sides.values():
        encode_part(parts[0][:8], what)
    for texts in parts:
        vectors = []
        for case, encode_part in zip((ours, theirs), sides.values(), strict=True):
            start = time.perf_counter()
            vectors.append(encode_part(texts, what))
            case.values.append(len(texts) / (time.perf_counter() - start))
        difference = max(difference, float(np.abs(vectors[0] - vectors[1]).max()))
    return [ours, theirs], difference


def _ours(model: str, precision: str, device: str) -> Encode:
    encoder = load_encoder(ModelConfig(name=model)).to(device)

    def encode_part(texts: list[str], what: str) -> np.ndarray:
        with tempfile.TemporaryDirectory() as folder:
            return encode(encoder, texts, what, LENGTHS[what], Path(folder), EncodingConfig(precision), None)[:]

    return encode_part


def _sentence_transformers(model: str, precision: str, device: str) -> Encode:
    from sentence_transformers import SentenceTransformer

    encoder = SentenceTransformer(model, device=device)

    def encode_part(texts: list[str], what: str) -> np.ndarray:
        encoder.max_seq_length = LENGTHS[what]
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
            return np.asarray(encoder.encode(texts, prompt_name=what, batch_size=32), np.float32)

    return encode_part
