"""Language information removal: a direction that only tells the language is gone, and all else stays."""

import json

import numpy as np
import pytest

from hybrid.evaluation.bitext import Bitext
from hybrid.evaluation.config import EncodingConfig, EvaluationConfig
from hybrid.evaluation.evaluator import check_scoring, evaluate_encoder
from hybrid.evaluation.lir import Removed, directions, fitted, removed
from hybrid.evaluation.loading import LoadedTask, loaded_task
from hybrid.evaluation.passages import passage_collection
from hybrid.evaluation.task import THREE_SETTINGS, Setting, Task
from hybrid.runtime.errors import InputError

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


def write_texts(folder, collection, change=lambda text: text):
    """A file a language with the collection's own passages, one a line."""
    for number, code in enumerate(collection.languages):
        rows = np.flatnonzero(collection.documents.language == number)
        (folder / f"{code}.txt").write_text("\n".join(change(collection.documents.texts[row]) for row in rows) + "\n")
    return str(folder / "{language}.txt")


def test_directions_come_from_the_texts_given_and_scores_are_made_again_when_these_change(
    encoder, collection, tmp_path
):
    loaded = loaded_task(Task("made", passage_collection, "made", THREE_SETTINGS, "nowhere", "CC0", ""), collection)

    def scored(texts, folder):
        config = EvaluationConfig(run_depth=0, lir=1, lir_texts=texts, encoding=EncodingConfig("fp32"))
        metrics = evaluate_encoder(encoder, [loaded], tmp_path / folder, config, "digest")
        return {name: value for name, value in metrics.items() if name.startswith("made-lir/")}

    own = scored(None, "own")
    pattern = write_texts(tmp_path, collection)
    same = scored(pattern, "given")
    assert same == pytest.approx(own)
    write_texts(tmp_path, collection, lambda text: text[::-1].upper())
    assert scored(pattern, "given") != pytest.approx(own)
    scores = json.loads((tmp_path / "given" / "made-lir" / "scores.json").read_text())
    assert scores["lir"] == {"directions": 1, "estimated_on": pattern}


def test_texts_that_are_missing_too_few_or_without_use_are_refused_before_anything_is_encoded(
    encoder, collection, tmp_path, monkeypatch
):
    monkeypatch.setattr(encoder, "forward", None)
    loaded = loaded_task(Task("made", passage_collection, "made", THREE_SETTINGS, "nowhere", "CC0", ""), collection)
    pattern = write_texts(tmp_path, collection)

    def evaluate(**settings):
        evaluate_encoder(encoder, [loaded], tmp_path / "out", EvaluationConfig(**settings), None)

    (tmp_path / "fi.txt").write_text("one\n\n")
    with pytest.raises(InputError, match=r"fi.txt: has 1 texts; more than 1 are needed"):
        evaluate(lir=1, lir_texts=pattern)
    (tmp_path / "fi.txt").unlink()
    with pytest.raises(InputError, match=r"there is no .*fi.txt; language fi needs a file"):
        evaluate(lir=1, lir_texts=pattern)
    with pytest.raises(InputError, match=r"is .*; put .language. where"):
        evaluate(lir=1, lir_texts=str(tmp_path / "de.txt"))
    with pytest.raises(InputError, match=r"lir is 36, but language de has 36 passages; more than 36 are needed"):
        evaluate(lir=36)
    with pytest.raises(InputError, match=r"lir is 12, but the embeddings have 12 dimensions"):
        fitted(np.ones((20, 12)), np.zeros(20, int), 12)
    with pytest.raises(InputError, match=r"lir_texts is set, but evaluation.lir is 0"):
        EvaluationConfig(lir_texts=pattern)


def test_a_task_that_cannot_be_treated_says_so_and_is_not_scored_again(encoder, tmp_path, capsys):
    bitext = Bitext("en", {"de": (["eins", "zwei"], ["one", "two"])})
    task = Task("lines", None, "lines", (Setting("to_en", "other", ("accuracy",)),), "nowhere", "CC0", "")
    loaded = LoadedTask(task, bitext, bitext.content)
    plain = evaluate_encoder(encoder, [loaded], tmp_path, EvaluationConfig(), "digest")
    check_scoring([loaded], EvaluationConfig(lir=1))
    assert "evaluation.lir is 1, but scores of lines are untreated only" in capsys.readouterr().err
    assert evaluate_encoder(encoder, [loaded], tmp_path, EvaluationConfig(lir=1), "digest") == plain
    assert "lines: taken from" in capsys.readouterr().out


def test_embeddings_are_treated_as_they_are_read_and_directions_are_those_of_all_blocks(monkeypatch):
    vectors, languages = RANDOM.standard_normal((90, 12)).astype(np.float32), np.repeat([0, 1, 2], 30)
    whole = fitted(vectors, languages, 2)
    monkeypatch.setattr("hybrid.evaluation.lir._BLOCK", 7)
    blocks = fitted(vectors, languages, 2)
    for code, found in whole.items():
        assert np.abs((found * blocks[code]).sum(axis=1)) == pytest.approx(1, abs=1e-5)
    lazy, rows = Removed(vectors, languages, whole), np.array([3, 80, 41])
    np.testing.assert_allclose(lazy[rows], removed(vectors, languages, whole)[rows], rtol=0, atol=1e-6)
    assert lazy.shape == (90, 12)
    assert len(lazy) == 90
