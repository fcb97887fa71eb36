"""MLQA: a pool for each pair of languages, identical passages as one, answers only where a reader reads."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from pyarrow import parquet

from hybrid.evaluation.answers import f1
from hybrid.evaluation.config import EncodingConfig, EvaluationConfig
from hybrid.evaluation.evaluator import evaluate_encoder
from hybrid.evaluation.judged_scores import read_answers
from hybrid.evaluation.loading import load_tasks
from hybrid.evaluation.search import Found
from hybrid.runtime.errors import InputError
from tests.evaluation.mlqa_form import write_mlqa_form
from tests.evaluation.published import mlqa_content, write_mlqa, write_reader

CONFIG = EvaluationConfig(encoding=EncodingConfig(precision="fp32"))


@pytest.fixture
def mlqa(tmp_path):
    write_mlqa(tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def reader(tmp_path):
    return write_reader(tmp_path / "reader")


def test_each_pair_has_the_passages_of_its_own_file_and_identical_ones_are_one(mlqa):
    parts = load_tasks(["mlqa"], mlqa)[0].collection.parts
    assert len(parts) == 9
    assert (len(parts["en>zh"].queries), len(parts["en>zh"].documents)) == (4, 3)
    assert (len(parts["de>zh"].queries), len(parts["de>zh"].documents)) == (3, 3)
    assert parts["en>zh"].queries[3] == "en which thing 3?"
    assert parts["en>zh"].qrels["q3"] == parts["en>zh"].qrels["q2"] == {"zh-00002": 1}
    assert parts["de>zh"].document_ids == parts["zh>zh"].document_ids


def test_without_a_reader_no_f1_is_reported(encoder, mlqa, tmp_path):
    metrics = evaluate_encoder(encoder, load_tasks(["mlqa"], mlqa), tmp_path / "out", CONFIG)
    assert {
        "mlqa/pairs/ndcg_at_10",
        "mlqa/cross_lingual/recall_at_1",
        "mlqa/monolingual/precision_at_5",
    } <= metrics.keys()
    assert not any("answer_f1" in name or "exact_match" in name for name in metrics)
    scores = json.loads((tmp_path / "out" / "mlqa" / "scores.json").read_text())
    cells = scores["settings"]["pairs"]["measures"]["ndcg_at_10"]["cells"]
    assert len(cells) == 9
    same = [value for pair, value in cells.items() if len(set(pair.split(">"))) == 1]
    assert metrics["mlqa/monolingual/ndcg_at_10"] == pytest.approx(np.mean(same))
    table = parquet.read_table(tmp_path / "out" / "mlqa" / "per_query.parquet").to_pandas()
    assert table[table["setting"] == "pairs"].groupby("question").size().to_dict() == {
        "q0": 9,
        "q1": 9,
        "q2": 9,
        "q3": 4,
    }


def test_answers_are_judged_as_their_file_says_and_a_text_is_encoded_once(encoder, mlqa, reader, tmp_path):
    rows = []
    encoder.register_forward_pre_hook(lambda module, arguments: rows.append(len(arguments[0].lengths)))
    config = EvaluationConfig(encoding=CONFIG.encoding, reader=reader, reader_passages=2)
    tasks = load_tasks(["mlqa"], mlqa)
    metrics = evaluate_encoder(encoder, tasks, tmp_path / "out", config)
    assert sum(rows) == 3 + 4 + 4 + 3 * 3
    found = []
    for pair, part in tasks[0].collection.parts.items():
        path = tmp_path / "out" / "mlqa" / f"{pair.replace('>', '-')}.predictions.json"
        answers = json.loads(path.read_text())
        language = pair.split(">")[1]
        truths = zip(part.query_ids, part.answers, strict=True)
        found.append(np.mean([f1(answers[name], true, language) for name, true in truths]))
        read = _first_passages(path.with_name(path.name.replace("predictions.json", "run")), part, 2)
        assert all(any(answer in text for text in read[name]) for name, answer in answers.items())
    assert metrics["mlqa/pairs/answer_f1"] == pytest.approx(np.mean(found))
    scores = json.loads((tmp_path / "out" / "mlqa" / "scores.json").read_text())
    assert scores["reader"]["passages"] == 2


def test_the_reader_reads_the_first_passages_of_each_query(mlqa):
    part = load_tasks(["mlqa"], mlqa)[0].collection.parts["en>zh"]
    rows = np.array([[2, 0, 1], [1, 2, 0], [0, 1, 2], [1, -1, -1]])
    read = []
    recorder = SimpleNamespace(
        read=lambda questions, texts: read.extend(zip(questions, texts, strict=True)) or questions
    )
    answers = read_answers(recorder, part, Found(rows, np.zeros(rows.shape, np.float32)), 2)
    assert answers == part.queries
    assert [texts for _, texts in read] == [
        [part.documents[number] for number in row[:2] if number >= 0] for row in rows.tolist()
    ]


def _first_passages(run, part, count: int) -> dict[str, list[str]]:
    texts = dict(zip(part.document_ids, part.documents, strict=True))
    rows = [line.split() for line in run.read_text().splitlines()]
    found: dict[str, list[str]] = {}
    for query, _, name, rank, _, _ in rows:
        if int(rank) <= count:
            found.setdefault(query, []).append(texts[name])
    return found


def test_a_pair_is_ranked_among_others_as_it_is_alone(encoder, mlqa, tmp_path):
    alone = tmp_path / "alone" / "MLQA_V1"
    alone.mkdir(parents=True)
    name = "test-context-en-question-zh.json"
    (alone / name).write_text((mlqa / "MLQA_V1" / "test" / name).read_text())
    runs = []
    for data in (mlqa, alone.parent):
        evaluate_encoder(encoder, load_tasks(["mlqa"], data), data / "out", CONFIG)
        runs.append([line.split() for line in (data / "out" / "mlqa" / "zh-en.run").read_text().splitlines()])
    assert [line[:4] for line in runs[0]] == [line[:4] for line in runs[1]]
    scores = [[float(line[4]) for line in run] for run in runs]
    np.testing.assert_allclose(scores[0], scores[1], rtol=0, atol=1e-5)


def test_real_texts_in_this_form_have_as_many_questions_as_xquad(hybrid_data, tmp_path):
    write_mlqa_form(hybrid_data / "xquad-r", tmp_path / "MLQA_V1", ["en", "zh"], articles=3)
    parts = load_tasks(["mlqa"], tmp_path)[0].collection.parts
    assert set(parts) == {"en>en", "en>zh", "zh>en", "zh>zh"}
    assert len({len(part.queries) for part in parts.values()}) == 1
    assert parts["en>zh"].queries == parts["en>en"].queries
    assert parts["en>zh"].answers == parts["zh>zh"].answers


def test_pairs_that_are_missing_are_told(mlqa, capsys):
    load_tasks(["mlqa"], mlqa)
    told = capsys.readouterr().err
    assert "40 of 49 published languages are missing (ar>ar, " in told
    assert "the smallest pool has 3 documents, fewer than ndcg_at_10" in told


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data["paragraphs"][0]["qas"][0].update(answers=[]), "id q0: has no answer"),
        (lambda data: data["paragraphs"][1]["qas"][0].update(id="q0"), r"1 query ids occur twice \(first: 'q0'\)"),
        (lambda data: data["paragraphs"][1]["qas"][0].update(question=" "), "1 queries are empty"),
    ],
)
def test_files_that_do_not_fit_are_refused(mlqa, change, message):
    path = mlqa / "MLQA_V1" / "test" / "test-context-en-question-de.json"
    made = json.loads(path.read_text())
    change(made["data"][0])
    path.write_text(json.dumps(made))
    with pytest.raises(InputError, match=message):
        load_tasks(["mlqa"], mlqa)


def test_files_of_two_splits_are_not_mixed(mlqa):
    path = mlqa / "MLQA_V1" / "test" / "dev-context-en-question-de.json"
    path.write_text(json.dumps(mlqa_content("en", "de", range(2))))
    with pytest.raises(InputError, match="holds files of 2 splits"):
        load_tasks(["mlqa"], mlqa)


def test_a_file_whose_name_does_not_fit_is_told_and_a_split_may_have_a_hyphen(mlqa):
    folder = mlqa / "MLQA_V1" / "test"
    for path in sorted(folder.iterdir()):
        path.rename(path.with_name(f"old-{path.name}"))
    assert len(load_tasks(["mlqa"], mlqa)[0].collection.parts) == 9
    (folder / "old-test-context-e n-question-de.json").write_text("{}")
    with pytest.raises(InputError, match=r"e n-question-de.json: is not named SPLIT-context-XX-question-YY.json"):
        load_tasks(["mlqa"], mlqa)


def test_a_model_without_a_span_head_is_no_reader(encoder, mlqa, tmp_path):
    encoder.backbone.save_pretrained(tmp_path / "encoder")
    config = EvaluationConfig(encoding=CONFIG.encoding, reader=str(tmp_path / "encoder"))
    with pytest.raises(InputError, match=r"is XLMRobertaModel, not an extractive question-answering model; train one"):
        evaluate_encoder(encoder, load_tasks(["mlqa"], mlqa), tmp_path / "out", config)
