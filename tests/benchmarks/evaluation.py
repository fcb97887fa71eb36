"""XQuAD-R from given embeddings, and a sample of it from the model, beside sentence-transformers (`evaluate`)."""

import json
import tempfile
from argparse import ArgumentParser, Namespace
from pathlib import Path

from hybrid.studies.sample import sampled
from tests.benchmarks.suite import Case, data_folder, in_a_process, report

SIDES = ("hybrid", "sentence-transformers")


def add_arguments(parser: ArgumentParser) -> None:
    """Add what it can be told."""
    parser.add_argument("--model", required=True, help="a directory as training saves it")
    parser.add_argument("--every", type=int, default=12, help="every n-th article is the sample")
    parser.add_argument("--dimensions", type=int, default=384, help="of the given embeddings")
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16"])


def run(given: Namespace) -> None:
    """Measure each in turn, in a process of its own."""
    real = str(data_folder())
    whole = Case("complete, from embeddings", "s", memory_gb=0.0)
    sides = {side: Case(f"{side}, sample, from the model", "s", memory_gb=0.0) for side in SIDES}
    sides["hybrid"].against = sides["sentence-transformers"].name
    with tempfile.TemporaryDirectory() as name:
        data = Path(name) / "data"
        sampled(data_folder(), data, {"xquad-r": given.every}, ["xquad-r"])
        work = {"model": given.model, "precision": given.precision, "dimensions": given.dimensions}
        for _ in range(given.repeats):
            _measure(whole, work | {"what": "embeddings", "data": real})
            found = {side: _measure(case, work | {"what": side, "data": str(data)}) for side, case in sides.items()}
    ours, theirs = (found[side]["map"] for side in SIDES)
    notes = [
        f"Embeddings: random unit vectors of {given.dimensions} dimensions; all settings and measures, all files, runs "
        "of 1,000 candidates.",
        f"Sample: every {given.every}-th article, {given.precision}. Ours scores three settings, with runs and "
        "per-query figures; sentence-transformers' evaluator scores the multilingual one alone.",
        f"Multilingual mAP (theirs cuts rankings at 1,000): {ours:.4f} and {theirs:.4f}.",
    ]
    report([whole, *sides.values()], notes, given)


def _measure(case: Case, work: dict) -> dict:
    found = in_a_process("evaluation_sides.py", json.dumps(work))
    case.values.append(found["seconds"])
    case.memory_gb = max(case.memory_gb, found["memory_gb"])
    return found
