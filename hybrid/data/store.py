"""TokenStore: every text of the corpora tokenised once, without prefix and special tokens, untruncated, memory-mapped."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hybrid.data.corpus import ParallelCorpus
from hybrid.runtime.files import atomic_folder, digest
from hybrid.runtime.logs import progress

PIECE = 4096
"""Texts that are tokenised at once."""


class TokenStore:
    """Token ids of numbered texts: those of all corpora, one corpus after the other."""

    def __init__(self, folder: Path, first: list[int]):
        self.ids = np.load(folder / "ids.npy", mmap_mode="r")
        self.offsets = np.load(folder / "offsets.npy", mmap_mode="r")
        self.first = np.array(first, np.int64)
        """int64 [corpora], number of each corpus's first text."""

    def tokens(self, texts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the flat ids int32 [T] and the lengths int64 [n] of int64 [n] texts."""
        starts = self.offsets[texts]
        lengths = self.offsets[texts + 1] - starts
        return self.ids[gather_index(starts, lengths)], lengths


def gather_index(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return int64 [sum of lengths]: the positions start, start + 1, ... of each range, one range after the other."""
    ends = np.cumsum(lengths)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - (ends - lengths), lengths)


def token_store(corpora: Sequence[ParallelCorpus], tokenizer, cache: str | Path) -> TokenStore:
    """Open the store of these corpora and this tokenizer below `cache`, building it where there is none."""
    key = digest([tokenizer.backend_tokenizer.to_str(), *(digest(corpus.texts) for corpus in corpora)])
    folder = Path(cache) / key
    if not folder.exists():
        _build(folder, corpora, tokenizer)
    counts = [len(corpus.texts) for corpus in corpora]
    return TokenStore(folder, [0, *np.cumsum(counts)[:-1].tolist()])


def _build(folder: Path, corpora: Sequence[ParallelCorpus], tokenizer) -> None:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    pieces, lengths = [], []
    with progress(sum(len(corpus.texts) for corpus in corpora), "tokenising", "texts") as bar:
        for corpus in corpora:
            for start in range(0, len(corpus.texts), PIECE):
                texts = corpus.texts[start : start + PIECE]
                rows = tokenizer(texts, add_special_tokens=False, return_attention_mask=False)["input_ids"]
                lengths += [len(row) for row in rows]
                pieces.append(np.fromiter((token for row in rows for token in row), np.int32))
                bar.update(len(texts))
    with atomic_folder(folder) as draft:
        np.save(draft / "ids.npy", np.concatenate(pieces))
        np.save(draft / "offsets.npy", np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))
