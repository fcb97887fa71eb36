"""Language information removal (arXiv 2109.04727): take each language's top directions out of its embeddings.

An after-treatment of the embeddings that needs no training; its scores stand beside the untreated ones.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from hybrid.runtime.errors import InputError

_BLOCK = 8192


def directions(vectors_ND, count: int) -> np.ndarray:
    """Return float32 [count, D], the top right singular vectors of a language's embeddings, which are not centred."""
    parts = (np.asarray(vectors_ND[start : start + _BLOCK], np.float64) for start in range(0, len(vectors_ND), _BLOCK))
    _, vectors = np.linalg.eigh(sum(part.T @ part for part in parts))
    return np.ascontiguousarray(vectors[:, ::-1][:, :count].T, dtype=np.float32)


def fitted(vectors_ND, language_N: np.ndarray, count: int) -> dict[int, np.ndarray]:
    """Return the directions of each language, estimated on its own embeddings; raises InputError where all would go."""
    if count >= vectors_ND.shape[1]:
        raise InputError(
            f"evaluation.lir is {count}, but the embeddings have {vectors_ND.shape[1]} dimensions; give fewer."
        )
    rows = {code: np.flatnonzero(language_N == code) for code in np.unique(language_N).tolist()}
    return {code: directions(_Part(vectors_ND, own), count) for code, own in rows.items()}


def check_passages(language_N: np.ndarray, languages: Sequence[str], count: int) -> None:
    """Raise InputError where a language has too few passages: of two, two directions leave nothing but rounding."""
    for code, own in zip(languages, np.bincount(language_N, minlength=len(languages)).tolist(), strict=True):
        if 0 < own <= count:
            raise InputError(
                f"evaluation.lir is {count}, but language {code} has {own} passages; more than {count} are needed: "
                "give fewer directions, or texts to estimate them on (evaluation.lir_texts)."
            )


def removed(vectors_ND: np.ndarray, language_N: np.ndarray, by_language: Mapping[int, np.ndarray]) -> np.ndarray:
    """Return float32 [N, D], the embeddings less their projections on their language's directions, of length 1."""
    out = np.array(vectors_ND, np.float32)
    for code, found in by_language.items():
        rows = language_N == code
        out[rows] -= (out[rows] @ found.T) @ found
    return out / np.linalg.norm(out, axis=1, keepdims=True)


class _Part:
    """Some rows of embeddings, read when they are asked for."""

    def __init__(self, vectors_ND, rows: np.ndarray):
        self.vectors, self.rows = vectors_ND, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, wanted) -> np.ndarray:
        return self.vectors[self.rows[wanted]]


class Removed:
    """Embeddings [N, D] that are treated by `removed` when they are read, so that they are never needed whole."""

    def __init__(self, vectors_ND, language_N: np.ndarray, by_language: Mapping[int, np.ndarray]):
        self.vectors, self.language, self.by_language = vectors_ND, language_N, by_language
        self.shape = vectors_ND.shape

    def __len__(self) -> int:
        return len(self.language)

    def __getitem__(self, wanted) -> np.ndarray:
        return removed(self.vectors[wanted], self.language[wanted], self.by_language)


def read_texts(pattern: str, languages: Sequence[str], count: int) -> dict[str, list[str]]:
    """Return the texts, one a line, of a file for each language, such as ``flores-200/{language}.txt``.

    Raises InputError where a language has no file, or fewer texts than the `count` directions to be estimated.
    """
    if "{language}" not in pattern:
        raise InputError(
            f"evaluation.lir_texts is {pattern!r}; put {{language}} where the file of each language differs."
        )
    found = {}
    for code in languages:
        path = Path(pattern.replace("{language}", code))
        if not path.is_file():
            raise InputError(
                f"evaluation.lir_texts: there is no {path}; language {code} needs a file of texts, one a line."
            )
        found[code] = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        if len(found[code]) <= count:
            raise InputError(
                f"{path}: has {len(found[code])} texts; more than {count} are needed for {count} directions."
            )
    return found
