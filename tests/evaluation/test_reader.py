"""A reader: its windows cover the passage, its spans are the passage's own words, it learns, and bad input is told."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForQuestionAnswering

import evaluate
from hybrid.evaluation import reader as command
from hybrid.evaluation.reader import Example, ReaderTraining, fine_tune, held_out_scores, split, training_rows
from hybrid.evaluation.reading import Reader, _best_span, cut, load_reader, reader_key
from hybrid.runtime.errors import InputError
from tests.evaluation.conftest import byte_tokenizer

SAMPLE = Path(__file__).parents[2] / "hybrid" / "sample"
LONG = " ".join(f"word{number}" for number in range(60))


def network(tokenizer):
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    return BertForQuestionAnswering(BertConfig(vocab_size=len(tokenizer), pad_token_id=1, **shape)).eval()


def example(passage: str, answer: str, article: str = "a") -> Example:
    return Example("en", article, "which?", passage, answer, passage.index(answer))


def test_windows_overlap_and_cover_the_whole_passage():
    windows = cut(byte_tokenizer(), ["which word?", "short?"], [LONG, "tiny"], 64)
    assert max(map(len, windows.ids)) <= 64
    assert windows.pair[-1] == 1
    first = np.concatenate([spans for spans, pair in zip(windows.offsets, windows.pair, strict=True) if pair == 0])
    covered = {place for start, stop in first[first[:, 0] >= 0] for place in range(start, stop)}
    assert covered == set(range(len(LONG)))


def test_a_question_that_is_too_long_leaves_half_the_window_to_the_passage():
    windows = cut(byte_tokenizer(), [LONG], ["the passage"], 64)
    assert all((offsets[:, 0] >= 0).any() for offsets in windows.offsets)


def test_training_rows_point_at_the_answer_and_nothing_else():
    tokenizer = byte_tokenizer()
    answers = [*(f"word{number}" for number in range(10, 60)), "alles"]
    examples = [example("über alles" if answer == "alles" else LONG, answer) for answer in answers]
    rows = training_rows(tokenizer, examples, 64)
    assert rows
    for row in rows:
        span = row["input_ids"][row["start_positions"] : row["end_positions"] + 1]
        assert tokenizer.decode(span).strip() in answers


def test_an_answer_is_the_best_span_of_the_best_window_of_all_passages():
    tokenizer = byte_tokenizer()
    model = network(tokenizer)
    found = Reader(model, tokenizer, "fp32").read(["which?"], [[LONG, "other words"]])[0]
    best = (-np.inf, "")
    for passage in (LONG, "other words"):
        windows = cut(tokenizer, ["which?"], [passage], 384)
        for ids, offsets in zip(windows.ids, windows.offsets, strict=True):
            with torch.no_grad():
                out = model(input_ids=torch.tensor([ids]))
            for first in range(len(ids)):
                for last in range(first, min(first + 30, len(ids))):
                    if offsets[first, 0] >= 0 and offsets[last, 0] >= 0:
                        score = float(out.start_logits[0, first] + out.end_logits[0, last])
                        best = max(best, (score, passage[offsets[first, 0] : offsets[last, 1]].strip()))
    assert found == best[1]


def with_segments(tokenizer):
    """Let a tokenizer tell questions from passages, as BERT's does."""
    tokenizer.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    return tokenizer


def test_a_reader_is_given_the_segments_that_its_tokenizer_tells():
    tokenizer = with_segments(byte_tokenizer())
    model = network(tokenizer)
    model.bert.embeddings.token_type_embeddings.weight.data.normal_()
    windows = cut(tokenizer, ["which word?"] * 2, [LONG, "other words"], 384)
    assert len(windows.ids) > 2
    spans = Reader(model, tokenizer, "fp32")._spans(["which word?"] * 2, [LONG, "other words"])
    expected = [-np.inf] * 2
    for ids, offsets, pair in zip(windows.ids, windows.offsets, windows.pair, strict=True):
        segments = torch.tensor([(offsets[:, 0] >= 0).astype(int).tolist()])
        with torch.no_grad():
            out = model(input_ids=torch.tensor([ids]), token_type_ids=segments)
        score = _best_span(out.start_logits[0].numpy(), out.end_logits[0].numpy(), offsets)[0]
        expected[pair] = max(expected[pair], score)
    assert [score for score, _, _ in spans] == pytest.approx(expected, abs=1e-4)


def test_training_rows_hold_the_segments_that_the_tokenizer_tells():
    examples = [example(LONG, "word7")]
    for tokenizer, told in ((with_segments(byte_tokenizer()), True), (byte_tokenizer(), False)):
        (row, *_) = training_rows(tokenizer, examples, 64)
        segments = [0] * len("which?") + [1] * (len(row["input_ids"]) - len("which?"))
        assert row.get("token_type_ids") == (segments if told else None)


def test_a_query_without_a_passage_has_an_empty_answer():
    tokenizer = byte_tokenizer()
    assert Reader(network(tokenizer), tokenizer, "fp32").read(["a?", "b?"], [[], ["text"]])[0] == ""


