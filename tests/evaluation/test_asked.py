"""What is mined is read whatever the form of its files, and what cannot be mined is refused before that."""

import gzip
import json

import pyarrow as pa
import pytest
from pyarrow import parquet

from hybrid.data.config import DatasetConfig
from hybrid.evaluation.asked import data_set, read_asked
from hybrid.evaluation.config import EncodingConfig, SearchConfig
from hybrid.evaluation.mine import mine
from hybrid.evaluation.negatives import MiningConfig
from hybrid.runtime.errors import InputError


def test_pairs_are_mined_whatever_the_form_of_their_files(encoder, tmp_path):
    rows = [
        {
            "query": f"what {n}?",
            "passage": f"Antwort {n % 5} hier",
            "query_lang": "en",
            "passage_lang": "de",
            "id": f"{n}",
        }
        for n in range(6)
    ]
    rows += [rows[0] | {"query": "was 0?", "query_lang": "de", "passage": "Antwort 0 hier"}]
    rows[1] |= {"group": "one"}
    rows[2] |= {"group": "one"}
    names = ["query", "passage", "query_lang", "passage_lang", "id", "group"]
    table = {name: [row.get(name, "") for row in rows] for name in names}
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with gzip.open(tmp_path / "pairs.tsv.gz", "wt") as file:
        file.writelines("\t".join(line) + "\n" for line in (names, *zip(*table.values(), strict=True)))
    parquet.write_table(pa.table(table), tmp_path / "pairs.parquet")
    found = [
        read_asked(data_set(str(tmp_path / f"pairs{ending}"), DatasetConfig()))
        for ending in (".jsonl", ".tsv.gz", ".parquet")
    ]
    assert len({asked.collection.content for asked in found}) == 1
    config = MiningConfig(last_rank=5, count=5, ratio=2.0, margin=-2.0)
    out = tmp_path / "mined.jsonl"
    mine(encoder, found[0], out, config, EncodingConfig(precision="fp32"), SearchConfig(device="cpu"))
    lines = [json.loads(line) for line in out.open()]
    assert [(line["query_lang"], line["passage_lang"]) for line in lines] == [("en", "de")] * 6 + [("de", "de")]
    assert [line["passage"] for line in lines] == [row["passage"] for row in rows]
    for number, line in enumerate(lines):
        # Question 5 asks for the passage of question 0; 1 and 2 are of one group.
        own = {1, 2} if number in (1, 2) else {number % 6 % 5}
        assert {int(text.split()[1]) for text in line["negatives"]} == set(range(5)) - own


@pytest.mark.parametrize(
    ("form", "answers"),
    [
        ("jsonl", ["Paris", "Lutetia"]),
        ("jsonl", [{"text": "Paris", "answer_start": 10}, {"text": "Lutetia", "answer_start": 0}]),
        ("parquet", ["Paris", "Lutetia"]),
        ("parquet", {"text": ["Paris", "Lutetia"], "answer_start": [10, 0]}),
        ("tsv", '["Paris", "Lutetia"]'),
        ("squad", [{"text": "Paris", "answer_start": 10}, {"text": "Lutetia", "answer_start": 0}]),
        ("several rows", ["Lutetia"]),
    ],
)
def test_no_negative_holds_any_of_the_answers_that_a_file_gives(encoder, tmp_path, form, answers):
    texts = ["It is now Paris.", "LUTETIA, of old.", "Bonn was it.", "Rome was it."]
    row = {"id": "q", "query": "what?", "passage": texts[0], "lang": "en", "answers": answers, "negatives": texts[1:]}
    files = tmp_path / f"asked.{form}"
    if form in ("jsonl", "parquet"):
        write = {
            "jsonl": files.write_text,
            "parquet": lambda _: parquet.write_table(pa.Table.from_pylist([row]), files),
        }
        write[form](json.dumps(row))
    elif form == "tsv":
        row["negatives"] = json.dumps(row["negatives"])
        files.write_text("\n".join("\t".join(line) for line in (row.keys(), row.values())))
    elif form == "several rows":
        files = tmp_path / "asked.jsonl"
        files.write_text("".join(json.dumps(row | {"answers": given}) + "\n" for given in ("Paris", answers)))
    else:
        files = tmp_path / "dev.{language}.json"
        asking = [{"id": "q", "question": "what?", "answers": answers}]
        content = [{"context": text, "qas": asking if text == texts[0] else []} for text in texts]
        (tmp_path / "dev.en.json").write_text(json.dumps({"data": [{"title": "a", "paragraphs": content}]}))
    asked = read_asked(data_set(str(files), DatasetConfig()))
    assert asked.answers == [{"paris", "lutetia"}]
    config = MiningConfig(last_rank=4, ratio=2.0, margin=-2.0)
    out = tmp_path / "mined.jsonl"
    mine(encoder, asked, out, config, EncodingConfig(precision="fp32"), SearchConfig(device="cpu"))
    assert sorted(json.loads(out.read_text())["negatives"]) == texts[2:]


