"""Tasks read what they say, and bad input is told in one sentence before a model is loaded."""

import gzip
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hybrid.evaluation import evaluator
from hybrid.evaluation.bitext import Bitext
from hybrid.evaluation.collection import check
from hybrid.evaluation.comparable import Comparable
from hybrid.evaluation.config import EncodingConfig, EvaluationConfig
from hybrid.evaluation.encoding import encode
from hybrid.evaluation.evaluator import evaluate_encoder, result_key
from hybrid.evaluation.loading import load_tasks, loaded_task
from hybrid.evaluation.margin import Split, side
from hybrid.evaluation.passages import passage_collection
from hybrid.evaluation.task import THREE_SETTINGS, Setting, Task, doubts, find_task, load, registry
from hybrid.runtime.errors import InputError
from hybrid.runtime.files import read_json, write_json
from tests.evaluation.conftest import made_paragraphs
from tests.evaluation.published import write_mlqa

SAMPLE = Path(__file__).parents[2] / "hybrid" / "sample"

CANDIDATES = {
    **{"ar": 1222, "de": 1276, "el": 1234, "en": 1180, "es": 1215, "hi": 1244},
    **{"ru": 1219, "th": 852, "tr": 1167, "vi": 1209, "zh": 1196},
}


def test_xquad_r_has_the_published_numbers_of_questions_and_candidates(hybrid_data):
    collection = load(find_task("xquad-r"), hybrid_data)
    found = np.bincount(collection.documents.language).tolist()
    assert dict(zip(collection.languages, found, strict=True)) == CANDIDATES
    assert set(np.bincount(collection.queries.language)) == {1190}
    assert np.bincount(collection.relevant[:, 0]).tolist() == [11] * 13090


def test_the_relevant_sentence_holds_the_start_of_the_answer(hybrid_data):
    collection = load(find_task("xquad-r"), hybrid_data)
    article = json.loads((hybrid_data / "xquad-r" / "en.json").read_text())["data"][0]["paragraphs"][0]
    question = article["qas"][1]
    row = collection.queries.ids.index(f"en-{question['id']}")
    english = [d for q, d in collection.relevant if q == row and collection.documents.ids[d].startswith("en-")]
    text = collection.documents.texts[english[0]]
    start, stop = article["sentence_breaks"][3]
    assert start <= question["answers"][0]["answer_start"] < stop
    assert text == f"{article['context'][start:stop].strip()} {article['context'].strip()}"


@pytest.mark.parametrize(("name", "candidates"), [("parallel", 2), ("parallel-paragraphs", 1)])
def test_any_parallel_files_become_the_three_settings(tmp_path, name, candidates):
    for language, paragraphs in made_paragraphs(("de", "en"), partial=False).items():
        entries = [
            {
                "context": paragraph.context,
                "qas": [
                    {"id": q.id, "question": q.question, "answers": [{"answer_start": q.answer_start, "text": "fact"}]}
                    for q in paragraph.questions
                ],
            }
            for paragraph in paragraphs
        ]
        with gzip.open(tmp_path / f"dev.{language}.json.gz", "wt") as file:
            json.dump({"data": [{"title": "t", "paragraphs": entries}]}, file)
    task = find_task(f"{name}:{tmp_path}/dev.*.json.gz")
    collection = load(task, "elsewhere")
    assert task.name == f"{name}-{tmp_path.name}-dev"
    assert collection.languages == ("de", "en")
    assert len(collection.documents) == 2 * 12 * candidates
    assert len(collection.relevant) == 2 * 24 * 2


def test_a_paragraph_that_occurs_twice_is_one_candidate():
    paragraphs = made_paragraphs(("de", "en"), partial=False)
    paragraphs["en"][3].context = paragraphs["en"][4].context
    collection = passage_collection(paragraphs, "paragraph")
    assert len(collection.documents) == 23
    assert len(collection.relevant) == len(set(map(tuple, collection.relevant.tolist()))) == 2 * 48


def test_an_unknown_task_is_refused_with_the_nearest_name():
    with pytest.raises(InputError, match=r"'xquad_r' is not known, did you mean 'xquad-r'\?"):
        find_task("xquad_r")


