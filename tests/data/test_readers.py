"""Readers: what they take, what they leave out and count, and one sentence for whatever is broken."""

import gzip

import pytest

from hybrid.data.config import DatasetConfig
from hybrid.data.files import read_json_file, resolve
from hybrid.data.lareqa import read_lareqa
from hybrid.data.report import Report
from hybrid.data.squad import BAD_ANSWERS, read_squad
from hybrid.runtime.errors import InputError
from tests.data.toy import ARTICLES, make_corpus, squad, write


def test_unanswerable_questions_are_left_out_and_counted_and_no_error_under_strict(tmp_path):
    path = write(tmp_path / "v2.json.gz", squad({"A": [("Tea is old.", [("1", "Old?", "Tea"), ("2", "New?", None)])]}))
    report = Report("data", strict=True)
    paragraphs = read_squad(path, report)
    assert [question.id for question in paragraphs[0].questions] == ["1"]
    assert report.counts == {"unanswerable": 1}


def test_the_first_answer_that_stands_where_it_says_counts(tmp_path):
    answers = [{"text": "", "answer_start": -1}, {"text": "oak", "answer_start": 0}, {"text": "Oak", "answer_start": 6}]
    qas = [{"id": "1", "question": "What?", "answers": answers}]
    path = write(tmp_path / "a.json", {"data": [{"paragraphs": [{"context": "green oak, red oak", "qas": qas}]}]})
    assert read_squad(path)[0].questions[0].answer_start == 6


@pytest.mark.parametrize(
    ("context", "answer", "cause", "kept"),
    [
        ("Tea is old. Tea is green.", ("water", 3), "answer not in its passage", 0),
        ("Tea is old.", ("old", 2), "answer not at answer_start (taken from where it stands)", 1),
        ("Tea or tea: tea.", ("tea", 0), None, 1),
        ("Tea is old.", ("", 0), "empty answer", 0),
    ],
)
def test_an_answer_outside_its_passage_is_reported_with_file_and_id(tmp_path, context, answer, cause, kept):
    qas = [{"id": "q7", "question": "What?", "answers": [{"text": answer[0], "answer_start": answer[1]}]}]
    path = write(tmp_path / "a.json", {"data": [{"paragraphs": [{"context": context, "qas": qas}]}]})
    report = Report("data")
    assert len(read_squad(path, report)[0].questions) == kept
    assert list(report.counts) == ([cause] if cause else [])
    if cause:
        assert report.examples[cause] == [f"{path}, id q7"]
        with pytest.raises(InputError, match=r"q7: .*; mend the row, or unset data.strict"):
            read_squad(path, Report("data", strict=True))


HUB = {"text": ["oak", "Oak"], "answer_start": [0, 6]}


