"""Measures of what a search found: one tie rule for all of them, and files from which they come again."""

import numpy as np
import pytest

from hybrid.evaluation import judged_scores as room
from hybrid.evaluation.judged import Part
from hybrid.evaluation.search import Found

NAMES = ("ndcg_at_10", "mrr_at_10", "map_at_1000", "recall_at_10", "precision_at_1")


def measured(relevant: dict[str, int], ids=("a", "b", "c"), scores=(1.0, 1.0, 0.5), rows=(1, 0, 2)) -> dict[str, float]:
    part = Part(["q"], ["?"], list(ids), ["text"] * len(ids), {"q": relevant}, {})
    _, values = room.measured(part, Found(np.array([rows]), np.array([scores], np.float32)), NAMES)
    return {name: float(value[0]) for name, value in values.items()}


@pytest.mark.parametrize(("relevant", "rank"), [("b", 1), ("a", 2), ("c", 3)])
def test_documents_of_equal_score_have_one_order_in_all_measures(relevant, rank):
    values = measured({relevant: 1, **{name: 0 for name in "abc" if name != relevant}})
    assert values["mrr_at_10"] == values["map_at_1000"] == pytest.approx(1 / rank)
    assert values["ndcg_at_10"] == pytest.approx(1 / np.log2(rank + 1))
    assert values["precision_at_1"] == (rank == 1)


def test_the_reciprocal_rank_ends_at_its_cut_and_at_the_corpus():
    ids = [f"d{number:02d}" for number in range(12)]
    scores = np.linspace(1, 0, 12)
    assert measured({"d09": 2}, ids, scores, range(12))["mrr_at_10"] == pytest.approx(1 / 10)
    assert measured({"d10": 2}, ids, scores, range(12))["mrr_at_10"] == 0
    assert measured({"c": 1}, rows=(1, 0, -1), scores=(1.0, 1.0, -np.inf))["mrr_at_10"] == 0


@pytest.mark.parametrize("ranks", [2, 5])
def test_what_the_ranks_measure_is_together_what_one_process_does(monkeypatch, ranks):
    random = np.random.default_rng(0)
    names, ids = [f"q{number}" for number in range(4)], [f"d{number}" for number in range(9)]
    qrels = {name: {ids[row]: int(grade) for row, grade in enumerate(random.integers(0, 3, 9))} for name in names}
    part = Part(names, names, ids, ids, qrels, {})
    rows, scores = np.argsort(random.random((4, 9)), axis=1), np.sort(random.random((4, 9)))[:, ::-1]
    found = Found(rows, scores.astype(np.float32))
    places, values = room.measured(part, found, NAMES)
    assert places[0] == [(n, ids[row]) for n, row in enumerate(rows[0], 1) if qrels["q0"][ids[row]]]
    shares = []

    def gather(own):
        shares.append(own)
        if len(shares) < ranks:
            raise InterruptedError
        return shares

    monkeypatch.setattr(room, "gather_objects", gather)
    monkeypatch.setattr(room, "world_size", lambda: ranks)
    for number in range(ranks):
        monkeypatch.setattr(room, "rank", lambda number=number: number)
        if number < ranks - 1:
            with pytest.raises(InterruptedError):
                room.measured(part, found, NAMES)
    again = room.measured(part, found, NAMES)
    assert again[0] == places
    assert {name: value.tolist() for name, value in again[1].items()} == {
        name: value.tolist() for name, value in values.items()
    }
