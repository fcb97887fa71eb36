"""Texts to embeddings on all ranks: each text once, in length-sorted batches of a token budget, shard by shard.

Shards and batches are cut without regard to the number of ranks, so any number gives the same embeddings; a rank takes
every W-th shard that is not on disk yet, so a killed job goes on where it was.
"""

import hashlib
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from hybrid.evaluation.config import EncodingConfig
from hybrid.evaluation.distinct import distinct
from hybrid.evaluation.vectors import FULL, Vectors, shard_path, shards
from hybrid.runtime.errors import InputError
from hybrid.runtime.files import atomic_file, read_json, write_json
from hybrid.runtime.logs import log, progress, warn
from hybrid.runtime.processes import barrier, gather_objects, is_main, rank, world_size
from hybrid.runtime.ragged import Ragged


def encode(
    encoder,
    texts: Sequence[str],
    side: str,
    max_length: int,
    folder: Path,
    config: EncodingConfig,
    model_digest: str | None,
) -> Vectors:
    """Encode texts and return their embeddings; every rank has to call it and gets all of them, memory-mapped.

    Args:
        side: ``query`` or ``passage``, a key of ``encoder.prefixes``.
        max_length: in tokens, prefix and special tokens included; longer texts are cut at the end.
        folder: where the shards go, which all ranks must see.
        model_digest: of the model's weights; shards found in `folder` are used again if it and all else agree. None
            uses nothing again.

    Raises InputError on every rank if an embedding is not finite, naming the texts.
    """
    if encoder.max_length and max_length > encoder.max_length:
        warn(f"{side}: the model takes {encoder.max_length} tokens, not {max_length}; longer texts are cut at that.")
        max_length = encoder.max_length
    first, rows = _by_length(texts, *distinct(texts))
    manifest = {
        "model": model_digest,
        "texts": _digest(texts[row] for row in first),
        "prefix": encoder.prefixes[side],
        "max_length": max_length,
        **vars(config),
    }
    parts = [first[part] for part in shards(len(first))]
    missing = missing_shards(folder, manifest, len(parts))

    def shard(number: int) -> list[str]:
        return [texts[row] for row in parts[number]]

    start = time.monotonic()
    error = None
    try:
        mine = missing[rank() :: world_size()]
        total = sum(len(parts[number]) for number in mine)
        _encode_shards(encoder, shard, total, side, max_length, folder, config, mine)
    except InputError as raised:
        error = raised
    for raised in gather_objects(error):
        if raised:
            raise raised
    done = sum(len(parts[number]) for number in missing)
    seconds = time.monotonic() - start
    device = next(encoder.parameters()).device
    log(
        f"{side}: {len(texts)} texts, {len(first)} distinct, {done} encoded in {seconds:.0f} s "
        f"({done / max(seconds, 1e-9):.0f} texts/s on {world_size()} x {device}, {config.precision})"
    )
    return Vectors(folder, rows)


def _by_length(texts: Sequence[str], first: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Order distinct texts by their bytes, longest first; a large set stays in its order, which is read faster."""
    if len(first) >= FULL:
        return first, rows
    sizes = np.array([len(texts[row].encode("utf-8", "surrogatepass")) for row in first], np.int64)
    order = np.argsort(-sizes, kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    return first[order], place[rows]


def _digest(texts: Iterable[str]) -> str:
    state = hashlib.blake2b(digest_size=16)
    for text in texts:
        state.update(text.encode("utf-8", "surrogatepass"))
        state.update(b"\0")
    return state.hexdigest()


def missing_shards(folder: Path, manifest: dict, count: int) -> list[int]:
    """Make the folder ready for `manifest`, dropping what belongs to another; return which of `count` shards it lacks.

    Every rank has to call it. A manifest whose ``model`` is None agrees with none.
    """
    manifest = manifest | {"shards": count}
    file = folder / "manifest.json"
    if is_main():
        if not file.exists() or manifest["model"] is None or read_json(file) != manifest:
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        write_json(file, manifest)
    barrier()
    # Only the main rank looks: a rank that looks later would miss shards that others are writing already.
    found = [number for number in range(count) if not shard_path(folder, number).exists()] if is_main() else None
    return gather_objects(found)[0]


@contextmanager
def inference(encoder, precision: str) -> Iterator[torch.device]:
    """Run a module for its outputs alone, in this precision, and leave it in the mode it was in; yields its device."""
    device = next(encoder.parameters()).device
    training = encoder.training
    encoder.eval()
    try:
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            yield device
    finally:
        encoder.train(training)


def _encode_shards(encoder, shard, total: int, side, max_length, folder, config, numbers: list[int]) -> None:
    """Encode and write shards; `shard` gives the texts of one by its number, `total` is how many they are."""

    def tokens(number: int) -> list[list[int]]:
        prefixed = [encoder.prefixes[side] + text for text in shard(number)]
        return encoder.tokenizer(prefixed, truncation=True, max_length=max_length, return_attention_mask=False)[
            "input_ids"
        ]

    with (
        inference(encoder, config.precision) as device,
        ThreadPoolExecutor(1) as ahead,
        progress(total, f"encoding {side}", "texts") as bar,
    ):
        coming = ahead.submit(tokens, numbers[0]) if numbers else None
        for position, number in enumerate(numbers):
            ids = coming.result()
            if position + 1 < len(numbers):
                coming = ahead.submit(tokens, numbers[position + 1])
            vectors = _encode_shard(encoder, ids, config.tokens(device.type), device, bar)
            _refuse_not_finite(vectors, shard(number))
            with atomic_file(shard_path(folder, number), "wb") as file:
                np.save(file, vectors.astype(config.storage))


def _encode_shard(encoder, ids: list[list[int]], batch_tokens: int, device, bar) -> np.ndarray:
    lengths = np.array([len(row) for row in ids])
    order = np.argsort(-lengths, kind="stable")
    out = None
    start = 0
    while start < len(order):
        rows = order[start : start + max(1, batch_tokens // lengths[order[start]])]
        flat = torch.from_numpy(np.concatenate([ids[row] for row in rows]).astype(np.int64))
        vectors = encoder(Ragged(flat, torch.from_numpy(lengths[rows])).to(device)).float().cpu().numpy()
        out = np.empty((len(ids), vectors.shape[1]), np.float32) if out is None else out
        out[rows] = vectors
        start += len(rows)
        bar.update(len(rows))
    return out


def _refuse_not_finite(vectors: np.ndarray, texts: Sequence[str]) -> None:
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        shown = "; ".join(repr(texts[row][:60]) for row in bad[:3].tolist())
        raise InputError(
            f"the embeddings of {len(bad)} texts are not finite (first: {shown}); the model is damaged or "
            "overflows in this precision: try encoding.precision fp32."
        )
