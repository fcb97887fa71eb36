"""The order of turns at one node: bounds on every prefix, exact shares, entry at any turn."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hybrid.sampling.schedule import BLOCK, Schedule

parts_of_a_node = st.one_of(
    st.lists(st.integers(1, 12), min_size=2, max_size=8),
    st.lists(st.integers(1, 5000), min_size=2, max_size=30),
    st.lists(st.integers(1, 10**12), min_size=2, max_size=6),
    st.integers(2, 300).map(lambda n: [1] * n),
    st.integers(1, 4000).map(lambda n: [1, n]),
)


def largest_excess(child: np.ndarray, parts: list[int]) -> int:
    """Return the largest |count * total - part * turns| over children and prefixes, in Python integers."""
    total, counts = sum(parts), [0] * len(parts)
    worst = 0
    for turns, chosen in enumerate(child.tolist(), 1):
        counts[chosen] += 1
        worst = max(worst, *(abs(count * total - part * turns) for count, part in zip(counts, parts, strict=True)))
    return worst


@settings(max_examples=60, deadline=None)
@given(parts=parts_of_a_node, key=st.integers(0, 2**64 - 1), turns=st.integers(1, 1500))
def test_every_child_is_within_one_of_its_share_after_any_number_of_turns(parts, key, turns):
    child, ordinal = Schedule(np.array(parts), key).take(np.arange(turns))
    assert largest_excess(child, parts) < sum(parts)
    for i in range(len(parts)):
        assert (ordinal[child == i] == np.arange((child == i).sum())).all()


@settings(max_examples=25, deadline=None)
@given(parts=parts_of_a_node, key=st.integers(0, 2**64 - 1), data=st.data())
def test_the_bound_holds_on_every_prefix_from_any_block_on(parts, key, data):
    """Entered at a late block, with the counts that the schedule gives there, all later prefixes are bound too."""
    schedule, total = Schedule(np.array(parts), key), sum(parts)
    turn = data.draw(st.integers(0, 6)) * schedule.size + data.draw(st.integers(0, schedule.size - 1))
    assert schedule.counts(turn).sum() == turn
    for at in range(turn, turn + 40):
        counts = schedule.counts(at).tolist()
        assert all(abs(count * total - part * at) < total for count, part in zip(counts, parts, strict=True))


@pytest.mark.parametrize("far", [0, 10**12, 10**15, 10**17])
@pytest.mark.parametrize(
    "parts", [[1, 1], [3, 7], [1, 1, 2], [997, 1009, 2003], [2**60, 2**60 + 1, 5], [2**61, 2**61 + 1, 5]]
)
def test_the_bound_is_exact_where_floats_or_64_bits_are_not_enough(parts, far):
    """Far off, from a block on at whose start every count is exactly its share."""
    schedule, total = Schedule(np.array(parts, dtype=object if sum(parts) >= 2**62 else np.int64), key=5), sum(parts)
    first = far // (schedule.period * schedule.size) * schedule.period * schedule.size
    before = schedule.counts(first).tolist()
    assert all(Fraction(count) == Fraction(part * first, total) for count, part in zip(before, parts, strict=True))
    child, ordinal = schedule.take(first + np.arange(3000))
    assert largest_excess(child, parts) < total
    assert ordinal[0] == before[child[0]]


@pytest.mark.parametrize("kind", ["quota", "random"])
@pytest.mark.parametrize("parts", [[1] * 7, [5, 3, 2], [10**7 + 19, 10**7, 3 * 10**6]])
def test_any_turn_can_be_asked_first(kind, parts):
    whole = Schedule(np.array(parts), 3, kind).take(np.arange(5 * BLOCK))
    for turn in [4 * BLOCK + 7, 0, BLOCK, 3 * BLOCK - 1, 2 * BLOCK + 500]:
        child, ordinal = Schedule(np.array(parts), 3, kind).take(np.array([turn]))
        assert (child[0], ordinal[0]) == (whole[0][turn], whole[1][turn])


@pytest.mark.parametrize("kind", ["quota", "random"])
def test_counts_taken_over_give_the_same_turns(kind):
    parts = np.array([10**7 + 19, 10**7, 3 * 10**6])
    old, new = Schedule(parts, 3, kind), Schedule(parts, 3, kind)
    number = 20 * BLOCK // old.size
    new._served = lambda n, *counts, served=new._served: (
        served(n, *counts) if n >= number else pytest.fail("went through earlier blocks")
    )
    new.known = number, old.block(number)[0]
    turns = number * old.size + np.arange(3 * BLOCK)
    assert all((a == b).all() for a, b in zip(old.take(turns), new.take(turns), strict=True))


@pytest.mark.parametrize("kind", ["quota", "random"])
def test_a_step_costs_the_blocks_that_it_needs_however_late_it_is(kind, monkeypatch):
    """A step of a mixed batch takes thousands of turns, so several blocks."""
    schedule, served = Schedule(np.random.default_rng(0).integers(1, 10**6, 132), 1, kind), []
    serve = schedule._served
    monkeypatch.setattr(schedule, "_served", lambda number, *counts: served.append(number) or serve(number, *counts))
    window = 5 * BLOCK
    for step in range(30):
        served.clear()
        schedule.take(step * window + np.arange(window))
        assert len(served) <= 2 * 5 + 1


def test_eleven_thousand_pairs_are_each_drawn_once_a_round():
    child, _ = Schedule(np.ones(11_990, dtype=np.int64), 1).take(np.arange(3 * 11_990))
    rounds = child.reshape(3, -1)
    assert (np.sort(rounds) == np.arange(11_990)).all()
    assert (rounds[0] != rounds[1]).mean() > 0.99


def test_thousands_of_uneven_children_keep_the_bound():
    parts = np.random.default_rng(0).integers(1, 10**6, 3000)
    schedule, total = Schedule(parts, 1), int(parts.sum())
    for turn in [1, 700, BLOCK, 2 * BLOCK + 11, 9 * BLOCK + 5]:
        assert (abs(schedule.counts(turn) * total - parts * turn) < total).all()


@pytest.mark.parametrize("parts", [[1, 1], [3, 7], [2, 3], [1, 2, 3], [1] * 12, [1, 499]])
def test_the_order_is_no_fixed_rotation_and_its_phase_comes_from_the_seed(parts):
    size = sum(parts)
    rounds = [Schedule(np.array(parts), key).take(np.arange(40 * size))[0].reshape(40, size) for key in range(30)]
    assert len({tuple(every[0].tolist()) for every in rounds}) > 1, "each seed starts alike"
    assert all(len({tuple(row.tolist()) for row in every}) > 1 for every in rounds), "each round is like the one before"
    rare = np.argmax(np.concatenate(rounds) == int(np.argmin(parts)), axis=1)  # first turn of the rarest child
    assert rare.min() < size / 3
    assert rare.max() + 1 > size / 3


def test_a_rare_child_may_come_early_or_late_in_its_window():
    places = [int(np.argmax(Schedule(np.array([1, 99]), key).take(np.arange(100))[0] == 0)) for key in range(200)]
    counts = np.histogram(places, bins=5, range=(0, 100))[0]
    assert counts.min() > 15, f"40 expected in each fifth of the window, found {counts}"


def test_random_draws_follow_the_shares_without_memory():
    child, _ = Schedule(np.array([5, 3, 2]), 11, "random").take(np.arange(200_000))
    assert np.allclose(np.bincount(child) / 200_000, [0.5, 0.3, 0.2], atol=0.005)
    repeats = (child[1:] == child[:-1]).mean()
    assert abs(repeats - 0.38) < 0.005, "0.25 + 0.09 + 0.04 expected of independent draws"
