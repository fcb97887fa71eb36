"""Large encoders on a CUDA device beside sentence-transformers, and search in millions of vectors (`gpu`).

A machine that is lent for minutes gets a part at a time: `--models MODEL --only train --repeats 1 --append`.
"""

import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path

import torch

from hybrid.models.backbone import build
from hybrid.models.config import ModelConfig
from hybrid.models.encoder import Encoder
from hybrid.models.load import load_tokenizer
from hybrid.models.save import save_encoder
from hybrid.runtime.errors import InputError
from hybrid.training.plan_encoder import architecture
from tests.benchmarks.suite import Case, report, worker
from tests.benchmarks.training import CHUNKS, SIDES, in_turn, rates, same_loss, write_pairs

KINDS = ("train", "cached", "search")
MODELS = ("FacebookAI/xlm-roberta-large", "google/mt5-large")
COMPILED = "hybrid, compiled"


def add_arguments(parser: ArgumentParser) -> None:
    """Add what it can be told."""
    parser.add_argument("--tokenizer", required=True, help="a directory with XLM-R's tokenizer, for random weights")
    parser.add_argument(
        "--models",
        nargs="+",
        default=list(MODELS),
        help="directories that sentence-transformers loads too, or, with random weights, directories of a config.json "
        "and hub ids of hybrid/models/architectures.yaml",
    )
    parser.add_argument("--only", nargs="+", default=list(KINDS), choices=KINDS, help="a part of it")
    parser.add_argument("--batch", type=int, default=256, help="pairs of a plain step")
    parser.add_argument("--cached_batch", type=int, default=4096, help="pairs of a step with the gradient cache")
    parser.add_argument("--cache_tokens", type=int, default=65536, help="tokens of a chunk of the gradient cache")
    parser.add_argument("--length", type=int, default=256, help="tokens at the most, of queries and passages")
    parser.add_argument("--steps", type=int, default=6, help="steps of one repeat; the first is not counted")
    parser.add_argument("--cached_steps", type=int, default=3, help="the same with the gradient cache")
    parser.add_argument("--precision", default="bf16", choices=["fp32", "bf16"])
    parser.add_argument(
        "--compile", default="inductor", help="backend of torch.compile for plain steps; none: leave it out"
    )
    parser.add_argument("--documents", type=int, default=10_000_000, help="vectors that are searched")
    parser.add_argument("--dimensions", type=int, default=1024, help="of those vectors")
    parser.add_argument("--queries", type=int, default=1000)


def obstacle() -> str | None:
    """Return why this machine cannot be measured, in words, or None where it can."""
    return None if torch.cuda.is_available() else "there is no CUDA device here"


def run(given: Namespace) -> None:
    """Measure each part, and report it before the next one; raises InputError where there is no CUDA device."""
    if reason := obstacle():
        raise InputError(f"gpu measures a CUDA device, but {reason}; call it where nvidia-smi lists one.")
    about = f"{given.precision}, {given.length} tokens at the most, dropout 0, AdamW, embeddings trained"
    with tempfile.TemporaryDirectory() as name:
        for cases, notes in parts(given, Path(name)):
            report(cases, [about, *notes], given)
            given.append = True


def parts(given: Namespace, folder: Path) -> Iterator[tuple[list[Case], list[str]]]:
    """Measure one part after the other; yields its cases and notes."""
    for model in given.models if set(given.only) & {"train", "cached"} else []:
        directory = with_weights(model, given.tokenizer, folder / "model", given.length)
        for kind in ("train", "cached"):
            if kind in given.only:
                label = f"{Path(model).name}, {'batch' if kind == 'train' else 'cached'}"
                yield training_part(given, directory, label, kind == "cached", folder)
    if "search" in given.only:
        yield search_part(given)


