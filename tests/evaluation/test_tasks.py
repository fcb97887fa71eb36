"""Tasks read what they say, and bad input is told in one sentence before a model is loaded."""

import gzip
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hybrid.evaluation.collection import check
from hybrid.evaluation.loading import load_tasks
from hybrid.evaluation.passages import passage_collection
from hybrid.evaluation.task import Setting, doubts, find_task, load, registry
from hybrid.runtime.errors import InputError
from tests.evaluation.conftest import made_paragraphs

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
