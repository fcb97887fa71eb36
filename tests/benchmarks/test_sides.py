"""Both sides do the same work: `encode` and `evaluate`, whole, with a tiny encoder; chunks of the gradient cache."""

import json
import re

import pytest

pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")

from hybrid.models.save import save_encoder
from tests.benchmarks import encoding, evaluation, train_peer
from tests.benchmarks.__main__ import main
from tests.models.test_encoder import TEXTS, tiny


def article(number: int) -> dict:
    """Return one paragraph with a question, in XQuAD-R's form; no two have the same words."""
    words = " ".join(TEXTS).split()
    text = " ".join(words[number : number + 7])
    answers = [{"text": words[number], "answer_start": 0}]
    qa = {"id": f"q{number}", "question": " ".join(words[number : number + 3]), "answers": answers}
    return {"title": f"a{number}", "paragraphs": [{"context": text, "qas": [qa], "sentence_breaks": [[0, len(text)]]}]}


@pytest.fixture
def data(tmp_path, monkeypatch):
    """XQuAD-R in two languages of ten articles, beside SQuAD's folder."""
    for name in ("squad", "xquad-r"):
        (tmp_path / "data" / name).mkdir(parents=True)
    for shift, language in enumerate(("de", "en")):
        value = {"version": "1.1", "data": [article(number + shift) for number in range(10)]}
        (tmp_path / "data" / "xquad-r" / f"{language}.json").write_text(json.dumps(value))
    monkeypatch.setenv("HYBRID_DATA", str(tmp_path / "data"))


@pytest.fixture(params=["transformers' own form", "sentence-transformers', other prefixes"])
def model(request, tmp_path) -> str:
    """A directory that knows no prompts, and one that knows others."""
    encoder = tiny("xlm-roberta")
    if request.param.startswith("transformers"):
        encoder.backbone.save_pretrained(tmp_path / "model")
        encoder.tokenizer.save_pretrained(tmp_path / "model")
    else:
        encoder.prefixes = {"query": "dogs ", "passage": "mats "}
        save_encoder(encoder, tmp_path / "model", "", 24)
    return str(tmp_path / "model")


def notes(tmp_path, *call: str) -> str:
    assert main([*call, "--out", str(tmp_path / "out")]) == 0
    return "\n".join(json.loads((tmp_path / "out" / f"{call[0]}.json").read_text())["notes"])


def test_both_sides_encode_the_same_texts_whatever_the_directory_says(
    model, data, in_this_process, tmp_path, monkeypatch
):
    monkeypatch.setattr(encoding, "worker", in_this_process)
    found = notes(tmp_path, "encode", "--model", model, "--texts", "16", "--repeats", "2")
    differences = [float(value) for value in re.findall(r"embedding's number (\S+)", found)]
    assert len(differences) == 2
    assert max(differences) < 1e-6


def test_both_sides_score_the_same_texts_whatever_the_directory_says(
    model, data, in_this_process, tmp_path, monkeypatch
):
    monkeypatch.setattr(evaluation, "in_a_process", lambda script, work: in_this_process(script, json.loads(work)))
    found = notes(tmp_path, "evaluate", "--model", model, "--every", "2", "--dimensions", "8", "--repeats", "1")
    ours, theirs = re.findall(r"0\.\d{4}", found[found.index("Multilingual mAP") :])
    assert ours == theirs


def test_the_peers_mini_batches_hold_as_many_tokens_as_our_chunks(tmp_path):
    save_encoder(tiny("xlm-roberta"), tmp_path / "model", "", 24)
    given = {"model": {"name": str(tmp_path / "model")}, "length": 24, "cache_tokens": 48}
    encoder, seen = train_peer.load(given), []
    encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]["attention_mask"].sum(1).tolist()))
    loss = train_peer.make_loss(encoder, given, gather_across_devices=False)
    loss([encoder.preprocess(TEXTS[:2] * 8), encoder.preprocess(TEXTS * 4)], None)
    assert all(sum(tokens) <= 48 for tokens in seen)
    assert max(len(tokens) for tokens in seen) > 48 // 24
