"""Pairs with named columns, TREC's form and tables of `datasets`."""

import json
import os

import pytest

from hybrid.data.config import DataConfig, DatasetConfig
from hybrid.data.load import load_corpora
from hybrid.runtime.errors import InputError
from tests.data.toy import names_of, write

PAIRS = [
    {"id": "1", "query": "What is tea?", "passage": "Tea is a drink.", "query_lang": "en", "passage_lang": "en"},
    {"id": "1", "query": "Was ist Tee?", "passage": "Tea is a drink.", "query_lang": "de", "passage_lang": "en"},
    {"id": "2", "query": "Was ist Eis?", "passage": "Ice is cold.", "query_lang": "de", "passage_lang": "en"},
    {"query": "Qui ?", "passage": "Lui.", "query_lang": "fr", "passage_lang": "fr", "negatives": ["Elle.", "Eux."]},
]


def load(tmp_path, config: DatasetConfig, **settings):
    return load_corpora(DataConfig(**{"sets": {"p": config}, "cache": str(tmp_path / "cache")} | settings))


GIVEN = {"negatives": "given", "hard_negatives": 1}


def jsonl(tmp_path, rows=PAIRS) -> str:
    return write(tmp_path / "pairs.jsonl.gz", "\n".join(json.dumps(row) for row in rows))


def test_cross_lingual_pairs_have_languages_of_their_own_on_each_side(tmp_path):
    corpus = load(tmp_path, DatasetConfig(format="pairs", files=jsonl(tmp_path))).train[0]
    found = {}
    for block in corpus.blocks:
        sides = [tuple(corpus.languages[code] for code in side) for side in (block.languages, block.passages)]
        found |= dict.fromkeys(names_of(corpus, range(block.start, block.stop)), sides)
        assert (block.passage_languages is None) == (block.languages == block.passages)
    line = f"{tmp_path}/pairs.jsonl.gz, line 4"
    assert found == {"1": [("de", "en"), ("en",)], "2": [("de",), ("en",)], line: [("fr",), ("fr",)]}
    assert dict(zip(names_of(corpus), corpus.tables.named.tolist(), strict=True)) == {"1": True, "2": True, line: False}


def test_given_negatives_are_the_pool_of_their_row_and_join_groups_of_answers(tmp_path):
    rows = [*PAIRS, {"query": "Elle ?", "passage": "Elle.", "lang": "fr"}]
    corpus = load(tmp_path, DatasetConfig(format="pairs", files=jsonl(tmp_path, rows)), **GIVEN).train[0]
    tables, names = corpus.tables, names_of(corpus)
    row = names.index(f"{tmp_path}/pairs.jsonl.gz, line 4")
    place = next(int(rows[items.tolist().index(row)]) for items, _, rows in corpus.each_passage() if row in items)
    pool = tables.pool[tables.pool_start[place] : tables.pool_stop[place]]
    assert [corpus.texts[text] for text in tables.candidate_passage[pool]] == ["Elle.", "Eux."]
    other = names.index(f"{tmp_path}/pairs.jsonl.gz, line 5")
    assert tables.candidate_group[pool[0]] == corpus.groups[other]


def test_tsv_columns_can_be_renamed_and_constant(tmp_path):
    path = write(tmp_path / "a.tsv", 'q\tp\tn\tgroup\nWhat?\tThis.\t["No."]\tg\nWho?\tShe.\t\tg\n')
    columns = {"query": "q", "passage": "p", "negatives": "n", "lang": "=en"}
    config = DatasetConfig(format="pairs", files=path, columns=columns)
    corpus = load(tmp_path, config, **GIVEN).train[0]
    assert corpus.languages == ("en",)
    assert len(corpus) == 2
    assert len(set(corpus.groups.tolist())) == 1  # the file says that they are one group
    assert (corpus.tables.pool_stop - corpus.tables.pool_start).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"query": "a", "passage": "b", "lang": "en"}\n{"query": ', "line 2: is broken JSON at line 1, column"),
        ('{"query": "a", "passage": "b", "lang": "en"}\nquery\tpassage', "line 2: is broken JSON at line 1, column 1"),
        ('{"query": "a", "passage": "b", "lang": "en"}\n[1]', r"line 2: is '\[1\]', no JSON object"),
        ("question\tpassage\na\tb\n", "no 'query'; name it there"),
        ("query\tpassage\tlang\na\tb\n", "line 2: has 2 columns, but the first line names 3"),
        ("", "is empty"),
        ('{"query": "a", "passage": "b"}', "no usable row; .*1 rows: no query_lang"),
    ],
)
def test_broken_pairs_are_one_sentence_with_file_and_line(tmp_path, content, message):
    path = write(tmp_path / "a.txt", content)
    with pytest.raises(InputError, match=message):
        load(tmp_path, DatasetConfig(format="pairs", files=path))


