"""Measures from ranks of relevant documents equal ir-measures on the same rankings, ties included."""

import ir_measures
import numpy as np
import pytest
from ir_measures import AP, P, R, nDCG

from hybrid.evaluation.measures import Ranks, average_precision_at, measure, rank_distance, rank_distance_share
from hybrid.evaluation.ranking import ahead, sort_keys, tie_order
from hybrid.runtime.errors import InputError

NAMES = {
    "map": AP,
    "precision_at_1": P @ 1,
    "precision_at_5": P @ 5,
    "precision_at_20": P @ 20,
    "recall_at_1": R @ 1,
    "recall_at_10": R @ 10,
    "ndcg_at_10": nDCG @ 10,
}


def random_ranks(seed: int, ties: bool) -> tuple[Ranks, dict, dict]:
    """Random rankings of 60 documents with 1 to 15 relevant ones, as `Ranks` and as ir-measures takes them."""
    random = np.random.default_rng(seed)
    ids = [f"d{number}" for number in range(60)]
    order = tie_order(ids)
    run, qrels, ranks, offsets = {}, {}, [], [0]
    for query in range(40):
        scores = random.integers(0, 8, 60) / 8 if ties else random.random(60)
        scores = scores.astype(np.float32)
        relevant = random.choice(60, random.integers(1, 16), replace=False)
        run[f"q{query}"] = {name: float(score) for name, score in zip(ids, scores, strict=True)}
        qrels[f"q{query}"] = {ids[row]: 1 for row in relevant}
        keys = sort_keys(scores[None, order])[0]
        place = np.argsort(order)[relevant]
        ranks += sorted((ahead(np.sort(keys), keys[place]) + 1).tolist())
        offsets.append(len(ranks))
    return Ranks(np.array(offsets), np.array(ranks), np.full(40, 60)), qrels, run


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_measures_equal_ir_measures_to_nine_digits(seed, ties):
    ranks, qrels, run = random_ranks(seed, ties)
    found = {}
    for value in ir_measures.iter_calc(list(NAMES.values()), qrels, run):
        found[str(value.measure), value.query_id] = value.value
    for name, other in NAMES.items():
        expected = [found[str(other), f"q{query}"] for query in range(40)]
        np.testing.assert_allclose(measure(name)(ranks), expected, rtol=0, atol=1e-9, err_msg=name)


def test_ap_at_20_is_divided_by_the_smaller_of_relevant_documents_and_cut():
    three_of_three = Ranks(np.array([0, 3]), np.array([1, 2, 21]), np.array([100]))
    assert average_precision_at(three_of_three, 20)[0] == pytest.approx((1 + 1) / 3)
    all_of_thirty = Ranks(np.array([0, 30]), np.arange(1, 31), np.array([100]))
    assert average_precision_at(all_of_thirty, 20)[0] == pytest.approx(1.0)


def test_capped_recall_can_reach_one_where_recall_cannot():
    ranks = Ranks(np.array([0, 11]), np.arange(1, 12), np.array([100]))
    assert measure("recall_at_10")(ranks)[0] == pytest.approx(10 / 11)
    assert measure("capped_recall_at_10")(ranks)[0] == 1.0


def test_rank_distance_is_the_span_of_ranks_and_unknown_with_one_relevant_document():
    ranks = Ranks(np.array([0, 3, 4]), np.array([2, 5, 42, 7]), np.array([50, 50]))
    assert rank_distance(ranks)[0] == 40
    assert rank_distance_share(ranks)[0] == pytest.approx(0.8)
    assert np.isnan(rank_distance(ranks)[1])


@pytest.mark.parametrize("name", ["mapp", "recall_at_", "recall_at_0", "rank_distance_at_5"])
def test_an_unknown_measure_is_refused_by_name(name):
    with pytest.raises(InputError, match=name):
        measure(name)
