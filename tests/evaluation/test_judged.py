"""Collections with judgments: read in published formats, measured by ir-measures, refused where they do not fit."""

import gzip
import json
from collections import defaultdict
from dataclasses import replace

import ir_measures
import numpy as np
import pytest
from ir_measures import R, nDCG
from pyarrow import parquet

from hybrid.data.texts import Texts
from hybrid.evaluation import corpora
from hybrid.evaluation.config import EncodingConfig, EvaluationConfig, SearchConfig
from hybrid.evaluation.corpora import read_corpus
from hybrid.evaluation.distinct import Joined, distinct
from hybrid.evaluation.evaluator import evaluate_encoder
from hybrid.evaluation.judged import Part, check_part
from hybrid.evaluation.judged_scores import without
from hybrid.evaluation.loading import load_tasks
from hybrid.evaluation.runs import read_recipe
from hybrid.evaluation.search import Found
from hybrid.evaluation.statistics import mean
from hybrid.evaluation.task import Setting
from hybrid.runtime.errors import InputError

FP32 = EncodingConfig(precision="fp32")


@pytest.fixture
def beir(tmp_path):
    """Forty documents, two of them with equal text, ten queries with grades 1 and 2, one of them never judged."""
    folder = tmp_path / "data" / "tiny"
    (folder / "qrels").mkdir(parents=True)
    rows = [{"_id": f"d{n}", "title": f"title {n}" if n % 2 else "", "text": f"text of {max(n, 1)}"} for n in range(40)]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with gzip.open(folder / "queries.jsonl.gz", "wt") as file:
        file.writelines(json.dumps({"_id": f"q{n}", "text": f"what is {n}?"}) + "\n" for n in range(11))
    lines = [f"q{n}\td{n * k + k}\t{k}\n" for n in range(10) for k in (1, 2)]
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(lines))
    return tmp_path / "data"


def test_reported_figures_are_those_of_ir_measures_on_the_files(encoder, beir, tmp_path):
    tasks = load_tasks(["beir:tiny"], beir)
    metrics = evaluate_encoder(encoder, tasks, tmp_path / "out", EvaluationConfig(encoding=FP32))
    folder = tmp_path / "out" / "beir-tiny"
    run = ir_measures.read_trec_run(str(folder / "en.run"))
    qrels = ir_measures.read_trec_qrels(str(folder / "en.qrels"))
    again = ir_measures.calc_aggregate([nDCG @ 10, R @ 100], list(qrels), list(run))
    assert metrics["beir-tiny/retrieval/ndcg_at_10"] == pytest.approx(again[nDCG @ 10], abs=1e-9)
    assert metrics["beir-tiny/retrieval/recall_at_100"] == pytest.approx(again[R @ 100], abs=1e-9) == 1.0
    table = parquet.read_table(folder / "per_query.parquet").to_pandas()
    recall = [(ranks <= 100).sum() / 2 for ranks in table["found_rank"]]
    assert np.mean(recall) == pytest.approx(again[R @ 100])
    values, _ = read_recipe(str(tmp_path / "out"), None).values("beir-tiny", "retrieval", "ndcg_at_10")
    assert mean(values)[0] == pytest.approx(again[nDCG @ 10], abs=1e-9)


def test_a_query_never_finds_itself_in_beir_and_the_run_gives_the_reported_figures(encoder, beir, tmp_path, capsys):
    folder = beir / "tiny"
    with (folder / "corpus.jsonl").open("a") as file:
        file.writelines(json.dumps({"_id": f"q{n}", "text": f"what is {n}?"}) + "\n" for n in range(8))
    config = EvaluationConfig(encoding=FP32, run_depth=20)
    task = load_tasks(["beir:tiny"], beir)[0]
    task = replace(task, task=replace(task.task, settings=(Setting("retrieval", "each", ("ndcg_at_10",), depth=20),)))
    metrics = evaluate_encoder(encoder, [task], tmp_path / "out", config)
    out = tmp_path / "out" / "beir-tiny"
    run = list(ir_measures.read_trec_run(str(out / "en.run")))
    assert not [line for line in run if line.query_id == line.doc_id]
    assert {line.query_id: sum(one.query_id == line.query_id for one in run) for line in run} == {
        f"q{n}": 20 for n in range(10)
    }
    assert {line.doc_id for line in run} & {"q0", "q1"}, "other queries' texts are documents like any other"
    qrels = list(ir_measures.read_trec_qrels(str(out / "en.qrels")))
    again = ir_measures.calc_aggregate([nDCG @ 10], qrels, run)
    assert metrics["beir-tiny/retrieval/ndcg_at_10"] == pytest.approx(again[nDCG @ 10], abs=1e-9)
    assert json.loads((out / "scores.json").read_text())["queries_whose_own_document_is_left_out"] == {"en": 8}
    assert "8 queries have a document of their own id" in capsys.readouterr().out
    table = parquet.read_table(out / "per_query.parquet").to_pandas()
    assert table["pool_size"].tolist() == [47] * 8 + [48] * 2