def test_a_reader_learns_where_answers_stand():
    tokenizer = byte_tokenizer()
    examples = [example(f"{'x' * (n % 7)} # {chr(97 + n)} end", f"{chr(97 + n)}") for n in range(20)]
    model = network(tokenizer)
    config = ReaderTraining(steps=60, batch=20, learning_rate=5e-3, precision="fp32", freeze_embeddings=False)
    fine_tune(model, tokenizer, training_rows(tokenizer, examples, 64), config)
    assert held_out_scores(Reader(model.eval(), tokenizer, "fp32"), examples)["exact_match"] > 0.8


def test_no_article_is_both_trained_on_and_held_out():
    examples = [example(f"text {n}", "text", article=f"article {n % 9}") for n in range(90)]
    kept, held = split(examples, ReaderTraining(held_out=0.2, held_out_questions=15))
    assert not {e.article for e in kept} & {e.article for e in held}
    assert (len(kept), len(held)) == (70, 15)
    with pytest.raises(InputError, match="holds 1 articles"):
        split(examples[:1], ReaderTraining())


@pytest.fixture
def arguments(tmp_path):
    """An encoder's directory and a SQuAD file of three articles."""
    tokenizer = byte_tokenizer()
    network(tokenizer).bert.save_pretrained(tmp_path / "encoder")
    tokenizer.save_pretrained(tmp_path / "encoder")
    articles = []
    for n in range(3):
        question = {"id": str(n), "question": "when?", "answers": [{"text": str(n), "answer_start": 6}]}
        paragraph = {"context": f"it is {n} o'clock", "qas": [question]}
        articles.append({"title": f"t{n}", "paragraphs": [paragraph]})
    (tmp_path / "train.json").write_text(json.dumps({"data": articles}))
    places = ["--model", str(tmp_path / "encoder"), "--data", str(tmp_path / "train.json")]
    settings = ["--training.steps", "2", "--training.batch", "2", "--training.precision", "fp32"]
    return [*places, "--out", str(tmp_path / "reader"), *settings]


def test_the_command_leaves_a_reader_that_can_be_loaded(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["reader", *arguments])
    command.main()
    assert "held out: F1" in capsys.readouterr().out
    about = json.loads((tmp_path / "reader" / "reader.json").read_text())
    assert (about["steps"], about["scores"]["questions"]) == (2, 1)
    loaded = load_reader(str(tmp_path / "reader"), "fp32", torch.device("cpu"))
    assert loaded.read(["when?"], [["it is 9 o'clock"]])[0] in "it is 9 o'clock"
    assert reader_key(str(tmp_path / "reader")) != reader_key("some/hub-id") == "some/hub-id"


def test_readers_are_told_apart_by_any_of_their_files(tmp_path):
    keys = set()
    for name in ("pytorch_model.bin", "model-00001-of-00002.safetensors", "config.json", "tokenizer.json", "vocab.txt"):
        (tmp_path / name).write_text("first")
        keys.add(reader_key(str(tmp_path)))
        (tmp_path / name).write_text("second")
        keys.add(reader_key(str(tmp_path)))
    assert len(keys) == 10
    (tmp_path / "reader.json").write_text("{}")
    assert reader_key(str(tmp_path)) in keys


def test_what_stands_beside_scores_tells_readers_of_other_configurations_and_tokenizers_apart():
    first, second, third = (Reader(network(byte_tokenizer()), byte_tokenizer()) for _ in range(3))
    assert first.digest == second.digest
    second.model.config.layer_norm_eps = 0.1
    third.tokenizer.add_tokens("word")
    assert len({reader.digest for reader in (first, second, third)}) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--data", "nowhere.json"], "there is no such file"),
        (["--out", "."], "is there already"),
        (["--training.steps", "-1"], "training.steps is -1; give a positive number"),
        (["--training.held_out", "1.5"], "training.held_out is 1.5; give a part of at least 0 and below 1"),
    ],
)
def test_bad_input_is_told_in_one_sentence_with_status_two(arguments, monkeypatch, capsys, change, message):
    monkeypatch.setattr(sys, "argv", ["reader", *arguments, *change])
    with pytest.raises(SystemExit, match="2"):
        command.main()
    assert message in capsys.readouterr().out


def test_a_directory_that_is_no_model_is_told(tmp_path):
    with pytest.raises(InputError, match=r"reader .*: cannot be loaded"):
        load_reader(str(tmp_path), "fp32", torch.device("cpu"))


def test_a_reader_may_be_named_in_a_file_too_and_two_are_refused(tmp_path):
    file = tmp_path / "asked.yaml"
    file.write_text(f"model: [any]\ntasks: [mlqa]\ndata_dir: {tmp_path}\nevaluation: {{reader: FILE}}\n")
    assert evaluate.read_arguments(["--config", str(file)]).evaluation.reader == "FILE"
    assert evaluate.read_arguments(["--config", str(file), "--reader", "FILE"]).evaluation.reader == "FILE"
    with pytest.raises(InputError, match=r"--reader DIR: evaluation.reader is FILE; give one of them"):
        evaluate.read_arguments(["--config", str(file), "--reader", "DIR"])