@pytest.mark.parametrize("given", ["[1] see the note", "[1]", "[No.", '["[1] see the note"]', "[]"])
def test_a_negative_that_begins_with_a_bracket_is_a_text(tmp_path, given):
    path = write(tmp_path / "a.tsv", f"query\tpassage\tnegatives\nWhat?\tThis.\t{given}\nWho?\tShe.\tHe.\n")
    config = DatasetConfig(format="pairs", files={"en": path})
    corpus = load(tmp_path, config, **GIVEN).train[0]
    expected = {"[]": []}.get(given, ["[1] see the note" if "see" in given else given])
    assert [corpus.texts[text] for text in corpus.tables.candidate_passage[corpus.tables.pool]] == [*expected, "He."]


@pytest.mark.parametrize(
    ("answers", "sentence"),
    [
        ([{"text": "green", "answer_start": 18}], "It is green."),
        ({"text": ["green"], "answer_start": [18]}, "It is green."),
        (["green"], None),
        ([{"text": "green"}], "told"),
        ({"text": ["green"]}, "told"),
    ],
)
def test_answers_tell_the_sentence_or_nothing_but_are_never_half_read(tmp_path, answers, sentence):
    row = {"query": "New?", "passage": "Tea is old. It is green.", "lang": "en", "id": "1", "answers": answers}
    config = DatasetConfig(format="pairs", files=jsonl(tmp_path, [row, PAIRS[0]]))
    data = load(tmp_path, config)
    corpus, told = data.train[0], "rows/p/answers without a text and a whole number answer_start each"
    assert data.counts.get(told, 0) == (sentence == "told")
    sentences = [text for text in corpus.tables.candidate_sentence[corpus.tables.answer].tolist() if text >= 0]
    assert [corpus.texts[text] for text in sentences] == ([] if sentence in (None, "told") else [sentence])


def test_an_unknown_field_is_refused_with_the_nearest(tmp_path):
    with pytest.raises(InputError, match="columns has 'querry', did you mean 'query'"):
        load(tmp_path, DatasetConfig(format="pairs", files=jsonl(tmp_path), columns={"querry": "q"}))


def test_trec_files_join_by_query_and_document(tmp_path):
    (tmp_path / "q").mkdir()
    (tmp_path / "d").mkdir()
    write(tmp_path / "q" / "en.tsv", "1\tWhat is tea?\n2\tWhat is ice?\n3\tNobody knows?\n")
    write(tmp_path / "q" / "de.tsv", "1\tWas ist Tee?\n")
    write(tmp_path / "d" / "en.tsv", "a\tTea\tA drink.\nb\tIce is cold.\nc\tTea is green.\n")
    write(tmp_path / "d" / "de.tsv", "a\tTee\tEin Getr\u00e4nk.\nb\tEis ist kalt.\n")
    qrels = write(tmp_path / "qrels", "1 0 a 1\n1 0 b 0\n1 0 c 2\n2 0 b 1\n")
    files = {side: str(tmp_path / side / "{language}.tsv") for side in "qd"}
    config = DatasetConfig(format="trec", queries=files["q"], files=files["d"], qrels=qrels)
    data = load(tmp_path, config, **GIVEN)
    corpus = data.train[0]
    assert {name: len(block.languages) for block in corpus.blocks for name in names_of(corpus, range(*block[:2]))} == {
        "1 a": 2,
        "1 c": 1,
        "2 b": 1,
    }
    groups = dict(zip(names_of(corpus), corpus.groups.tolist(), strict=True))
    assert groups["1 a"] == groups["1 c"] != groups["2 b"]
    assert "Tea\nA drink." in list(corpus.texts)
    assert data.counts["rows/p/query without a relevant document"] == 1
    assert data.counts["rows/p/document of the qrels is not in " + str(tmp_path / "d" / "de.tsv")] == 1
    write(tmp_path / "qrels", "1 0 a\n")
    with pytest.raises(InputError, match=r"qrels, line 1: is '1 0 a'; expected `query 0 document relevance`"):
        load(tmp_path, config)