@pytest.mark.parametrize("form", ["rows without ids", "rows of several ids", "squad"])
def test_a_passage_that_answers_the_same_question_in_another_row_is_no_negative(encoder, tmp_path, form):
    asking = [
        ("Who sang?", "Ann sang."),
        ("who  sang?", "Bob sang."),
        ("Who ran?", "Cid ran."),
        ("Who ran?", "Dan ran."),
    ]
    files = tmp_path / "asked.jsonl"
    if form == "squad":
        files = tmp_path / "dev.{language}.json"
        content = [
            {"context": text, "qas": [{"id": text, "question": query, "answers": [{"text": text, "answer_start": 0}]}]}
            for query, text in asking
        ]
        (tmp_path / "dev.en.json").write_text(json.dumps({"data": [{"title": "a", "paragraphs": content}]}))
    else:
        names = [{"id": text} if form == "rows of several ids" else {} for _, text in asking]
        rows = [{"query": query, "passage": text, "lang": "en"} for query, text in asking]
        files.write_text("".join(json.dumps(row | name) + "\n" for row, name in zip(rows, names, strict=True)))
    config = MiningConfig(last_rank=4, ratio=2.0, margin=-2.0)
    out = tmp_path / "mined.jsonl"
    settings = [config, EncodingConfig(precision="fp32"), SearchConfig(device="cpu")]
    mine(encoder, read_asked(data_set(str(files), DatasetConfig())), out, *settings)
    lines = [json.loads(line) for line in out.open()]
    texts = [text for _, text in asking]
    assert [line["passage"] for line in lines] == texts
    assert [sorted(line["negatives"]) for line in lines] == [texts[2:]] * 2 + [texts[:2]] * 2
    assert len({line["group"] for line in lines}) == 2


@pytest.mark.parametrize("answers", [7, True, None, [None, 7], [[]]])
def test_answers_of_no_known_form_are_none(tmp_path, answers):
    row = {"query": "what?", "passage": "It is now Paris.", "lang": "en", "answers": answers}
    (tmp_path / "asked.jsonl").write_text(json.dumps(row))
    assert read_asked(data_set(str(tmp_path / "asked.jsonl"), DatasetConfig())).answers == [set()]


@pytest.mark.parametrize("form", ["squad", "lareqa"])
def test_only_the_languages_that_are_named_are_mined(tmp_path, form):
    for code in ("de", "en", "fi"):
        answer = {"text": code, "answer_start": 0}
        question = {"id": "q", "question": f"{code} what?", "answers": [answer]}
        paragraph = {"context": f"{code} says so.", "qas": [question], "sentence_breaks": [[0, 11]]}
        content = {"data": [{"title": "a", "paragraphs": [paragraph]}]}
        (tmp_path / f"dev.{code}.json").write_text(json.dumps(content))
    files = str(tmp_path / "dev.{language}.json")

    def languages(named):
        return read_asked(data_set(files, DatasetConfig(format=form, languages=named))).collection.languages

    assert languages(None) == ("de", "en", "fi")
    assert languages(["fi", "en"]) == ("en", "fi")
    with pytest.raises(InputError, match=r"languages names 'sv', but --dataset.files has de, en, fi"):
        languages(["de", "sv"])


@pytest.mark.parametrize("by_language", [False, True])
def test_files_in_lareqas_form_are_read_as_such_and_all_their_paragraphs_are_candidates(tmp_path, by_language):
    question = {"id": "q", "question": "what?", "answers": [{"text": "One", "answer_start": 0}]}
    breaks = [[0, 4], [5, 9]]
    content = [
        {"context": "One. Two.", "sentence_breaks": breaks, "qas": [question]},
        {"context": "Six. Ten.", "sentence_breaks": breaks, "qas": []},
    ]
    path = tmp_path / "dev.en.json"
    files = {"en": str(path)} if by_language else str(tmp_path / "dev.{language}.json")
    config = DatasetConfig(format="lareqa", files=files)
    path.write_text(json.dumps({"data": [{"title": "a", "paragraphs": content}]}))
    assert list(read_asked(config).collection.documents.texts) == ["One. Two.", "Six. Ten."]
    del content[1]["sentence_breaks"]
    path.write_text(json.dumps({"data": [{"title": "a", "paragraphs": content}]}))
    with pytest.raises(InputError, match='"sentence_breaks" of paragraph 1'):
        read_asked(config)


def test_an_empty_paragraph_is_no_candidate_and_is_told(tmp_path, capsys):
    question = {"id": "q", "question": "what?", "answers": [{"text": "One", "answer_start": 0}]}
    content = [{"context": "One. Two.", "qas": [question]}, {"context": " ", "qas": []}]
    (tmp_path / "dev.en.json").write_text(json.dumps({"data": [{"title": "a", "paragraphs": content}]}))
    asked = read_asked(data_set(str(tmp_path / "dev.{language}.json"), DatasetConfig()))
    assert list(asked.collection.documents.texts) == ["One. Two."]
    assert "--data: 1 rows: empty paragraph, such as en, a" in capsys.readouterr().err


@pytest.mark.parametrize("key", ["max_items", "max_length"])
def test_settings_of_a_data_set_that_hold_in_training_alone_are_refused_before_files_are_read(key):
    with pytest.raises(InputError, match=rf"--dataset.{key} is 5, which mining does not follow; remove it"):
        read_asked(data_set("nowhere.{language}.json", DatasetConfig(**{key: 5})))


def test_a_data_set_that_cannot_be_mined_is_refused():
    with pytest.raises(InputError, match="format is 'lines', which has no questions"):
        read_asked(DatasetConfig(format="lines", files="x"))
    with pytest.raises(InputError, match="both set"):
        data_set("x.jsonl", DatasetConfig(format="hub", hub="y"))
    with pytest.raises(InputError, match="there is no such file"):
        read_asked(data_set("nowhere.jsonl", DatasetConfig()))
