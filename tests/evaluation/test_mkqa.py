"""MKQA: English passages that hold an answer, and, apart from it, answer strings as documents."""

import gzip
import json

import ir_measures
import numpy as np
import pytest
from ir_measures import Success
from pyarrow import parquet

from hybrid.evaluation.config import EncodingConfig, EvaluationConfig
from hybrid.evaluation.corpora import read_corpus
from hybrid.evaluation.evaluator import evaluate_encoder
from hybrid.evaluation.loading import load_tasks
from hybrid.runtime.errors import InputError
from tests.evaluation.published import json_lines, write_mkqa

CONFIG = EvaluationConfig(encoding=EncodingConfig(precision="fp32"))


@pytest.fixture
def mkqa(tmp_path):
    write_mkqa(tmp_path / "data")
    return tmp_path / "data"


def test_a_hit_is_a_passage_among_the_first_k_that_holds_an_english_answer(encoder, mkqa, tmp_path):
    tasks = load_tasks(["mkqa"], mkqa)
    parts = tasks[0].collection.parts
    assert parts["zh_cn>en"].answers == parts["en>en"].answers == [["Tom\u2013Jones", "Jones"], ["1999"], ["Jones"]]
    assert parts["zh_cn>en"].counts == {"questions without an English answer to look for": 1}
    assert parts["zh_cn>en"].documents is parts["en>en"].documents
    assert parts["en>en"].documents[3] == "Title 3\nnothing 3"
    metrics = evaluate_encoder(encoder, tasks, tmp_path / "out", CONFIG)
    for code, setting in (("zh_cn", "cross_lingual"), ("en", "english")):
        place = {"0": 0, "1": 0, "3": 0}
        for line in (tmp_path / "out" / "mkqa" / f"{code}-en.run").read_text().splitlines():
            query, _, name, rank, _, _ = line.split()
            if name == "doc50" and query != "1":
                place[query] = int(rank)
        for k in (20, 100):
            hits = sum(0 < rank <= k for rank in place.values()) / 3
            assert metrics[f"mkqa/{setting}/hit_rate_at_{k}"] == pytest.approx(hits)


def test_hit_rates_come_again_from_the_files_beside_them(encoder, mkqa, tmp_path):
    metrics = evaluate_encoder(encoder, load_tasks(["mkqa"], mkqa), tmp_path / "out", CONFIG)
    folder = tmp_path / "out" / "mkqa"
    for code, setting in (("zh_cn", "cross_lingual"), ("en", "english")):
        run = list(ir_measures.read_trec_run(str(folder / f"{code}-en.run")))
        qrels = list(ir_measures.read_trec_qrels(str(folder / f"{code}-en.qrels")))
        again = ir_measures.calc_aggregate([Success @ 20, Success @ 100], qrels, run)
        table = parquet.read_table(folder / "per_query.parquet").to_pandas()
        ranks = table[table["setting"] == setting]["found_rank"]
        for k in (20, 100):
            rate = metrics[f"mkqa/{setting}/hit_rate_at_{k}"]
            assert again[Success @ k] == pytest.approx(rate)
            assert np.mean([len(own) > 0 and own[0] <= k for own in ranks]) == pytest.approx(rate)
    assert json.loads((folder / "en-en.answers.json").read_text())["0"] == ["Tom\u2013Jones", "Jones"]


def test_the_published_file_leaves_out_what_has_no_span_and_looks_for_aliases_too(mkqa):
    folder = mkqa / "mkqa"
    kinds = [
        ("entity", "Bob", ["Robert"]),
        ("binary", "yes", []),
        ("unanswerable", None, []),
        ("long_answer", None, []),
    ]
    rows = [
        {
            "example_id": number,
            "queries": {"en": f"who {number}", "de": f"wer {number}"},
            "answers": {code: [{"type": kind, "text": text, "aliases": more}] for code in ("en", "de")},
        }
        for number, (kind, text, more) in enumerate(kinds)
    ]
    with gzip.open(folder / "mkqa.jsonl.gz", "wt") as file:
        file.write(json_lines(rows))
    parts = load_tasks(["mkqa"], mkqa)[0].collection.parts
    assert parts["de>en"].answers == [["Robert", "Bob"]]
    assert parts["de>en"].counts == {"questions without an English answer to look for": 3}
    closed = load_tasks(["mkqa-closed"], mkqa)[0].collection
    assert list(closed.documents.texts) == ["Bob", "yes", "Bob", "yes"]


def test_equal_answer_strings_are_one_document_that_answers_several_questions(encoder, mkqa, tmp_path):
    tasks = load_tasks(["mkqa-closed"], mkqa)
    collection = tasks[0].collection
    texts = dict(zip(collection.documents.ids, collection.documents.texts, strict=True))
    assert sorted(texts.values()) == ["1999", "1999年", "Jones", "Tom\u2013Jones", "琼斯"]
    row = collection.queries.ids.index("zh_cn-3")
    relevant = [collection.documents.texts[document] for query, document in collection.relevant if query == row]
    assert sorted(relevant) == ["Jones", "琼斯"]
    metrics = evaluate_encoder(encoder, tasks, tmp_path / "out", CONFIG)
    scores = json.loads((tmp_path / "out" / "mkqa-closed" / "scores.json").read_text())
    cells = scores["settings"]["pairs"]["measures"]["ndcg_at_10"]["cells"]
    assert set(cells) == {"en>en", "en>zh_cn", "zh_cn>en", "zh_cn>zh_cn"}
    assert scores["settings"]["pairs"]["left_out"] == 4
    assert metrics["mkqa-closed/pairs/ndcg_at_10"] == pytest.approx(sum(cells.values()) / 4)


