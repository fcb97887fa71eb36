"""Exact ranks and rankings of whole pools, with one tie rule.

The score of a pair is the inner product in float64, rounded to float32: so it does not depend on block shapes or on the
number of ranks. Of two documents with equal scores, the one whose id is larger as a byte string comes first, which is
trec_eval's rule. Legend: B queries of a block, N documents of a pool.
"""

import numpy as np

_COLUMN_BITS = np.int64(32)
_COLUMN_MASK = np.int64((1 << 32) - 1)


def tie_order(ids: list[str]) -> np.ndarray:
    """Return int64 [N], the rows of `ids` in the order in which documents of equal score are ranked."""
    return np.array(sorted(range(len(ids)), key=lambda row: ids[row].encode(), reverse=True), dtype=np.int64)


def score_block(queries_BD: np.ndarray, documents_ND: np.ndarray) -> np.ndarray:
    """Return float32 [B, N], the rounded inner products; both arguments are float64."""
    return (queries_BD @ documents_ND.T).astype(np.float32)


def sort_keys(scores_BN: np.ndarray) -> np.ndarray:
    """Return int64 [B, N], distinct in each row, descending where the ranking goes down.

    The columns must be in `tie_order`. The upper half of a key is the score as an integer of the same order, the lower
    half says how many columns follow, so one plain integer sort applies the tie rule.
    """
    keys = _ordered((scores_BN + np.float32(0)).view(np.int32)).astype(np.int64)  # + 0 turns -0 into 0
    keys <<= _COLUMN_BITS
    keys |= np.arange(scores_BN.shape[1] - 1, -1, -1, dtype=np.int64)
    return keys


def key_columns(keys: np.ndarray, width: int) -> np.ndarray:
    """Return the columns, 0..width-1, that the keys were made of."""
    return width - 1 - (keys & _COLUMN_MASK)


def key_scores(keys: np.ndarray) -> np.ndarray:
    """Return float32, the scores that the keys were made of."""
    return _ordered((keys >> _COLUMN_BITS).astype(np.int32)).view(np.float32)


def top_keys(keys: np.ndarray, depth: int) -> np.ndarray:
    """Return int64 [B, min(depth, N)], the first keys of each row in the order of the ranking."""
    rest = keys.shape[1] - depth
    chosen = np.partition(keys, rest, axis=1)[:, rest:] if rest > 0 else keys
    return np.sort(chosen, axis=1)[:, ::-1]


def ahead(sorted_row: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Return int64, how many of `sorted_row`, keys in ascending order, come before each of `keys` in the ranking."""
    return len(sorted_row) - sorted_row.searchsorted(keys, side="right")


def _ordered(bits: np.ndarray) -> np.ndarray:
    """Map the bits of float32 numbers to integers of the same order, and back: negative numbers' bits descend."""
    return bits ^ ((bits >> 31) & np.int32(0x7FFFFFFF))
