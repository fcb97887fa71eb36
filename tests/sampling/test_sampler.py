"""Invariants of the rows themselves: what ranks get, passes, bounds and other numbers of ranks."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hybrid.sampling import HybridBatchSampler, Mixture, MixtureConfig
from tests.sampling.synthetic import layout
from tests.sampling.worlds import worlds


def joined(mixture, global_batch, seed, ranks, step) -> np.ndarray:
    """Return the global batch of a step as its ranks hold it together."""
    samplers = [HybridBatchSampler(mixture, global_batch, seed, rank, ranks) for rank in range(ranks)]
    return np.concatenate([sampler.rows(step).rows for sampler in samplers])


@settings(max_examples=30, deadline=None)
@given(world=worlds(schedule="quota"), step=st.integers(0, 3000))
def test_every_rank_holds_its_slice_of_the_global_batch(world, step):
    mixture, global_batch, ranks, seed = world
    alone = HybridBatchSampler(mixture, global_batch, seed).rows(step)
    assert (joined(mixture, global_batch, seed, ranks, step) == alone.rows).all()
    assert alone.rows.shape == (global_batch, 4)


@settings(max_examples=20, deadline=None)
@given(world=worlds(schedule="random"), step=st.integers(0, 3000))
def test_random_draws_are_sliced_alike(world, step):
    mixture, global_batch, ranks, seed = world
    alone = HybridBatchSampler(mixture, global_batch, seed).rows(step)
    assert (joined(mixture, global_batch, seed, ranks, step) == alone.rows).all()


@settings(max_examples=30, deadline=None)
@given(world=worlds(), step=st.integers(0, 200))
def test_every_row_has_a_text_in_its_two_languages(world, step):
    mixture, global_batch, _, seed = world
    batch = HybridBatchSampler(mixture, global_batch, seed).rows(step)
    for dataset, item, query, passage in batch.rows.tolist():
        of = mixture.layouts[dataset]
        block = next(codes for start, stop, codes in of.blocks if start <= item < stop)
        assert {mixture.languages[query], mixture.languages[passage]} <= {of.languages[code] for code in block}
    assert (mixture.query[batch.streams] == batch.rows[:, 2]).all()
    same = mixture.query[batch.streams] == mixture.passage[batch.streams]
    assert ((np.array(mixture.kinds)[mixture.kind[batch.streams]] == "monolingual") == same).all()


def branches(mixture):
    """Yield each node of the tree as (streams below it, [(share, streams below the child)])."""

    def below(node):
        if node.children:
            return [stream for child in node.children for stream in below(child)]
        return list(range(node.first, node.first + len(node.parts)))

    for node, _ in mixture.root.walk():
        leaves = [below(child) for child in node.children] if node.children else [[stream] for stream in below(node)]
        yield below(node), list(zip(node.shares(), leaves, strict=True))


def assert_within_one(mixture, counts: np.ndarray, nodes=None) -> None:
    """Assert that at every node each child's count is within one of its share of the node's own count."""
    for streams, children in nodes or branches(mixture):
        turns = int(counts[streams].sum())
        for share, leaves in children:
            assert abs(int(counts[leaves].sum()) - share * turns) < 1, (mixture.name(leaves[0]), turns, Fraction(share))


@settings(max_examples=30, deadline=None)
@given(world=worlds())
def test_every_branch_is_within_one_of_its_share_on_every_prefix(world):
    """Counted from the rows that are handed out, on every lane: batches where they are of one stream, else rows."""
    mixture, global_batch, _, seed = world
    sampler = HybridBatchSampler(mixture, global_batch, seed)
    nodes = list(branches(mixture))
    hybrid = mixture.config.form == "hybrid"
    shape = (sampler.lanes, len(mixture.items))
    counts = np.zeros(shape, dtype=int)
    for step in range(50):
        lanes = sampler.rows(step).streams.reshape(sampler.lanes, -1)
        for lane, streams in enumerate(lanes):
            if mixture.single[streams[0]]:
                assert len(set(streams.tolist())) == 1
                counts[lane, streams[0]] += 1
            else:
                counts[lane] += np.bincount(streams, minlength=shape[1])
        if hybrid:
            assert len(set(mixture.kind[lanes.ravel()].tolist())) == 1
        for lane in range(sampler.lanes):
            assert_within_one(mixture, counts[lane], nodes[1:] if hybrid else nodes)
    if hybrid:
        kinds = np.zeros(len(mixture.items), dtype=int)
        for step in range(50):
            kinds[sampler.rows(step).streams[0]] += 1
            assert_within_one(mixture, kinds, nodes[:1])


def drawn(sampler: HybridBatchSampler, steps: int):
    """Return stream, lane, pass and item of all rows of some steps, from the sampler's numbering of rows."""
    found = []
    for step in range(steps):
        rows = sampler.rows(step)
        places = np.arange(sampler.lane_rows)
        items = rows.rows[:, 1].reshape(sampler.lanes, -1)
        for lane in range(sampler.lanes):
            streams, turns = sampler.draw(step, lane, places)
            chunk = sampler.chunk[streams]
            ordinals = turns * chunk + places % chunk
            each = sampler.mixture.domain[streams] // (sampler.lanes * chunk) * chunk
            found.append(np.stack([streams, np.full_like(streams, lane), ordinals, ordinals // each, items[lane]]))
    return np.concatenate(found, axis=1)


@settings(max_examples=20, deadline=None)
@given(world=worlds())
def test_a_pass_takes_every_item_once_but_for_a_rest_smaller_than_a_batch(world):
    mixture, global_batch, _, seed = world
    sampler = HybridBatchSampler(mixture, global_batch, seed)
    streams, lanes, ordinals, passes, items = drawn(sampler, 60)
    for stream in np.unique(streams).tolist():
        here = streams == stream
        for lane in np.unique(lanes[here]).tolist():
            rows = np.sort(ordinals[here & (lanes == lane)])
            whole = rows[-1] + 1
            assert len(np.unique(rows)) == len(rows), "a row of a stream was drawn twice"
            assert len(rows) > whole - sampler.lane_rows, "a row of a stream was passed over"
        for number in range(int(passes[here].max()) + 1):
            taken = items[here & (passes == number)]
            assert len(np.unique(taken)) == len(taken), "an item came twice in a pass"
        finished = min(int(passes[here & (lanes == lane)].max(initial=0)) for lane in range(sampler.lanes))
        for number in range(finished):
            left = mixture.items[stream] - len(np.unique(items[here & (passes == number)]))
            batch = global_batch if mixture.single[stream] else sampler.lanes
            assert left == mixture.items[stream] % batch < batch


def test_a_new_pass_has_a_new_order_and_leaves_out_other_items():
    mixture = Mixture(MixtureConfig(monolingual=1, form="single"), [layout("x", {"en": 1003})])
    sampler = HybridBatchSampler(mixture, 10, seed=4)
    passes = np.concatenate([sampler.rows(step).rows[:, 1] for step in range(500)]).reshape(5, 1000)
    left_out = [set(range(1003)) - set(order.tolist()) for order in passes]
    assert all(len(left) == 3 for left in left_out)
    assert len(set.union(*left_out)) > 8
    correlations = np.corrcoef(passes)[np.triu_indices(5, 1)]
    assert abs(correlations).max() < 0.15


@pytest.mark.parametrize("form", ["single", "hybrid"])
def test_no_item_is_twice_in_a_batch_of_one_stream(form):
    mixture = Mixture(MixtureConfig(monolingual=1, form=form), [layout("x", {"en": 33, "de en": 40})])
    sampler = HybridBatchSampler(mixture, 32, seed=0)
    assert all(len(np.unique(sampler.rows(step).rows[:, 1])) == 32 for step in range(100))


@pytest.mark.parametrize("form", ["single", "hybrid"])
def test_unique_groups_keep_a_batch_free_of_duplicates_and_still_use_every_item(form):
    data = layout("x", {"de en": 300, "en": 100, "de": 50}, items_per_group=5)
    sizes = np.concatenate([np.repeat(np.arange(40), 1), np.repeat(np.arange(40, 94), 7)])  # groups of 1 and of 7 items
    data.groups = np.random.default_rng(0).permutation(np.concatenate([sizes, np.full(450 - len(sizes), 94)]))
    mixture = Mixture(MixtureConfig(monolingual=1, form=form, unique_groups=True), [data])
    sampler = HybridBatchSampler(mixture, 16, seed=0)
    seen = set()
    for step in range(1500):
        rows = sampler.rows(step).rows
        assert len(np.unique(data.groups[rows[:, 1]])) == 16
        seen |= set(rows[:, 1].tolist())
    assert seen == set(range(450))


def test_no_item_always_meets_the_same_language():
    """Order in a stream and order of streams do not interact: an item's turns over passes and languages are even."""
    mixture = Mixture(MixtureConfig(monolingual=1, form="single"), [layout("x", {"de en fr zh": 64})])
    sampler = HybridBatchSampler(mixture, 8, seed=0)
    batches = [sampler.rows(step).rows for step in range(8 * 4 * 40)]  # 40 passes of each language
    met = np.zeros((64, 4), dtype=int)
    place = np.zeros((64, 4))
    for step, rows in enumerate(batches):
        met[rows[:, 1], rows[0, 2]] += 1
        place[rows[:, 1], rows[0, 2]] += step % 32
    assert (met == 40).all(), "each item meets each language once a pass"
    spread = (place / met).std()
    assert spread < 3 * np.sqrt(32**2 / 12 / 40), "an item keeps its place in the passes of a language"
    orders = [np.concatenate([rows[:, 1] for rows in batches if rows[0, 2] == language])[:64] for language in range(4)]
    assert abs(np.corrcoef(orders)[np.triu_indices(4, 1)]).max() < 0.4


def test_a_world_of_64_ranks_sees_every_stream_alike():
    mixture = Mixture(MixtureConfig(form="single"), [layout("x", {"de en fr": 500})])
    samplers = [HybridBatchSampler(mixture, 128, 1, rank, 64) for rank in range(64)]
    for step in range(20):
        parts = [sampler.rows(step) for sampler in samplers]
        assert len({tuple(part.streams.tolist()) for part in parts}) == 1
        assert len(np.unique(np.concatenate([part.rows[:, 1] for part in parts]))) == 128


def test_the_kind_is_the_same_on_every_rank():
    for form in ("single", "mixed", "hybrid"):
        mixture = Mixture(MixtureConfig(form=form), [layout("x", {"de en": 500})])
        samplers = [HybridBatchSampler(mixture, 32, 9, rank, 8) for rank in range(8)]
        for step in range(10):
            kinds = {sampler.rows(step).kind for sampler in samplers}
            assert len(kinds) == 1
            assert kinds < {"monolingual", "cross_lingual", "mixed"}


def test_iterating_goes_from_the_first_to_before_the_last_step():
    sampler = HybridBatchSampler(Mixture(MixtureConfig(), [layout("x", {"de en": 500})]), 32, 9, start_step=3, steps=10)
    assert [rows.step for rows in sampler] == list(range(3, 10))
