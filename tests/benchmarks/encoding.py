"""Texts/s of our encoding and of sentence-transformers', on real texts, the same embeddings (`encode`)."""

import json
import tempfile
from argparse import ArgumentParser, Namespace
from pathlib import Path

import numpy as np

from hybrid.evaluation.task import find_task, load
from tests.benchmarks.suite import Case, data_folder, report, worker

SIDES = ("hybrid", "sentence-transformers")


def add_arguments(parser: ArgumentParser) -> None:
    """Add what it can be told."""
    parser.add_argument("--model", required=True, help="a directory as training saves it")
    parser.add_argument("--texts", type=int, default=10000, help="passages, and as many questions, over all repeats")
    parser.add_argument("--skip", type=int, default=0, help="texts that an earlier call with --append has had")
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16"])


def run(given: Namespace) -> None:
    """Encode XQuAD-R's candidates and questions, shuffled over languages: each repeat a part, both sides in turn.

    Each side has a process of its own, started as its own jobs are: what one sets for its process (freed memory
    that is kept, threads) must not serve the other.
    """
    task = load(find_task("xquad-r"), str(data_folder()))
    texts = {"passage": task.documents.texts, "query": task.queries.texts}
    cases = {(side, what): Case(f"{side}, {what}", "texts/s", memory_gb=0.0) for what in texts for side in SIDES}
    for what in texts:
        cases[SIDES[0], what].against = cases[SIDES[1], what].name
    largest = dict.fromkeys(texts, 0.0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for repeat in range(given.repeats):
            path = folder / f"{repeat}.json"
            path.write_text(json.dumps({what: _part(of, given, repeat) for what, of in texts.items()}))
            for side in SIDES:
                work = {"side": side, "model": given.model, "precision": given.precision, "texts": str(path)}
                found = worker("encoding_sides.py", work | {"out": str(folder / side)})
                for what in texts:
                    cases[side, what].values.append(found[what])
                    cases[side, what].memory_gb = max(cases[side, what].memory_gb, found["memory_gb"])
            for what in texts:
                ours, theirs = (np.load(folder / side / f"{what}.npy") for side in SIDES)
                largest[what] = max(largest[what], float(np.abs(ours - theirs).max()))
    notes = [f"{found['device']}, {given.precision}, {found['threads']} threads, model {Path(given.model).name}"]
    notes += [
        f"{given.texts} {what} texts; largest difference of an embedding's number {value:.1e}"
        for what, value in largest.items()
    ]
    report(list(cases.values()), notes, given)


def _part(texts: list[str], given: Namespace, repeat: int) -> list[str]:
    chosen = np.random.default_rng(0).permutation(len(texts))[given.skip : given.skip + given.texts]
    return [texts[row] for row in np.array_split(chosen, given.repeats)[repeat].tolist()]