def with_weights(model: str, tokenizer: str, folder: Path, length: int) -> str:
    """Return `model` where it is a directory with weights; else write one with random weights into `folder`.

    Raises InputError where nothing tells the architecture, or it has fewer embeddings than the tokenizer has tokens.
    """
    if (Path(model) / "modules.json").exists():
        return model
    settings = ModelConfig(name=model, dropout=0.0, pooling="mean", query_prefix="query: ", passage_prefix="passage: ")
    torch.manual_seed(0)
    backbone = build(architecture(settings), settings)
    words, rows = load_tokenizer(ModelConfig(name=tokenizer)), backbone.get_input_embeddings().num_embeddings
    if len(words) > rows:
        raise InputError(
            f"--tokenizer {tokenizer} has {len(words)} tokens, {model} has {rows} embeddings; give XLM-R's tokenizer."
        )
    save_encoder(Encoder(backbone, words, settings), folder, f"{model}, random weights\n", length)
    return str(folder)


def training_part(
    given: Namespace, directory: str, label: str, cached: bool, folder: Path
) -> tuple[list[Case], list[str]]:
    """Measure training steps of both sides on real pairs; returns cases and notes."""
    batch, steps = (given.cached_batch, given.cached_steps) if cached else (given.batch, given.steps)
    work = {
        "gpu": True,
        "model": {"name": directory},
        "pairs": str(write_pairs(folder, batch * steps)),
        "cache": str(folder),
        "length": given.length,
        "batch": batch,
        "steps": steps,
        "precision": given.precision,
    } | ({"cache_tokens": given.cache_tokens} if cached else {})
    label = f"{label} {batch}"
    notes = [f"{label}: {CHUNKS.format(tokens=given.cache_tokens)}"] if cached else []
    notes += [f"{label}: {same_loss(work | {'batch': min(batch, 64)})}"]
    jobs = {side: (script, work) for side, script in SIDES.items()}
    if not cached and given.compile != "none":
        jobs[COMPILED] = (SIDES["hybrid"], work | {"compile": given.compile})
    found, told = in_turn(jobs, 1, given.repeats, optional=COMPILED)
    notes += [
        f"{label}: {side} failed, or does not fit into the GPU's memory"
        for side, case in found.items()
        if not case.values
    ]
    if told["hybrid"]:
        about, peaks = told["hybrid"][0], [one["peak"] / 1e12 for one in told["hybrid"]]
        notes.append(
            f"{label}: {about['tokens_per_pair']:.1f} tokens and {about['operations_per_pair'] / 1e9:.1f} GFLOP a "
            f"pair, no padding; MFU of {min(peaks):.2f} to {max(peaks):.2f} TFLOP/s"
        )
        return rates({side: case for side, case in found.items() if case.values}, told["hybrid"], label), notes
    return [], notes


def search_part(given: Namespace) -> tuple[list[Case], list[str]]:
    """Measure exact search in a process of its own; returns cases and notes."""
    work = {key: getattr(given, key) for key in ("documents", "dimensions", "queries", "repeats")}
    found = worker("gpu_search.py", work | {"gpu": True})
    label = f"search, {given.documents} x {given.dimensions}"
    cases = {
        side: Case(f"{side}, {label}", "queries/s", [given.queries / value for value in seconds], memory)
        for (side, seconds), memory in zip(found["seconds"].items(), found["memory_gb"].values(), strict=True)
    }
    for side, case in cases.items():
        if side in found["against"]:
            case.against = cases[found["against"][side]].name
    same = ", ".join(f"{side} {part:.4%}" for side, part in found["same"].items())
    note = f"{label}: {given.queries} queries, the first {found['depth']}; equal rows to the exact search's: {same}"
    about = (
        "Ours reads float16 from the machine's memory each time and is exact; peers hold all on the device. Memory is "
        "what a case alone takes of the device, the vectors that it keeps and its search."
    )
    left_out = [f"{label}: no case of FAISS, {found['without_faiss']}"] if found["without_faiss"] else []
    return list(cases.values()), [note, about, *left_out]
