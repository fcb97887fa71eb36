"""Which of many texts are equal, by 16 bytes of each: lists, files of texts, or several of them as one. N texts."""

import hashlib
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate, chain

import numpy as np


class Joined:
    """Several sequences of texts, read as one without being copied."""

    def __init__(self, parts: Sequence[Sequence[str]]):
        self.parts = parts
        self.starts = [0, *accumulate(map(len, parts))]

    def __len__(self) -> int:
        return self.starts[-1]

    def __getitem__(self, row: int) -> str:
        part = bisect_right(self.starts, row) - 1
        return self.parts[part][row - self.starts[part]]

    def __iter__(self) -> Iterator[str]:
        return chain.from_iterable(self.parts)

    @property
    def digests(self) -> np.ndarray:
        """uint64 [N, 2], a digest of each text."""
        return np.concatenate([np.empty((0, 2), np.uint64), *map(digests, self.parts)])


def digests(texts: Sequence[str]) -> np.ndarray:
    """Return uint64 [N, 2], a digest of each text; texts in files have theirs beside them."""
    if hasattr(texts, "digests"):
        return texts.digests
    contents = (text.encode("utf-8", "surrogatepass") for text in texts)
    return np.frombuffer(
        b"".join(hashlib.blake2b(content, digest_size=16).digest() for content in contents), np.uint64
    ).reshape(-1, 2)


def distinct(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return int64 [distinct texts], where each occurs first, and int64 [N], which of them each text is.

    No text is held in memory, so that tens of millions of passages can be told apart.
    """
    found = np.asarray(digests(texts))
    order = np.lexsort((found[:, 0], found[:, 1]))
    same = np.ones(max(len(order) - 1, 0), bool)
    for column in found.T:
        ordered = column[order]
        same &= ordered[1:] == ordered[:-1]
    # Equal texts stand together, in the order of their rows: each takes the row of the first of them.
    leader = np.arange(len(order))
    leader[1:][same] = 0
    first = np.empty(len(order), np.int64)
    first[order] = order[np.maximum.accumulate(leader)]
    own = first == np.arange(len(first))
    return np.flatnonzero(own), (np.cumsum(own) - 1)[first]