@pytest.mark.parametrize("ending", ["parquet", "arrow", "folder"])
def test_local_tables_are_read_with_a_column_mapping(tmp_path, ending):
    datasets = pytest.importorskip("datasets")
    rows = {
        "question": ["Old?", "New?", "Never?"],
        "context": ["Tea is old. It is green.", "Tea is old. It is green.", "Tea."],
        "id": ["1", "2", "3"],
        "answers": [
            {"text": ["old"], "answer_start": [7]},
            {"text": ["green"], "answer_start": [18]},
            {"text": [], "answer_start": []},
        ],
    }
    table = datasets.Dataset.from_dict(rows)
    path = str(tmp_path / f"rows.{ending}")
    {"parquet": table.to_parquet, "folder": table.save_to_disk}.get(ending, lambda path: _arrow(table, path))(path)
    columns = {"query": "question", "passage": "context", "lang": "=en"}
    data = load(tmp_path, DatasetConfig(format="hub", files=path, columns=columns))
    corpus = data.train[0]
    assert names_of(corpus) == ["1", "2"]
    answers = [corpus.texts[text] for text in corpus.tables.candidate_sentence[corpus.tables.answer]]
    assert answers == ["Tea is old.", "It is green."]
    assert data.counts["rows/p/unanswerable"] == 1


def test_a_folder_that_is_saved_again_is_read_again(tmp_path):
    datasets = pytest.importorskip("datasets")
    config = DatasetConfig(format="hub", files=str(tmp_path / "rows"), columns={"lang": "=en"})
    for passage in ("Tea is old.", "Tea is new."):
        table = datasets.Dataset.from_dict({"query": ["What?"], "passage": [passage]})
        datasets.DatasetDict(train=table).save_to_disk(tmp_path / "rows")
        os.utime(tmp_path / "rows", (0, 0))
        assert passage in list(load(tmp_path, config).train[0].texts)


def test_settings_of_the_hub_and_splits_are_refused_where_files_have_none(tmp_path):
    datasets = pytest.importorskip("datasets")
    for name in ("train-0.parquet", "test-0.parquet", "train.csv", "valid.csv", "trainers.arrow", "testimonials.arrow"):
        write(tmp_path / name, "")
    files = str(tmp_path / "*.parquet")
    folder = str(tmp_path / "table")
    datasets.Dataset.from_dict({"query": ["What?"], "passage": ["This."]}).save_to_disk(folder)
    for settings, message in (
        ({"subset": "en"}, r"data.sets.p.subset and .revision belong to data sets of the hub"),
        ({"split": "validation"}, r"data.sets.p.split is 'validation', but .* is a file"),
        ({"files": folder, "split": "validation"}, r"data.sets.p.split is 'validation', but .*table is one table"),
        ({}, r"\*.parquet: stands for files of the splits test, train; name those of one"),
        ({"files": str(tmp_path / "*.csv")}, r"\*.csv: stands for files of the splits train, valid; name those of one"),
        ({"files": str(tmp_path / "*.arrow")}, "`datasets` cannot read"),
    ):
        with pytest.raises(InputError, match=message):
            load(tmp_path, DatasetConfig(**{"format": "hub", "files": files} | settings))


