"""Exact ranks under one tie rule: the larger id first, as trec_eval orders equal scores."""

import numpy as np
import pytest

from hybrid.evaluation.ranking import ahead, key_columns, key_scores, score_block, sort_keys, tie_order, top_keys

SCORES = np.array([[0.5, -0.0, 0.25, 0.0, -1.5, 0.5, 1e-30, -1e-30, 0.25]], np.float32)
IDS = ["b", "é", "a", "z", "Z", "ab", "aa", "10", "9"]


def plain_order(scores, ids):
    """The tie rule in its plainest form."""
    ascending = sorted(range(len(ids)), key=lambda row: (float(scores[row]), ids[row].encode()))
    return ascending[::-1]


def test_keys_order_documents_by_score_and_then_by_id_from_the_largest():
    order = tie_order(IDS)
    keys = np.sort(sort_keys(SCORES[:, order]), axis=1)[:, ::-1]
    assert order[key_columns(keys[0], len(IDS))].tolist() == plain_order(SCORES[0], IDS)


@pytest.mark.parametrize("seed", range(3))
def test_ranks_with_many_ties_equal_those_of_a_plain_sort(seed):
    random = np.random.default_rng(seed)
    scores = random.integers(-3, 4, (5, 200)).astype(np.float32) / 4
    ids = [f"d{number}" for number in random.permutation(200)]
    order = tie_order(ids)
    keys = sort_keys(scores[:, order])
    for row in range(5):
        rank = ahead(np.sort(keys[row]), keys[row]) + 1
        assert order[np.argsort(rank)].tolist() == plain_order(scores[row], ids)
        assert sorted(rank.tolist()) == list(range(1, 201))


def test_keys_give_back_the_scores_bit_by_bit():
    back = key_scores(sort_keys(SCORES))
    assert np.array_equal(back.view(np.int32), (SCORES + 0).view(np.int32))


@pytest.mark.parametrize("depth", [1, 7, 200, 500])
def test_the_first_keys_are_those_of_the_whole_sorted_row(depth):
    keys = sort_keys(np.random.default_rng(0).integers(0, 9, (3, 200)).astype(np.float32))
    assert np.array_equal(top_keys(keys, depth), np.sort(keys, axis=1)[:, ::-1][:, :depth])


def test_scores_do_not_depend_on_how_documents_are_cut_into_blocks():
    random = np.random.default_rng(0)
    queries, documents = random.standard_normal((7, 96)), random.standard_normal((501, 96))
    whole = score_block(queries, documents)
    parts = [score_block(queries, documents[start : start + 13]) for start in range(0, 501, 13)]
    assert np.array_equal(whole, np.concatenate(parts, axis=1))
