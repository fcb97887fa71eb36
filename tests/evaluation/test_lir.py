"""Language information removal: a direction that only tells the language is gone, and all else stays."""

import json

import numpy as np
import pytest

from hybrid.evaluation.config import EvaluationConfig
from hybrid.evaluation.evaluator import evaluate_encoder, loaded_task
from hybrid.evaluation.lir import directions, fitted, removed
from hybrid.evaluation.passages import passage_collection
from hybrid.evaluation.task import THREE_SETTINGS, Task

RANDOM = np.random.default_rng(0)


def test_directions_are_the_top_right_singular_vectors():
    vectors = RANDOM.standard_normal((200, 12)).astype(np.float32)
    expected = np.linalg.svd(vectors)[2][:3]
    found = directions(vectors, 3)
    assert np.abs((found * expected).sum(axis=1)) == pytest.approx(1, abs=1e-4)


def test_what_tells_the_language_goes_and_meaning_stays():
    meaning = np.concatenate([np.zeros((50, 3)), np.linalg.qr(RANDOM.standard_normal((50, 20)))[0]], axis=1)
    languages = np.repeat([0, 1, 2], 50)
    vectors = np.tile(meaning, (3, 1)) + 4 * np.eye(23)[languages]
    found = removed(vectors, languages, fitted(vectors, languages, 1))
    plain = np.tile(meaning / np.linalg.norm(meaning, axis=1, keepdims=True), (3, 1))
    assert np.abs((found * plain).sum(axis=1)).min() > 0.95
    assert np.linalg.norm(found, axis=1) == pytest.approx(1, abs=1e-6)


def test_treated_scores_stand_beside_the_untreated_ones(encoder, collection, tmp_path):
    loaded = loaded_task(Task("made", passage_collection, "made", THREE_SETTINGS, "nowhere", "CC0", ""), collection)
    plain = evaluate_encoder(encoder, [loaded], tmp_path / "plain", EvaluationConfig(run_depth=0))
    config = EvaluationConfig(run_depth=0, lir=1)
    both = evaluate_encoder(encoder, [loaded], tmp_path / "both", config, "digest")
    assert {name: value for name, value in both.items() if name.startswith("made/")} == plain
    assert both["made-lir/multilingual/map"] != both["made/multilingual/map"]
    scores = json.loads((tmp_path / "both" / "made-lir" / "scores.json").read_text())
    assert scores["lir"] == {"directions": 1, "estimated_on": "the task's own passages"}
    assert evaluate_encoder(encoder, [loaded], tmp_path / "both", config, "digest") == both
