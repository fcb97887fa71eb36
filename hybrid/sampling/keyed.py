"""Randomness that is computed, not stored: integer arithmetic modulo 2**64, the same on every machine and numpy."""

import hashlib

import numpy as np

ROUNDS = 10  # 6 fail the chi-square test on the images of three elements of 0..64, 8 pass it
SMALL = 64  # domains up to this are sorted: a Feistel network on few elements is no uniform shuffle


def key(*parts: object) -> int:
    """Return a 64-bit key for a tuple of names and integers (BLAKE2b of their representation)."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=8).digest(), "little")


def hash64(keys: int | np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return uint64 hashes of the integers `x` under `keys`, elementwise (splitmix64, Steele et al. 2014)."""
    z = np.asarray(x).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.asarray(keys, dtype=np.uint64)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def uniform(keys: int | np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return float64 numbers in [0, 1), one for each element of `x`, under `keys`."""
    return (hash64(keys, x) >> np.uint64(11)) * 2.0**-53


def permute(x: np.ndarray, n: int | np.ndarray, keys: int | np.ndarray) -> np.ndarray:
    """Return the images of int64 `x` [R] under keyed permutations of 0..n-1; nothing of size n is stored.

    0 <= x < n < 2**52; n and keys are one, or one per row. A small domain is sorted by hash. A large one goes through
    a Feistel network on Z_a x Z_b with a * b >= n, and cycle walking (Black and Rogaway 2002, "Ciphers with arbitrary
    finite domains", methods 2 and 3).
    """
    y, n, keys = (np.full(len(x), value, dtype=np.uint64) for value in (x, n, keys))
    assert (y < n).all(), "an element outside its domain"
    small, todo = np.flatnonzero(n <= SMALL), np.flatnonzero(n > SMALL)
    if small.size:
        y[small] = _rank_of_hash(y[small], n[small], keys[small])
    while todo.size:
        y[todo] = _feistel(y[todo], n[todo], keys[todo])
        todo = todo[y[todo] >= n[todo]]
    return y.astype(np.int64)


def _rank_of_hash(x: np.ndarray, n: np.ndarray, keys: np.ndarray) -> np.ndarray:
    every = np.arange(SMALL, dtype=np.uint64)
    hashes = hash64(keys[:, None], every) & ~np.uint64(SMALL - 1) | every  # the element in the low bits: no ties
    own = np.take_along_axis(hashes, x[:, None].astype(np.int64), axis=1)
    return ((hashes < own) & (every < n[:, None])).sum(axis=1)


def _feistel(x: np.ndarray, n: np.ndarray, keys: np.ndarray) -> np.ndarray:
    a = np.ceil(np.sqrt(n)).astype(np.uint64)
    b = (n + a - np.uint64(1)) // a
    left, right = x // b, x % b
    round_keys = hash64(keys, np.arange(ROUNDS)[:, None])
    for i in range(0, ROUNDS, 2):
        left = (left + hash64(round_keys[i], right)) % a
        right = (right + hash64(round_keys[i + 1], left)) % b
    return left * b + right