@pytest.mark.parametrize(
    ("answers", "kept"),
    [
        (HUB, 1),
        (HUB | {"answer_start": [0]}, 0),
        ({"text": "Oak", "answer_start": 6}, 0),
        ([{"text": "Oak"}], 0),
        ([{"text": "Oak", "answer_start": "6"}], 0),
        ([{"text": None, "answer_start": 6}], 0),
        (["Oak"], 0),
    ],
)
def test_answers_of_another_form_are_read_or_told_with_file_and_id(tmp_path, answers, kept):
    qas = [{"id": "q7", "question": "What?", "answers": answers}]
    path = write(tmp_path / "a.json", {"data": [{"paragraphs": [{"context": "green oak, red oak", "qas": qas}]}]})
    report = Report("data")
    assert [question.answer_start for question in read_squad(path, report)[0].questions] == [6] * kept
    assert report.examples == ({} if kept else {BAD_ANSWERS: [f"{path}, id q7"]})


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", b'{"data": [1,\n 2,, 3]}', r"broken JSON at line 2, column 4"),
        ("a.json", b"", "is empty"),
        ("a.json", b'{"rows": []}', 'holds no list "data"'),
        ("a.json", b'{"data": [{"title": "A"}]}', r'data\[0\]: "paragraphs" is None'),
        ("a.json", b'{"data": [{"paragraphs": [{"qas": []}]}]}', r'data\[0\].paragraphs\[0\]: "context" is None'),
        ("a.json", b'{"data": "\xff"}', "is not UTF-8"),
        ("a.json.gz", gzip.compress(b'{"data": []}' * 999, mtime=0)[:-20], "broken gzip"),
        ("a.json.gz", gzip.compress(b'{"data": []}', mtime=0)[:10], "broken gzip|is empty"),
    ],
)
def test_a_broken_file_is_one_sentence_with_file_and_position(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        read_squad(str(tmp_path / name))
    assert str(tmp_path / name) in str(error.value)


def test_missing_files_and_variables_are_told(tmp_path, monkeypatch):
    monkeypatch.delenv("NOWHERE", raising=False)
    with pytest.raises(InputError, match="there is no such file"):
        resolve({"en": str(tmp_path / "no.json")}, "data.sets.a.files")
    with pytest.raises(InputError, match="variable NOWHERE is not set"):
        resolve("${NOWHERE}/{language}.json", "data.sets.a.files")
    with pytest.raises(InputError, match="no file matches"):
        resolve(str(tmp_path / "{language}.json"), "data.sets.a.files")
    with pytest.raises(InputError, match=r"no\.json: cannot be read"):
        read_json_file(str(tmp_path / "no.json"))


def test_a_path_with_language_stands_for_every_file_that_fits(tmp_path):
    for name in ("dev.en.json", "dev.zh-Hant.json.gz", "train.de.json"):
        (tmp_path / name).write_text("x")
    found = resolve(str(tmp_path / "dev.{language}.json*"), "files")
    assert {language: len(paths) for language, paths in found.items()} == {"en": 1, "zh-Hant": 1}


def test_a_language_without_a_usable_row_and_one_that_no_file_has_are_refused(tmp_path):
    with pytest.raises(InputError, match="'de' has no usable row"):
        make_corpus(tmp_path, {"en": ARTICLES, "de": {"A": [("Tee.", [("b1", "Was?", None)])]}})
    sets = {"toy": DatasetConfig(files=str(tmp_path / "{language}.json"), languages=["dd"])}
    with pytest.raises(InputError, match=r"names 'dd', but .*, did you mean 'de'"):
        make_corpus(tmp_path, {"en": ARTICLES, "de": ARTICLES}, sets=sets)


def test_lareqa_keeps_the_sentences_of_the_file(tmp_path):
    content = squad({"A": [("One. Two.", [("1", "Which?", "Two")])]})
    content["data"][0]["paragraphs"][0]["sentence_breaks"] = [[0, 4], [5, 9]]
    assert read_lareqa(write(tmp_path / "en.json", content))[0].sentences == [(0, 4), (5, 9)]
    for breaks in ([[0, 40]], [[0, 4], [5]], [5], "05", [["0", "4"]], {"0": 4}, [[0, 4, 9]]):
        content["data"][0]["paragraphs"][0]["sentence_breaks"] = breaks
        with pytest.raises(InputError, match="sentence_breaks"):
            read_lareqa(write(tmp_path / "en.json", content))


def test_real_files_give_the_published_numbers(hybrid_data):
    counts = {}
    for code in ("en", "es", "da", "it"):
        report = Report(code)
        paragraphs = read_squad(str(hybrid_data / f"squad/dev.{code}.json.gz"), report)
        counts[code] = sum(len(paragraph.questions) for paragraph in paragraphs), report.counts
    assert counts == {"en": (10570, {}), "es": (6583, {}), "da": (7599, {}), "it": (7608, {"empty answer": 1})}
    assert sum(len(p.sentences) for p in read_lareqa(str(hybrid_data / "xquad-r/th.json"))) == 852