def test_what_pandas_writes_for_missing_values_is_missing(tmp_path):
    rows = [
        {"query": f"{n}?", "passage": f"{n}.", "lang": "en", "id": float("nan"), "group": float("nan")} for n in "ab"
    ]
    corpus = load(tmp_path, DatasetConfig(format="pairs", files=jsonl(tmp_path, rows))).train[0]
    assert len(corpus) == len(set(corpus.groups.tolist())) == 2
    assert not corpus.tables.named.any()


@pytest.mark.parametrize("field", ["query", "passage", "id", "query_lang", "passage_lang"])
def test_half_a_character_makes_a_bad_row_that_leaves_no_trace(tmp_path, field):
    bad = PAIRS[0] | {"id": "2", "passage": "Other.", "query_lang": "xx"} | {field: "cut \ud83d"}
    nameless = PAIRS[0] | {"id": "\ud83d", "passage": ""}
    rows = [PAIRS[0], bad, nameless, PAIRS[2] | {"id": "3"}]
    data = load(tmp_path, DatasetConfig(format="pairs", files=jsonl(tmp_path, rows)))
    assert data.counts["rows/p/half a character (a lone surrogate)"] == data.counts["rows/p/no passage"] == 1
    assert names_of(data.train[0]) in (["1", "3"], ["3", "1"])
    assert data.train[0].languages == ("de", "en")


def test_ids_are_told_apart_to_the_last_space(tmp_path):
    rows = [PAIRS[0] | {"id": name, "query": f"{number}?"} for number, name in enumerate(("a", "a ", "b"))]
    data = load(tmp_path, DatasetConfig(format="pairs", files=jsonl(tmp_path, rows)))
    assert sorted(names_of(data.train[0])) == ["a", "a ", "b"]


def test_a_list_with_and_without_the_language_in_its_paths_is_refused(tmp_path):
    paths = [write(tmp_path / "rows.en.jsonl", json.dumps(PAIRS[0])), jsonl(tmp_path)]
    config = DatasetConfig(format="pairs", files=[str(tmp_path / "rows.{language}.jsonl"), paths[1]])
    with pytest.raises(InputError, match=r"pairs.jsonl.gz: has no \{language\}, unlike others of the list"):
        load(tmp_path, config)


def test_a_table_that_cannot_be_opened_is_one_sentence(tmp_path):
    path = write(tmp_path / "a.parquet", "no parquet")
    with pytest.raises(InputError, match=r"`datasets` cannot read"):
        load(tmp_path, DatasetConfig(format="hub", files=path))
    with pytest.raises(InputError, match="expected a folder of save_to_disk"):
        load(tmp_path, DatasetConfig(format="hub", files=write(tmp_path / "a.doc", "x")))


def _arrow(table, path: str) -> None:
    import pyarrow

    with pyarrow.OSFile(path, "wb") as file, pyarrow.ipc.new_stream(file, table.data.table.schema) as writer:
        writer.write_table(table.data.table)


@pytest.mark.parametrize("chained", [True, False])
def test_judgments_that_chain_most_items_into_one_group_are_told(tmp_path, capsys, chained):
    """Each query has two relevant documents; where the next one shares one of them, all hang together."""
    judged = [(n, document) for n in range(40) for document in ((n, n + 1) if chained else (2 * n, 2 * n + 1))]
    write(tmp_path / "q.en.tsv", "".join(f"{n}\tQuestion {n}?\n" for n in range(40)))
    write(tmp_path / "d.en.tsv", "".join(f"{n}\tDocument {n}.\n" for n in range(80)))
    qrels = write(tmp_path / "qrels", "".join(f"{query} 0 {document} 1\n" for query, document in judged))
    files = {side: str(tmp_path / f"{side}.{{language}}.tsv") for side in "qd"}
    load(tmp_path, DatasetConfig(format="trec", queries=files["q"], files=files["d"], qrels=qrels))
    told = "data.sets.p: 80 of 80 items (100%) are one group"
    assert (told in capsys.readouterr().err) == chained
