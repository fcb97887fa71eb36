"""Embeddings: those of sentence-transformers, each text once, in batches of a budget, resumed after a kill."""

import json
import shutil

import numpy as np
import pytest
import torch

from hybrid.evaluation import vectors
from hybrid.evaluation.config import EncodingConfig
from hybrid.evaluation.encoding import encode
from hybrid.evaluation.results import model_digest
from hybrid.models import ModelConfig
from hybrid.models.load import load_encoder
from hybrid.models.save import save_encoder
from hybrid.runtime.errors import InputError
from tests.models.test_encoder import SHAPES, tiny

FP32 = EncodingConfig(precision="fp32", batch_tokens=200)
TEXTS = [f"text {number} {'word ' * (number % 17)}" for number in range(50)] + ["text 3 again", "text 3 again"]


def count_texts(encoder, monkeypatch) -> list[int]:
    """Record how many texts each forward pass gets."""
    sizes, forward = [], encoder.forward
    monkeypatch.setattr(encoder, "forward", lambda tokens: sizes.append(len(tokens)) or forward(tokens))
    return sizes


@pytest.mark.parametrize("side", ["query", "passage"])
def test_embeddings_equal_those_of_sentence_transformers(encoder, tmp_path, side):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    save_encoder(encoder, tmp_path / "model", "card", 24)
    other = sentence_transformers.SentenceTransformer(str(tmp_path / "model"), device="cpu")
    expected = other.encode(TEXTS, prompt_name=side)
    found = encode(encoder, TEXTS, side, 24, tmp_path / "vectors", FP32, None)
    np.testing.assert_allclose(found[:], expected, rtol=0, atol=1e-5)


def test_a_text_that_occurs_twice_goes_through_the_encoder_once(encoder, tmp_path, monkeypatch):
    sizes = count_texts(encoder, monkeypatch)
    found = encode(encoder, TEXTS, "query", 64, tmp_path, FP32, None)
    assert sum(sizes) == len(set(TEXTS)) < len(TEXTS)
    assert found.shape == (len(TEXTS), 32)
    assert np.array_equal(found[-1:], found[-2:-1])


def test_batches_keep_to_the_token_budget_padding_included(encoder, tmp_path, monkeypatch):
    areas, forward = [], encoder.forward

    def measured(tokens):
        areas.append(len(tokens) * int(tokens.lengths.max()))
        return forward(tokens)

    monkeypatch.setattr(encoder, "forward", measured)
    encode(encoder, TEXTS, "query", 64, tmp_path, FP32, None)
    assert 1 < len(areas) < len(TEXTS)
    assert max(areas) <= FP32.batch_tokens


def test_texts_are_encoded_with_those_of_like_length_wherever_they_stand(encoder, tmp_path, monkeypatch):
    computed, needed, forward = [], [], encoder.forward

    def measured(tokens):
        computed.append(len(tokens) * int(tokens.lengths.max()))
        needed.append(int(tokens.lengths.sum()))
        return forward(tokens)

    order = np.random.default_rng(0).permutation(320).tolist()
    texts = [f"text {number} {'word ' * (number % 9)}" for number in order]
    monkeypatch.setattr(encoder, "forward", measured)
    found = encode(encoder, texts, "query", 64, tmp_path, EncodingConfig(precision="fp32", batch_tokens=800), None)
    assert sum(needed) > 0.95 * sum(computed)
    assert len(list(tmp_path.glob("*.npy"))) == 5
    alone = encode(encoder, texts[7:8], "query", 64, tmp_path / "alone", FP32, None)
    np.testing.assert_allclose(found[7:8], alone[:], atol=1e-6)


def test_batches_fill_the_caches_of_a_cpu_unless_a_budget_is_given():
    assert EncodingConfig().tokens("cpu") < EncodingConfig().tokens("cuda")
    assert EncodingConfig(batch_tokens=77).tokens("cpu") == EncodingConfig(batch_tokens=77).tokens("cuda") == 77