def test_a_ranking_of_the_whole_corpus_ends_where_the_querys_own_document_was_taken_out():
    found = Found(np.array([[2, 0, 1], [0, 2, 1]]), np.array([[3, 2, 1], [3, 2, 1]], np.float32))
    kept = without(found, np.array([0, -2]), 3)
    assert kept.rows.tolist() == [[2, 1, -1], [0, 2, 1]]
    assert kept.scores.tolist() == [[3, 1, -np.inf], [3, 2, 1]]


def test_miracl_and_trec_have_ids_of_two_namespaces_and_keep_all_documents(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "corpus.tsv").write_text("7\tone\n")
    (folder / "topics.tsv").write_text("7\tfirst number\n")
    (folder / "qrels.txt").write_text("7 0 7 1\n")
    assert not load_tasks(["trec:mine"], tmp_path)[0].collection.leaves_out_own


def test_backends_give_the_same_files(encoder, beir, tmp_path):
    pytest.importorskip("faiss")
    for backend in ("torch", "faiss"):
        config = EvaluationConfig(encoding=FP32, search=SearchConfig(backend=backend, block_rows=7, device="cpu"))
        evaluate_encoder(encoder, load_tasks(["beir:tiny"], beir), tmp_path / backend, config)
    for name in ("en.run", "en.qrels"):
        one, two = ((tmp_path / backend / "beir-tiny" / name).read_text() for backend in ("torch", "faiss"))
        assert one == two


def test_an_approximate_index_reports_its_recall(encoder, beir, tmp_path):
    pytest.importorskip("faiss")
    search = SearchConfig(backend="faiss", factory="HNSW8,Flat", device="cpu")
    evaluate_encoder(encoder, load_tasks(["beir:tiny"], beir), tmp_path, EvaluationConfig(encoding=FP32, search=search))
    scores = json.loads((tmp_path / "beir-tiny" / "scores.json").read_text())
    assert 0 < scores["settings"]["retrieval"]["recall_of_search"]["en"] <= 1
    assert scores["search"] == "FAISS HNSW8,Flat on the CPU"


def test_miracl_is_read_from_its_published_files(hybrid_data, tmp_path):
    """The corpora are too large to be here: one is made in their format, of the judged documents."""
    folder = tmp_path / "miracl"
    folder.mkdir()
    for code in ("sw", "yo"):
        for kind in ("topics", "qrels"):
            name = f"{kind}.miracl-v1.0-{code}-dev.tsv"
            (folder / name).write_bytes((hybrid_data / "miracl" / name).read_bytes())
        judged = {line.split()[2] for line in (folder / f"qrels.miracl-v1.0-{code}-dev.tsv").open()}
        corpus = folder / f"miracl-corpus-v1.0-{code}"
        corpus.mkdir()
        with gzip.open(corpus / "docs-0.jsonl.gz", "wt") as file:
            rows = ({"docid": name, "title": f"T {name}", "text": f"text {name}"} for name in sorted(judged))
            file.writelines(json.dumps(row) + "\n" for row in rows)
    parts = load_tasks(["miracl"], tmp_path)[0].collection.parts
    assert {code: len(part.queries) for code, part in parts.items()} == {"sw": 482, "yo": 119}
    assert {grade for judged in parts["sw"].qrels.values() for grade in judged.values()} == {0, 1}
    name = parts["yo"].document_ids[0]
    assert parts["yo"].documents[0] == f"T {name}\ntext {name}"


def test_a_missing_corpus_is_told_with_where_to_get_it(hybrid_data):
    with pytest.raises(InputError, match=r"topics of sw, but no miracl-corpus-v1.0-sw.*https://huggingface.co"):
        load_tasks(["miracl"], hybrid_data)


def test_trec_files_are_read(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "corpus.tsv").write_text("d1\tone\nd2\ttwo\n")
    (folder / "topics.tsv").write_text("7\tfirst number\n8\tsecond number\n")
    (folder / "qrels.txt").write_text("7 0 d1 1\n8 0 d2 0\n")
    part = load_tasks(["trec:mine"], tmp_path)[0].collection.parts["all"]
    assert (list(part.query_ids), list(part.documents)) == (["7"], ["one", "two"])
    assert part.counts["queries without a relevant document"] == 1


def test_passages_are_read_once_and_stay_as_they_are(tmp_path, monkeypatch):
    rows = [("a", " one "), ("b", "zwei ü"), ("c", " one "), ("d", "")]
    file = tmp_path / "corpus.jsonl"
    file.write_text("".join(json.dumps({"_id": name, "text": text}) + "\n" for name, text in rows))
    read_corpus([file])
    monkeypatch.setattr(corpora, "_json", None)
    ids, texts = read_corpus([file])
    assert list(zip(ids, texts, strict=True)) == rows
    joined = Joined([ids, [], texts, ["a"]])
    assert [joined[row] for row in range(len(joined))] == list(joined) == [*ids, *texts, "a"]
    first, of = distinct(joined)
    assert first.tolist() == [0, 1, 2, 3, 4, 5, 7]
    assert of.tolist() == [0, 1, 2, 3, 4, 5, 4, 6, 0]
    assert [found.tolist() for found in distinct(list(joined))] == [first.tolist(), of.tolist()]
    assert len(distinct([])[0]) == 0