def test_missing_files_are_refused_with_the_folder_and_where_to_get_them(tmp_path):
    with pytest.raises(
        InputError, match=r"mlqa-r: there is nothing at .*mlqa-r; get the files from https://github.com"
    ):
        load_tasks(["xquad-r", "mlqa-r"], _with_folder(tmp_path, "xquad-r"))


@pytest.mark.parametrize("names", [("beir:v1/beir/nq", "beir:v2/beir/nq"), ("xquad-r", "xquad-r")])
def test_two_tasks_that_would_share_a_folder_are_refused_with_both_places(names, tmp_path):
    with pytest.raises(InputError, match=f"--tasks: {names[0]} and {names[1]} are both called"):
        load_tasks(list(names), tmp_path)


def test_a_task_called_as_treated_scores_of_another_is_refused_where_there_are_such(tmp_path):
    for path in SAMPLE.glob("heldout.*.json"):
        for name in ("x", "x-lir"):
            (tmp_path / name).mkdir(exist_ok=True)
            shutil.copy(path, tmp_path / name / f"{path.name.split('.')[1]}.json")
    names = ["parallel:x-lir", "parallel:x"]
    with pytest.raises(
        InputError, match="treated scores of parallel-x would lie in one folder with the task parallel-x-lir"
    ):
        load_tasks(names, tmp_path, lir=1)
    assert (
        len(load_tasks(names, tmp_path)) == len(load_tasks([names[0], "parallel-paragraphs:x"], tmp_path, lir=1)) == 2
    )


def _with_folder(root: Path, name: str) -> Path:
    (root / name).mkdir()
    return root


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("duplicate", "1 document ids that occur twice"),
        ("space", "1 query ids with white space .*'en q'"),
        ("empty", "2 document texts that are empty"),
        ("nothing relevant", "no query has a relevant document"),
    ],
)
def test_collections_that_cannot_be_scored_are_refused(collection, fault, message):
    documents, queries = collection.documents, collection.queries
    if fault == "duplicate":
        documents.ids[5] = documents.ids[4]
    elif fault == "space":
        queries.ids[0] = "en q"
    elif fault == "empty":
        documents.texts[3] = documents.texts[7] = " "
    else:
        object.__setattr__(collection, "relevant", collection.relevant[:0])
    with pytest.raises(InputError, match=message):
        check(collection, "task made")


def test_every_task_declares_what_it_is():
    named = {
        "xquad-r",
        "mlqa-r",
        "mlqa",
        "mkqa",
        "mkqa-closed",
        "miracl",
        "tatoeba",
        "flores",
        "ntrex",
        "bucc",
        "parallel",
    }
    assert named <= registry().keys()
    for name, task in registry().items():
        assert task.name == name
        assert task.source
        assert task.licence
        assert task.settings
        assert all(setting.measures for setting in task.settings)
        assert set(task.prefixes) <= {"query", "passage"}
        assert not task.languages or (task.revision and task.citation)


def test_languages_and_files_other_than_the_published_ones_are_told(made, collection):
    task = replace(made.task, languages=("de", "en", "fi", "zh"), revision="v1", digest=collection.content)
    assert doubts(task, collection) == []
    assert doubts(replace(task, digest="other"), collection) == [
        "the files are not those of v1; scores may differ from published ones."
    ]
    assert doubts(replace(task, languages=("ar", "de", "el")), collection) == [
        "2 of 3 published languages are missing (ar, el); means are over those that are there."
    ]


def test_measures_that_look_beyond_the_smallest_pool_are_told(made, collection):
    (sentence,) = doubts(replace(made.task, settings=(Setting("x", "same", ("map", "recall_at_50")),)), collection)
    assert sentence.startswith(f"the smallest pool has {collection.smallest_pool} documents, fewer than recall_at_50 ")


def test_the_published_files_raise_no_doubt(hybrid_data, capsys):
    for name in ("xquad-r", "tatoeba"):
        load(find_task(name), hybrid_data)
    assert capsys.readouterr().err == ""


@pytest.fixture
def made(collection):
    return loaded_task(Task("made", passage_collection, "made", THREE_SETTINGS, "nowhere", "CC0", ""), collection)


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
