"""Intervals, tests and means are right on cases whose answer is known."""

import numpy as np
import pytest

from hybrid.evaluation.statistics import combined, difference, holm, interval, mean, values

RANDOM = np.random.default_rng(0)


def one_cell(scores):
    return values(np.arange(len(scores)), np.full(len(scores), "en>en"), np.asarray(scores, float))


def test_holm_steps_down_and_keeps_the_order():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_the_mean_is_that_over_cells_whatever_their_number_of_queries():
    found = values(np.array([0, 1, 2, 0]), np.array(["a", "a", "a", "b"]), np.array([0.0, 0.0, 0.3, 1.0]))
    assert mean(found)[0] == pytest.approx((0.1 + 1.0) / 2)


def test_a_normal_mean_gets_the_interval_of_the_textbook():
    scores = RANDOM.normal(0.5, 0.2, 900)
    low, high = interval(one_cell(scores))
    half = 1.96 * scores.std(ddof=1) / 30
    assert low == pytest.approx(scores.mean() - half, abs=half / 8)
    assert high == pytest.approx(scores.mean() + half, abs=half / 8)


def test_translations_of_one_question_do_not_narrow_the_interval():
    scores = RANDOM.random(200)
    alone = interval(one_cell(scores))
    cells = np.repeat([f"{n}>all" for n in range(5)], 200)
    together = values(np.tile(np.arange(200), 5), cells, np.tile(scores, 5))
    assert interval(together) == pytest.approx(alone, abs=1e-12)


def test_equal_runs_do_not_differ_and_swapped_runs_differ_by_the_opposite():
    first, second = one_cell(RANDOM.random(300)), one_cell(RANDOM.random(300))
    same = difference(first, first)
    assert (same.mean, same.p) == (0, 1)
    there, back = difference(first, second), difference(second, first)
    assert there.mean == pytest.approx(-back.mean)
    assert there.p == pytest.approx(back.p, abs=0.02)


def test_small_shifts_are_seen_when_paired_and_chance_is_not():
    scores = RANDOM.random(400)
    noise = RANDOM.normal(0, 0.01, 400)
    assert difference(one_cell(scores), one_cell(scores + noise - noise.mean() + 0.005)).p < 0.001
    assert difference(one_cell(scores), one_cell(scores + noise - noise.mean() + 0.0001)).p > 0.2


def test_pairing_uses_the_questions_and_cells_that_both_runs_have():
    cells = np.array(["a", "a", "b", "a", "a"]), np.array(["a", "c", "a", "a", "c"])
    first = values(np.array([1, 2, 3, 5, 6]), cells[0], np.array([0.5, 0.5, 0.5, 0.5, 0.9]))
    second = values(np.array([2, 3, 4, 5, 6]), cells[1], np.array([0.75, 0.0, 0.0, 0.75, 0.1]))
    assert difference(first, second).mean == pytest.approx(0.25)
    assert difference(first, values(np.array([9]), np.array(["a"]), np.array([1.0]))) is None


def test_seeds_combine_to_the_mean_of_their_means():
    seeds = [one_cell(RANDOM.random(50)) for _ in range(3)]
    assert mean(combined(seeds))[0] == pytest.approx(np.mean([mean(seed)[0] for seed in seeds]))
