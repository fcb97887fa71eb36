"""Results are taken again only if nothing changed, and nothing old stands beside new scores."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hybrid.evaluation import evaluator
from hybrid.evaluation.bitext import Bitext
from hybrid.evaluation.comparable import Comparable
from hybrid.evaluation.config import EncodingConfig, EvaluationConfig
from hybrid.evaluation.encoding import encode
from hybrid.evaluation.evaluator import evaluate_encoder, result_key
from hybrid.evaluation.loading import load_tasks, loaded_task
from hybrid.evaluation.margin import Split, side
from hybrid.runtime.files import read_json, write_json
from tests.evaluation.published import write_mlqa


def test_a_second_evaluation_does_nothing_until_something_changes(encoder, made, tmp_path, monkeypatch):
    calls, forward = [], encoder.forward
    monkeypatch.setattr(encoder, "forward", lambda tokens: calls.append(1) or forward(tokens))
    first = evaluate_encoder(encoder, [made], tmp_path, model_digest="a")
    done = len(calls)
    assert evaluate_encoder(encoder, [made], tmp_path, model_digest="a") == first
    assert len(calls) == done
    assert evaluate_encoder(encoder, [made], tmp_path, EvaluationConfig(overwrite=True), "a") == first
    assert len(calls) == 2 * done
    evaluate_encoder(encoder, [made], tmp_path, model_digest="b")
    assert len(calls) == 3 * done
    evaluate_encoder(encoder, [made], tmp_path, EvaluationConfig(run_depth=5), "b")
    assert len(calls) == 4 * done


@pytest.mark.parametrize("change", [{"prefixes": ("query", "query")}, {"query_max_length": 8}, {"settings": ()}])
def test_results_made_before_a_task_was_corrected_are_not_taken(made, change):
    other = loaded_task(replace(made.task, **change), made.collection)
    assert result_key(other, EvaluationConfig(), "a") != result_key(made, EvaluationConfig(), "a")


def test_results_that_were_cut_short_are_made_again(encoder, made, tmp_path):
    first = evaluate_encoder(encoder, [made], tmp_path, model_digest="a")
    (tmp_path / "made" / "scores.json").unlink()
    (tmp_path / "made" / "pieces").mkdir()
    for block in ("000000", "000009"):  # the second of other files with more queries
        (tmp_path / "made" / "pieces" / f"monolingual.{block}.0001.piece").write_text("left over by a killed job\n")
    shutil.rmtree(tmp_path / "made" / "embeddings", ignore_errors=True)
    assert evaluate_encoder(encoder, [made], tmp_path, model_digest="a") == first
    assert "left over" not in (tmp_path / "made" / "monolingual.run").read_text()


class Killed(BaseException):
    """Stands for a kill: nothing is tidied up."""


def killed_before_scoring(task: str, monkeypatch, *call) -> None:
    """Call `evaluate_encoder`, and stop it where the named task is to be scored."""
    scored = evaluator.score

    def score(loaded, *given):
        if loaded.task.name == task:
            raise Killed
        return scored(loaded, *given)

    with monkeypatch.context() as patch:
        patch.setattr(evaluator, "score", score)
        with pytest.raises(Killed):
            evaluate_encoder(*call)


def test_treated_scores_of_other_directions_never_stand_for_those_asked_for(encoder, made, tmp_path, monkeypatch):
    one, two = (EvaluationConfig(run_depth=0, lir=count) for count in (1, 2))
    first = evaluate_encoder(encoder, [made], tmp_path, one, "a")
    killed_before_scoring("made", monkeypatch, encoder, [made], tmp_path, two, "a")
    assert read_json(tmp_path / "made-lir" / "scores.json")["lir"]["directions"] == 2
    assert not (tmp_path / "made" / "scores.json").exists()
    assert evaluate_encoder(encoder, [made], tmp_path, one, "a") == first
    treated = read_json(tmp_path / "made-lir" / "scores.json")
    write_json(tmp_path / "made-lir" / "scores.json", treated | {"key": "other"})
    assert evaluate_encoder(encoder, [made], tmp_path, one, "a") == first
    assert read_json(tmp_path / "made-lir" / "scores.json")["key"] == treated["key"]


def test_a_scoring_that_is_killed_leaves_no_scores_and_no_files_of_the_older_one(encoder, made, tmp_path, monkeypatch):
    evaluate_encoder(encoder, [made], tmp_path, EvaluationConfig(lir=1), "a")
    (tmp_path / "made" / "de-en.predictions.json").write_text("{}")
    again = EvaluationConfig(overwrite=True)
    killed_before_scoring("made", monkeypatch, encoder, [made], tmp_path, again, "a")
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["embeddings"]
    assert not list((tmp_path / "made-lir").iterdir())


def test_a_scoring_without_runs_leaves_none_of_the_older_one(encoder, made, tmp_path):
    evaluate_encoder(encoder, [made], tmp_path, model_digest="a")
    evaluate_encoder(encoder, [made], tmp_path, EvaluationConfig(run_depth=0), "a")
    assert not [path for path in (tmp_path / "made").iterdir() if path.suffix in (".run", ".qrels")]


def test_scores_say_under_which_settings_they_were_made(encoder, made, tmp_path):
    evaluate_encoder(encoder, [made], tmp_path, EvaluationConfig(run_depth=0, lir=1, reader="r"), "a")
    plain, treated = (read_json(tmp_path / name / "scores.json")["evaluation"] for name in ("made", "made-lir"))
    assert (plain["query_prefix"], plain["passage_prefix"], plain["pooling"]) == ("query: ", "passage: ", "mean")
    assert (plain["query_max_length"], plain["passage_max_length"]) == (64, 256)
    assert plain["encoding"] == {"precision": "bf16", "batch_tokens": 1024, "storage": "float32"}
    assert plain["search"]["backend"] == "torch"
    assert plain["reader"] is plain["reader_passages"] is None  # nothing to read here
    assert (plain["lir"], treated["lir"]) == (0, 1)


def test_scores_of_a_task_whose_own_name_ends_in_lir_stay(encoder, made, tmp_path):
    other = replace(made, task=replace(made.task, name="made-lir"))
    evaluate_encoder(encoder, [other, made], tmp_path, EvaluationConfig(run_depth=0), "a")
    assert (tmp_path / "made-lir" / "scores.json").exists()


def kept(folder: Path) -> tuple[list[str], np.ndarray]:
    """Ids, and the embedding of each text, read as the README says."""
    shards = [np.load(path) for path in sorted(folder.glob("[0-9]*.npy"))]
    return (folder / "ids.txt").read_text().splitlines(), np.concatenate(shards)[np.load(folder / "rows.npy")]


def test_embeddings_that_are_kept_can_be_told_by_the_ids_of_their_texts(encoder, made, tmp_path):
    queries = made.collection.queries
    queries.texts[1] = queries.texts[5] = queries.texts[0]
    config = EvaluationConfig(run_depth=0, lir=1, keep_embeddings=True, encoding=EncodingConfig("fp32"))
    evaluate_encoder(encoder, [made], tmp_path / "out", config, "a")
    for name, one in (("query", queries), ("passage", made.collection.documents)):
        ids, vectors = kept(tmp_path / "out" / "made" / "embeddings" / name)
        assert ids == list(one.ids)
        again = encode(encoder, list(reversed(one.texts)), name, 256, tmp_path / name, config.encoding, None)
        assert np.allclose(vectors, again[:][::-1], atol=1e-5)


def test_ids_of_judged_collections_stand_in_the_order_in_which_their_texts_are_embedded(encoder, tmp_path, monkeypatch):
    write_mlqa(tmp_path / "data")
    (loaded,) = load_tasks(["mlqa"], tmp_path / "data")
    given = {}
    monkeypatch.setattr(evaluator, "encode", lambda *call: given.update({call[2]: list(call[1])}) or encode(*call))
    evaluate_encoder(encoder, [loaded], tmp_path, EvaluationConfig(run_depth=0, keep_embeddings=True), "a")
    parts = loaded.collection.parts
    for where, ids, texts in (("query", "query_ids", "queries"), ("passage", "document_ids", "documents")):
        of = {
            f"{code} {name}": text
            for code, part in parts.items()
            for name, text in zip(getattr(part, ids), getattr(part, texts), strict=True)
        }
        names, _ = kept(tmp_path / "mlqa" / "embeddings" / where)
        assert [of[name] for name in names] == given[where]


def test_ids_of_lines_stand_in_the_order_of_the_lines():
    bitext = Bitext("en", {"de": (["a", "b"], ["c", "d"]), "fi": (["e"], ["f"])})
    assert bitext.texts() == ["a", "b", "c", "d", "e", "f"]
    named = ["de de 0", "de de 1", "de en 0", "de en 1", "fi fi 0", "fi en 0"]
    assert list(bitext.text_ids()["query"]) == named


def test_ids_of_sentences_stand_in_the_order_in_which_splits_are_embedded():
    split = Split("tuned", side([("s1", "a"), ("s2", "b")]), side([("t1", "c")]), frozenset())
    found = Comparable({"de>en": (split, replace(split, name="applied"))}, {}).text_ids()["query"]
    assert list(found) == [f"de>en {name} {one}" for name in ("tuned", "applied") for one in ("s1", "s2", "t1")]