def test_the_digest_of_what_is_scored_comes_from_those_beside_the_texts(beir, monkeypatch):
    collection = load_tasks(["beir:tiny"], beir)[0].collection
    whole = collection.content
    with monkeypatch.context() as patch:
        patch.setattr(Texts, "__getitem__", None)
        assert collection.content == whole
    file = beir / "tiny" / "corpus.jsonl"
    file.write_text(file.read_text().replace("text of 7", "text of nothing"))
    assert load_tasks(["beir:tiny"], beir)[0].collection.content != whole


def test_a_query_that_is_a_whole_argument_is_read_to_its_end(encoder, beir, tmp_path):
    (beir / "tiny" / "queries.jsonl.gz").unlink()
    rows = [{"_id": f"q{n}", "text": f"{'argument ' * 30}for {n}"} for n in range(10)]
    (beir / "tiny" / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    same = beir / "same"
    same.mkdir()
    (same / "corpus.tsv").write_text("".join(f"d{n}\ttext {n}\n" for n in range(10)))
    (same / "topics.tsv").write_text("".join(f"{row['_id']}\t{row['text']}\n" for row in rows))
    (same / "qrels.txt").write_text("".join(f"q{n} 0 d{n} 1\n" for n in range(10)))
    config = EvaluationConfig(encoding=FP32, keep_embeddings=True)
    for name in ("beir-tiny", "trec-same"):
        evaluate_encoder(encoder, load_tasks([name.replace("-", ":")], beir), tmp_path / "out", config)
        shards = sorted((tmp_path / "out" / name / "embeddings" / "query").glob("[0-9]*.npy"))
        assert len(np.unique(np.concatenate([np.load(path) for path in shards]), axis=0)) == 10


@pytest.mark.parametrize(
    ("file", "line", "message"),
    [
        ("corpus.jsonl", '{"_id": "d0", "text": "again"}\n', r"tiny: 1 document ids occur twice \(first: 'd0'\)"),
        ("corpus.jsonl", '{"_id": "new", "text": null}\n', r"line 41: has none of text, contents, passage"),
        ("corpus.jsonl", '{"_id": "\\ud800", "text": "x"}\n', r"passage '.*ud800' is no valid Unicode"),
        ("corpus.jsonl", '{"_id": "d 40", "text": "x"}\n', r"tiny: the document id 'd 40' is empty or has white space"),
        ("qrels/test.tsv", "q1\td1\thigh\n", r"test.tsv, line 22: the judgment q1 d1 has the grade 'high'"),
        ("qrels/test.tsv", "q1\td2\t2\n", r"test.tsv, line 22: q1 d2 has the grade 2 here and 1 before"),
        ("qrels/test.tsv", "q1\tnowhere\t1\n", r"1 of 21 judgments name an unknown query or document"),
    ],
)
def test_a_line_that_cannot_be_is_refused_by_its_place(beir, file, line, message):
    with open(beir / "tiny" / file, "a") as opened:
        opened.write(line)
    with pytest.raises(InputError, match=message):
        load_tasks(["beir:tiny"], beir)


def test_a_query_id_that_comes_twice_is_refused(beir):
    with gzip.open(beir / "tiny" / "queries.jsonl.gz", "at") as opened:
        opened.write('{"_id": "q0", "text": "again"}\n')
    with pytest.raises(InputError, match=r"queries.jsonl.gz: the query id 'q0' occurs twice"):
        load_tasks(["beir:tiny"], beir)


def part(unknown: int) -> Part:
    qrels: dict = defaultdict(dict)
    for number in range(200):
        qrels[f"q{number}"][f"d{number}"] = 1
    for number in range(unknown):
        qrels["q0"][f"x{number}"] = 1
    names = [f"q{number}" for number in range(200)]
    return Part(names, names, [f"d{number}" for number in range(200)], ["text"] * 200, qrels, {})


def test_judgments_of_unknown_documents_are_counted_and_refused_above_one_in_a_hundred(capsys):
    assert check_part(part(2), "here").counts["judgments of unknown queries or documents"] == 2
    assert "q0 x0, q0 x1" in capsys.readouterr().err
    with pytest.raises(InputError, match="3 of 203 judgments name an unknown query or document"):
        check_part(part(3), "here")


@pytest.mark.parametrize(
    ("field", "message"), [("query_ids", "1 query ids occur twice"), ("document_ids", "1 document ids occur twice")]
)
def test_ids_that_occur_twice_are_refused(field, message):
    made = part(0)
    getattr(made, field)[1] = getattr(made, field)[0]
    with pytest.raises(InputError, match=message):
        check_part(made, "here")
