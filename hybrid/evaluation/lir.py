"""Language information removal (arXiv 2109.04727): take each language's top directions out of its embeddings.

An after-treatment of the embeddings that needs no training; its scores stand beside the untreated ones.
"""

from collections.abc import Mapping

import numpy as np


def directions(vectors_ND: np.ndarray, count: int) -> np.ndarray:
    """Return float32 [count, D], the top right singular vectors of a language's embeddings, which are not centred."""
    _, vectors = np.linalg.eigh(vectors_ND.T.astype(np.float64) @ vectors_ND)
    return np.ascontiguousarray(vectors[:, ::-1][:, :count].T, dtype=np.float32)


def fitted(vectors_ND: np.ndarray, language_N: np.ndarray, count: int) -> dict[int, np.ndarray]:
    """Return the directions of each language, estimated on its own embeddings."""
    return {code: directions(vectors_ND[language_N == code], count) for code in np.unique(language_N).tolist()}


def removed(vectors_ND: np.ndarray, language_N: np.ndarray, by_language: Mapping[int, np.ndarray]) -> np.ndarray:
    """Return float32 [N, D], the embeddings less their projections on their language's directions, of length 1."""
    out = np.array(vectors_ND, np.float32)
    for code, found in by_language.items():
        rows = language_N == code
        out[rows] -= (out[rows] @ found.T) @ found
    return out / np.linalg.norm(out, axis=1, keepdims=True)