def test_real_questions_are_parallel_over_their_files(hybrid_data):
    collection = load_tasks(["mkqa-closed"], hybrid_data)[0].collection
    assert len(collection.languages) == 12
    assert len(collection.queries) == 12 * 1758
    assert len(set(collection.question.tolist())) == 1758


@pytest.mark.parametrize("name", ["corpus.tsv", "psgs_w100.tsv.gz"])
def test_a_corpus_may_be_tsv_with_or_without_a_line_of_names(mkqa, name):
    folder = mkqa / "mkqa"
    (folder / "corpus.jsonl.gz").unlink()
    rows = "1\tfirst text\tTitle\n2\tsecond text\tTitle\n"
    if name.endswith(".gz"):
        with gzip.open(folder / name, "wt") as file:
            file.write("id\ttext\ttitle\n" + rows)
    else:
        (folder / name).write_text(rows)
    part = load_tasks(["mkqa"], mkqa)[0].collection.parts["en>en"]
    assert (list(part.document_ids), list(part.documents)) == (["1", "2"], ["Title\nfirst text", "Title\nsecond text"])


def test_dpr_s_passages_lose_the_quotes_of_csv_and_those_of_ms_marco_keep_theirs(tmp_path):
    names, rows = "id\ttext\ttitle\n", '1\t"Aaron ( or ; ""Ahärôn"") is"\tAaron\n2\ta "b" c\t"""D"" E"\n'
    (tmp_path / "psgs_w100.tsv").write_text(f'{names}{rows}3\t"two\nlines"\tF\n')
    ids, texts = read_corpus([tmp_path / "psgs_w100.tsv"])
    assert list(ids) == ["1", "2", "3"]
    assert list(texts) == ['Aaron\nAaron ( or ; "Ahärôn") is', '"D" E\na "b" c', "F\ntwo\nlines"]
    (tmp_path / "collection.tsv").write_text('7\t"quoted" is the first word\n')
    assert list(read_corpus([tmp_path / "collection.tsv"])[1]) == ['"quoted" is the first word']


def test_a_quote_that_is_never_closed_is_told_with_its_line(tmp_path):
    (tmp_path / "corpus.tsv").write_text('id\ttext\ttitle\n1\t"open\tA\n2\tb\tB\n')
    with pytest.raises(InputError, match=r"corpus.tsv, line 3: is not quoted as DPR's psgs_w100.tsv is"):
        read_corpus([tmp_path / "corpus.tsv"])


def test_the_corpus_of_nq_is_found_beside_the_questions(mkqa):
    (mkqa / "nq").mkdir()
    (mkqa / "mkqa" / "corpus.jsonl.gz").rename(mkqa / "nq" / "corpus.jsonl.gz")
    assert len(load_tasks(["mkqa"], mkqa)[0].collection.parts["en>en"].documents) == 120


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("corpus.jsonl", '{"_id": "1", "text": "a"}\n{"_id": "1", "text": "b"}\n', r"1 document ids occur twice"),
        ("corpus.jsonl", '{"_id": "1", "body": "a"}\n', "line 1: has none of text, contents, passage, only _id, body"),
        ("corpus.jsonl", "", "corpus.jsonl: is empty"),
        ("mkqa-en.jsonl", '{"id": "1", "answers": []}\n', "mkqa-en.jsonl, line 1: has no id, question or answers"),
        ("mkqa-en.jsonl", 2 * '{"id": "1", "question": "a", "answers": []}\n', "line 2: the id 1 occurs a second time"),
        ("mkqa-zh_cn.jsonl", '{"id": "1", "question": " ", "answers": ["a"]}\n', "1 queries are empty"),
    ],
)
def test_files_that_do_not_fit_are_refused(mkqa, name, text, message):
    (mkqa / "mkqa" / name).write_text(text)
    with pytest.raises(InputError, match=message):
        load_tasks(["mkqa"], mkqa)


def test_passages_and_english_answers_are_asked_for_where_they_are_missing(mkqa):
    (mkqa / "mkqa" / "corpus.jsonl.gz").unlink()
    with pytest.raises(
        InputError, match=r"has no passages to search, neither corpus.jsonl.*nq/corpus.jsonl; get BEIR's"
    ):
        load_tasks(["mkqa"], mkqa)
    (mkqa / "mkqa" / "mkqa-en.jsonl").unlink()
    with pytest.raises(InputError, match="has no English questions, whose answers count"):
        load_tasks(["mkqa"], mkqa)