def test_a_killed_job_encodes_only_the_shards_that_are_missing(encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(vectors, "_FEWEST_ROWS", 16)
    whole = encode(encoder, TEXTS, "query", 64, tmp_path, FP32, "digest")[:]
    (tmp_path / "00001.npy").unlink()
    sizes = count_texts(encoder, monkeypatch)
    again = encode(encoder, TEXTS, "query", 64, tmp_path, FP32, "digest")[:]
    assert sum(sizes) == 16
    np.testing.assert_array_equal(again, whole)


@pytest.mark.parametrize("changed", ["model", "texts", "length", "precision", "no digest"])
def test_embeddings_made_under_other_conditions_are_not_used_again(encoder, tmp_path, monkeypatch, changed):
    encode(encoder, TEXTS, "query", 64, tmp_path, FP32, "digest")
    sizes = count_texts(encoder, monkeypatch)
    digest = {"model": "other", "no digest": None}.get(changed, "digest")
    texts = [*TEXTS[:-1], "new"] if changed == "texts" else TEXTS
    config = EncodingConfig(precision="bf16" if changed == "precision" else "fp32", batch_tokens=200)
    encode(encoder, texts, "query", 32 if changed == "length" else 64, tmp_path, config, digest)
    assert sum(sizes) == len(set(texts))


def test_embeddings_that_are_not_finite_are_refused_with_their_texts(encoder, tmp_path):
    with torch.no_grad():
        encoder.backbone.get_input_embeddings().weight[encoder.tokenizer("~")["input_ids"][1]] = float("nan")
    with pytest.raises(InputError, match=r"1 texts are not finite .*bad ~ text"):
        encode(encoder, [*TEXTS, "bad ~ text"], "query", 64, tmp_path, FP32, None)


def test_half_precision_storage_keeps_embeddings_to_three_digits(encoder, tmp_path):
    half = EncodingConfig(precision="fp32", storage="float16")
    found = encode(encoder, TEXTS, "query", 64, tmp_path / "half", half, None)
    whole = encode(encoder, TEXTS, "query", 64, tmp_path / "whole", FP32, None)
    np.testing.assert_allclose(found[:], whole[:], atol=1e-3)
    assert np.load(tmp_path / "half" / "00000.npy").dtype == np.float16


def test_encoding_leaves_the_training_mode_as_it_was(encoder, tmp_path):
    encoder.train()
    encode(encoder, TEXTS, "query", 64, tmp_path, FP32, None)
    assert encoder.training


def test_the_digest_of_a_model_is_that_of_what_makes_its_embeddings(encoder, tmp_path):
    first = model_digest(encoder)
    encode(encoder, TEXTS, "query", 24, tmp_path, FP32, None)
    assert model_digest(encoder) == first
    encoder.prefixes["query"] = "other: "
    assert model_digest(encoder) != first
    encoder.prefixes["query"] = "query: "
    with torch.no_grad():
        encoder.backbone.get_input_embeddings().weight[0, 0] += 1e-3
    assert model_digest(encoder) != first


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 500, 1_630, 13_014, 131_072, 131_073, 10_000_000])
def test_shards_hold_every_row_once_and_are_many_enough_for_the_ranks_of_a_node(count):
    parts = vectors.shards(count)
    sizes = [part.stop - part.start for part in parts]
    assert [part.start for part in parts] == list(np.cumsum([0, *sizes])[:-1])
    assert sum(sizes) == count
    assert len(set(sizes[:-1])) <= 1
    assert len(parts) <= max(64, count // 2048 + 1)
    for ranks in (2, 4, 8):
        most = max(sum(sizes[rank::ranks]) for rank in range(ranks))
        assert count < 64 * 2 * ranks or most <= 1.3 * count / ranks


def altered(folder, name: str, file: str, **changes):
    """Copy a model's directory beside itself, with other values in one of its JSON files."""
    other = shutil.copytree(folder, folder.with_name(name))
    (other / file).write_text(json.dumps(json.loads((other / file).read_text()) | changes))
    return other


def digest_of(folder, **options) -> str:
    return model_digest(load_encoder(ModelConfig(name=str(folder), **options)))


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("config.json", {"layer_norm_eps": 0.1}),
        ("config.json", {"hidden_act": "relu"}),
        ("tokenizer_config.json", {"truncation_side": "left"}),
    ],
)
def test_models_of_equal_weights_and_other_embeddings_have_other_digests(encoder, tmp_path, file, changes):
    save_encoder(encoder, tmp_path / "model", "card", 32)
    altered(tmp_path / "model", "other", file, **changes)
    both = [load_encoder(ModelConfig(name=str(tmp_path / name))) for name in ("model", "other")]
    found = [encode(each, TEXTS, "query", 12, tmp_path / f"embeddings-{n}", FP32, None) for n, each in enumerate(both)]
    assert np.abs(found[0][:] - found[1][:]).max() > 1e-5
    assert model_digest(both[0]) != model_digest(both[1])


@pytest.mark.parametrize("model_type", SHAPES)
def test_a_model_has_one_digest_however_often_it_is_saved_and_however_it_is_run(model_type, tmp_path):
    encoder = tiny(model_type, projection=8)
    with torch.no_grad():  # values that bf16 has too
        for parameter in encoder.parameters():
            parameter.copy_(parameter.bfloat16())
    first = model_digest(encoder)
    save_encoder(encoder, tmp_path / "model", "card", 32)
    assert {digest_of(tmp_path / "model", attention=name) for name in ("auto", "sdpa", "eager")} == {first}
    assert digest_of(tmp_path / "model", dropout=0.0) == first
    loaded = load_encoder(ModelConfig(name=str(tmp_path / "model")))
    for precision in ("bf16", "fp32"):
        encode(loaded, ["a cat"], "query", 8, tmp_path / precision, EncodingConfig(precision=precision), None)
        assert model_digest(loaded) == first
    save_encoder(loaded, tmp_path / "again", "card", 64)
    loaded.backbone.bfloat16().save_pretrained(tmp_path / "again")
    assert json.loads((tmp_path / "again" / "config.json").read_text())["dtype"] == "bfloat16"
    architectures = {"architectures": ["ForMaskedLM"], "transformers_version": "4.0.0"}
    assert digest_of(altered(tmp_path / "again", "published", "config.json", **architectures)) == first
