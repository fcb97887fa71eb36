"""Computed permutations: bijections that pass for shuffles."""

from collections import Counter
from itertools import permutations
from math import factorial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from hybrid.sampling import keyed
from hybrid.sampling.keyed import SMALL, hash64, key, permute

KEY = 15520011605334775814
HASHES = [1346066267577507604, 7191089600892374487]
IMAGES = [512, 524, 698]
LEAST = 1e-4  # p-values below this fail; keys are fixed, so a test passes always or never


@settings(max_examples=80, deadline=None)
@given(n=st.one_of(st.integers(1, 200), st.integers(1, 50_000)), key=st.integers(0, 2**64 - 1))
def test_every_element_is_hit_once(n, key):
    assert (np.sort(permute(np.arange(n), n, key)) == np.arange(n)).all()


def test_equal_hashes_do_not_make_two_elements_one(monkeypatch):
    monkeypatch.setattr(keyed, "hash64", lambda keys, x: np.zeros(np.broadcast(keys, x).shape, dtype=np.uint64))
    assert (np.sort(permute(np.arange(40), 40, 0)) == np.arange(40)).all()


def test_large_domains_stay_inside_and_have_no_collision():
    x = np.random.default_rng(0).choice(10**12, 200_000, replace=False)
    y = permute(x, 10**12, 9)
    assert y.min() >= 0
    assert y.max() < 10**12
    assert len(np.unique(y)) == len(np.unique(x))


def test_rows_with_their_own_domains_and_keys_are_like_rows_alone():
    n, keys, x = np.array([5, 64, 65, 1000, 10**9]), np.arange(5, dtype=np.uint64), np.array([3, 60, 64, 999, 10**8])
    alone = [permute(x[i : i + 1], int(n[i]), int(keys[i]))[0] for i in range(5)]
    assert (permute(x, n, keys) == alone).all()


@pytest.mark.parametrize("n", [2, 3, 4, 5, 6])
def test_all_orders_of_few_elements_are_equally_frequent(n):
    draws = 20_000
    keys = hash64(1, np.arange(draws))
    orders = np.stack([permute(np.full(draws, i), n, keys) for i in range(n)], axis=1)
    counts = Counter(map(tuple, orders.tolist()))
    assert stats.chisquare([counts.get(order, 0) for order in permutations(range(n))]).pvalue > LEAST
    assert len(counts) == factorial(n)


def triples(n: int) -> np.ndarray:
    """Return how often three fixed elements of 0..n-1 are sent to each triple of distinct images, over many keys."""
    draws = 4 * n**3
    keys = hash64(2, np.arange(draws))
    a, b, c = (permute(np.full(draws, i), n, keys) for i in (0, n // 2, n - 1))
    counts = np.bincount((a * n + b) * n + c, minlength=n**3).reshape(n, n, n)
    i = np.arange(n)
    distinct = np.ones((n, n, n), dtype=bool)
    distinct[i, i, :] = distinct[i, :, i] = distinct[:, i, i] = False
    assert counts[~distinct].sum() == 0
    return counts[distinct]


def test_three_elements_go_anywhere_alike_in_the_smallest_feistel_domain():
    assert stats.chisquare(triples(SMALL + 1)).pvalue > LEAST


def test_a_network_of_few_rounds_does_not_pass(monkeypatch):
    monkeypatch.setattr(keyed, "ROUNDS", 4)
    assert stats.chisquare(triples(SMALL + 1)).pvalue < LEAST


@pytest.mark.parametrize("n", [10**5, 10**7 + 19, 10**9])
def test_large_shuffles_keep_no_order(n):
    """Rank correlation with the identity, with the next element, and with the same element under another key."""
    x = np.arange(100_000)
    y, other = permute(x, n, key("a", 0)), permute(x, n, key("a", 1))
    for one, two in ((x, y), (y[1:], y[:-1]), (y, other)):
        assert stats.spearmanr(one, two).pvalue > LEAST
    assert stats.kstest(y / n, "uniform").pvalue > LEAST
    steps = np.bincount((np.diff(y) % n) * 64 // n, minlength=64)
    assert stats.chisquare(steps).pvalue > LEAST


def test_hashes_are_the_same_on_every_machine():
    assert key("schedule", 3, ("monolingual",)) == KEY
    assert hash64(7, np.arange(2)).tolist() == HASHES
    assert permute(np.arange(3), 1000, 5).tolist() == IMAGES
