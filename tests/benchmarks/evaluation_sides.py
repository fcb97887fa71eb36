"""Run by the benchmark `evaluate`: one of its three ways. One argument, JSON; prints JSON of seconds and memory."""

import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from hybrid.evaluation.config import EncodingConfig, EvaluationConfig
from hybrid.evaluation.evaluator import evaluate_encoder, score
from hybrid.evaluation.loading import LoadedTask, load_tasks
from hybrid.models.config import ModelConfig
from hybrid.models.load import load_encoder
from tests.benchmarks.suite import PREFIXES, memory_gb


def embeddings(work: dict, loaded: LoadedTask, folder: Path) -> dict:
    """Score random unit vectors and write all files."""
    collection, generator = loaded.collection, np.random.default_rng(0)

    def units(count: int) -> np.ndarray:
        vectors = generator.standard_normal((count, work["dimensions"]), dtype=np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    queries, documents = units(len(collection.queries)), units(len(collection.documents))
    start = time.perf_counter()
    scores = score(loaded, queries, documents, folder, 1000, {})
    measures = scores["settings"]["multilingual"]["measures"]
    return {"seconds": time.perf_counter() - start, "map": measures["map"]["mean"]}


def ours(work: dict, loaded: LoadedTask, folder: Path) -> dict:
    """Encode and score; loading the model does not count, here nor there."""
    model = ModelConfig(name=work["model"], query_prefix=PREFIXES["query"], passage_prefix=PREFIXES["passage"])
    encoder = load_encoder(model)
    start = time.perf_counter()
    config = EvaluationConfig(encoding=EncodingConfig(work["precision"]))
    metrics = evaluate_encoder(encoder, [loaded], folder, config)
    return {"seconds": time.perf_counter() - start, "map": metrics["xquad-r/multilingual/map"]}


def theirs(work: dict, loaded: LoadedTask, folder: Path) -> dict:
    """Score all queries against all candidates with sentence-transformers' evaluator."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator

    collection = loaded.collection
    relevant: dict[str, set[str]] = {}
    for query, document in collection.relevant.tolist():
        relevant.setdefault(collection.queries.ids[query], set()).add(collection.documents.ids[document])
    model = SentenceTransformer(work["model"], prompts=PREFIXES)
    model.max_seq_length = 256
    evaluator = InformationRetrievalEvaluator(
        dict(zip(collection.queries.ids, collection.queries.texts, strict=True)),
        dict(zip(collection.documents.ids, collection.documents.texts, strict=True)),
        relevant,
        map_at_k=[1000],
        query_prompt_name="query",
        corpus_prompt_name="passage",
        name="xquad-r",
    )
    start = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16, enabled=work["precision"] == "bf16"):
        metrics = evaluator(model, str(folder))
    return {"seconds": time.perf_counter() - start, "map": metrics["xquad-r_cosine_map@1000"]}


def main(work: dict) -> dict:
    """Do what is asked for."""
    (loaded,) = load_tasks(["xquad-r"], work["data"])
    way = {"embeddings": embeddings, "hybrid": ours, "sentence-transformers": theirs}[work["what"]]
    with tempfile.TemporaryDirectory() as folder:
        return way(work, loaded, Path(folder)) | {"memory_gb": memory_gb()}


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
