"""--check_gradients: passes where the gradient is right, and fails where it is not."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from hybrid.config import read_config
from hybrid.models import ModelConfig
from hybrid.models.config import FromScratch
from hybrid.runtime.errors import InputError
from hybrid.runtime.launch import start
from hybrid.training.config import ObjectiveConfig, TrainingConfig
from hybrid.training.gradient_check import check_gradients, checked_model, group_of
from hybrid.training.plan_encoder import anatomy
from hybrid.training.reference import joined, small
from tests.launch import launch
from tests.training.test_gradients import linux
from tests.training.toy import toy_batch, toy_encoder

TINY = ["--config", "hybrid/recipes/quickstart.yaml", "--config", "hybrid/recipes/tiny.yaml"]
WRONG = Path(__file__).parent / "wrong_gather.py"


def check(script: str | Path, folder: Path, *flags: str, **options) -> str:
    return launch(script, *TINY, "--check_gradients", "--data.cache", folder, *flags, processes=2, **options)


@pytest.mark.parametrize("zero", [None, pytest.param(2, marks=linux), pytest.param(3, marks=linux)])
def test_it_passes_where_ranks_give_the_gradient_and_step_of_one_process(zero, tmp_path):
    printed = check("train.py", tmp_path, zero=zero)
    kind = "multi_cpu" if zero is None else "deepspeed"
    assert f"world size 2 ({kind})" in printed
    assert "gradients and steps are those of one process" in printed
    assert printed.count("backbone.encoder.layer.1") == 3
    assert "WRONG" not in printed


@pytest.mark.parametrize("zero", [None, pytest.param(2, marks=linux)])
def test_it_fails_with_a_gather_that_is_broken_on_purpose(zero, tmp_path):
    printed = check(WRONG, tmp_path, zero=zero, status=1)
    assert "error: gradients or steps are not right" in printed


def test_the_joined_batch_of_the_ranks_is_that_of_one_process():
    whole, parts = toy_batch(0, 12, negatives=True), [toy_batch(0, 12, rank, 3, negatives=True) for rank in range(3)]
    found = joined(parts)
    for key in ("queries", "passages"):
        assert torch.equal(getattr(found, key).ids, getattr(whole, key).ids)
        assert torch.equal(getattr(found, key).lengths, getattr(whole, key).lengths)
    for key in ("query_groups", "passage_groups", "negative_owner"):
        assert torch.equal(getattr(found, key), getattr(whole, key))


LARGE = [("xlm-roberta", "hidden_size", 1024), ("mt5", "d_model", 2048), ("bert", "hidden_size", 768)]


@pytest.mark.parametrize(("name", "width", "large"), LARGE)
def test_the_small_encoder_has_the_recipes_architecture_and_tokenizer_and_no_dropout(name, width, large):
    from transformers import AutoConfig

    saved = AutoConfig.for_model(name, **{width: large, "vocab_size": 1234})
    found = small(ModelConfig(name="some/encoder", pooling="cls", dropout=0.1, layers=12), lambda _: saved)
    assert (found.from_scratch.model_type, found.from_scratch.tokenizer) == (name, "some/encoder")
    assert AutoConfig.for_model(name, **found.from_scratch.config).num_hidden_layers == 2
    assert found.from_scratch.config[width] == 64
    assert found.from_scratch.config["vocab_size"] == 1234
    assert (found.pooling, found.dropout, found.layers, found.name) == ("cls", 0.0, None, None)


def test_an_encoder_that_is_small_already_keeps_its_sizes():
    config = ModelConfig(from_scratch=FromScratch(config={"hidden_size": 32, "num_attention_heads": 2}))
    assert small(config, None).from_scratch == config.from_scratch


def test_parameters_are_grouped_by_layer():
    assert group_of("encoder.backbone.encoder.layer.11.attention.self.query.weight") == "backbone.encoder.layer.11"
    assert group_of("encoder.backbone.embeddings.LayerNorm.bias") == "backbone.embeddings.LayerNorm"
    assert group_of("log_temperature") == "log_temperature"


def test_the_flag_takes_a_small_encoder_unless_the_recipes_own_is_asked_for():
    found = [
        read_config(flags).check_gradients for flags in ([], ["--check_gradients"], ["--check_gradients", "model"])
    ]
    assert found == [None, "small", "model"]


def test_a_step_that_is_skipped_is_told_and_not_right(capsys):
    config = SimpleNamespace(objective=ObjectiveConfig(), training=TrainingConfig(steps=8, global_batch=12))
    encoder = toy_encoder()
    with torch.no_grad():
        encoder.backbone.embeddings.LayerNorm.weight[0] = float("inf")
    batches = [toy_batch(0, 12)]
    assert not check_gradients(config, encoder, toy_encoder, batches, start("fp32", seed=0))
    assert "global batch 1: the step was skipped, loss or gradient is not finite" in capsys.readouterr().out


@pytest.mark.parametrize("ask", [lambda model: checked_model(model, "small"), anatomy])
def test_an_encoder_that_is_not_named_or_not_there_is_told_in_a_sentence(ask, tmp_path):
    with pytest.raises(InputError, match=r"model\.name is not set; give the directory or hub id"):
        ask(ModelConfig())
    with pytest.raises(InputError, match=f"model.name = {tmp_path}: "):
        ask(ModelConfig(name=str(tmp_path)))
