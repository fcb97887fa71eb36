"""Sampled benchmarks and stand-ins: the same part in every language, and files that the tasks read."""

import gzip
import json

import pytest

from hybrid.evaluation.task import find_task, load
from hybrid.runtime.errors import InputError
from hybrid.studies.sample import sampled
from hybrid.studies.stand_ins import MLQA, mlqa_form


def article(number: int, language: str) -> dict:
    text = f"Satz {number} in {language}. Noch einer."
    qa = {
        "id": f"q{number}",
        "question": f"{language} {number}?",
        "answers": [{"text": str(number), "answer_start": 5}],
    }
    return {"title": f"a{number}", "paragraphs": [{"context": text, "qas": [qa], "sentence_breaks": [[0, len(text)]]}]}


@pytest.fixture
def source(tmp_path):
    """Two parallel sets of five articles, and ten parallel lines."""
    folder = tmp_path / "source"
    for name in ("xquad-r", "tatoeba", "mlqa-r"):
        (folder / name).mkdir(parents=True)
    for language in ("de", "en", "el"):
        value = {"version": "1.1", "data": [article(number, language) for number in range(5)]}
        (folder / "xquad-r" / f"{language}.json").write_text(json.dumps(value))
        (folder / "mlqa-r" / f"{language}.json").write_text(json.dumps(value))
    for side in ("deu", "eng"):
        (folder / "tatoeba" / f"tatoeba.deu-eng.{side}").write_text("".join(f"{side} {n}\n" for n in range(10)))
    (folder / "tatoeba" / "README").write_text("nothing")
    return folder


def test_every_nth_article_and_line_is_kept_and_files_stay_parallel(source, tmp_path):
    target = tmp_path / "data"
    sampled(source, target, {"xquad-r": 2, "tatoeba": 3}, ["xquad-r", "tatoeba", "mlqa-r"])
    found = load(find_task("xquad-r"), target)
    assert sorted(set(found.question.tolist())) == [0, 1, 2]
    assert sorted(text for text in found.queries.texts if text.startswith("de")) == ["de 0?", "de 2?", "de 4?"]
    pairs = load(find_task("tatoeba"), target).pairs["deu"]
    assert pairs == ([f"deu {n}" for n in (0, 3, 6, 9)], [f"eng {n}" for n in (0, 3, 6, 9)])
    assert len(load(find_task("mlqa-r"), target).queries) == 15
    assert not (target / "tatoeba" / "README").exists()


def test_a_sample_is_made_once_and_another_one_is_refused(source, tmp_path):
    target = tmp_path / "data"
    sampled(source, target, {"xquad-r": 2}, ["xquad-r"])
    before = (target / "xquad-r" / "de.json").stat().st_mtime_ns
    sampled(source, target, {"xquad-r": 2}, ["xquad-r"])
    assert (target / "xquad-r" / "de.json").stat().st_mtime_ns == before
    with pytest.raises(InputError, match="was made of every 2-th part"):
        sampled(source, target, {"xquad-r": 3}, ["xquad-r"])
    (source / "xquad-r" / "de.json").write_text(json.dumps({"data": [article(9, "de")]}))
    with pytest.raises(InputError, match="other files"):
        sampled(source, target, {"xquad-r": 2}, ["xquad-r"])


def test_links_follow_the_folder_of_the_data_sets(source, tmp_path):
    sampled(source, tmp_path / "data", {}, ["xquad-r"])
    moved = source.rename(tmp_path / "moved")
    for _ in range(2):
        sampled(moved, tmp_path / "data", {}, ["xquad-r"])
        assert (tmp_path / "data" / "xquad-r").resolve() == (moved / "xquad-r").resolve()


def test_packed_files_are_sampled_and_stay_packed(source, tmp_path):
    with gzip.open(source / "xquad-r" / "dev.en.json.gz", "wt") as file:
        json.dump({"data": [article(number, "en") for number in range(5)]}, file)
    sampled(source, tmp_path / "data", {"xquad-r": 4}, [])
    with gzip.open(tmp_path / "data" / "xquad-r" / "dev.en.json.gz", "rt") as file:
        assert [entry["title"] for entry in json.load(file)["data"]] == ["a0", "a4"]


@pytest.mark.parametrize(("name", "sentence"), [("nowhere", "nowhere: is no folder"), ("broken", "no list 'data'")])
def test_what_cannot_be_sampled_is_refused_and_nothing_is_left(source, tmp_path, name, sentence):
    (source / "broken").mkdir()
    (source / "broken" / "en.json").write_text("[1]")
    with pytest.raises(InputError, match=sentence):
        sampled(source, tmp_path / "data", {name: 2}, [])
    assert not (tmp_path / "data" / name).exists()


def test_a_parallel_set_in_mlqas_form_asks_in_one_language_and_answers_in_the_other(source, tmp_path):
    mlqa_form(source / "xquad-r", tmp_path / MLQA, ["de", "en", "vi"])
    names = sorted(path.name for path in (tmp_path / MLQA).iterdir())
    assert names == [f"test-context-{a}-question-{b}.json" for a in ("de", "en") for b in ("de", "en")]
    parts = load(find_task("mlqa"), tmp_path).parts
    assert parts["de>en"].queries == [f"de {number}?" for number in range(5)]
    assert all(" in en." in text for text in parts["de>en"].documents)
    assert parts["de>en"].answers == [[str(number)] for number in range(5)]
