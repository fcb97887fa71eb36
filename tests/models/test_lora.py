"""Adapters: they change nothing at first, alone are trained, and are inside the saved weights."""

import pytest
import torch

from hybrid.models import LoraConfig, ModelConfig
from hybrid.models.load import load_encoder
from hybrid.models.save import save_encoder
from hybrid.runtime.errors import InputError
from tests.models.test_encoder import SHAPES, TEXTS, ragged, tiny


def trained(model_type: str, **options):
    """An encoder with adapters after a step that moved them, in evaluation mode."""
    encoder = tiny(model_type, lora=LoraConfig(rank=4, **options)).train()
    optimizer = torch.optim.SGD([p for p in encoder.parameters() if p.requires_grad], lr=1.0)
    for _ in range(2):
        encoder(ragged(encoder, TEXTS))[:, 0].sum().backward()
        optimizer.step()
    return encoder.eval()


@pytest.mark.parametrize("model_type", SHAPES)
def test_fresh_adapters_change_no_embedding(model_type):
    encoder, plain = tiny(model_type, lora=LoraConfig()), tiny(model_type)
    assert torch.allclose(encoder(ragged(encoder, TEXTS)), plain(ragged(plain, TEXTS)), atol=1e-6)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("model_type", SHAPES)
def test_adapters_alone_get_a_gradient(model_type, checkpointing):
    encoder = tiny(model_type, lora=LoraConfig()).train()
    if checkpointing:
        encoder.backbone.activation_checkpointing_enable()
    encoder(ragged(encoder, TEXTS)).sum().backward()
    with_gradient = {name for name, p in encoder.named_parameters() if p.grad is not None}
    assert with_gradient == {name for name, _ in encoder.named_parameters() if "lora_" in name}


@pytest.mark.parametrize("model_type", SHAPES)
def test_the_saved_directory_has_the_adapters_in_its_weights_and_loads_as_before(model_type, tmp_path):
    encoder = trained(model_type)
    moved = encoder(ragged(encoder, TEXTS))
    assert (moved - tiny(model_type)(ragged(encoder, TEXTS))).abs().max() > 1e-3
    save_encoder(encoder, tmp_path / "model", card="", max_length=64)
    again = load_encoder(ModelConfig(name=str(tmp_path / "model"))).eval()
    assert again.backbone.state_dict().keys() == tiny(model_type).backbone.state_dict().keys()
    assert torch.allclose(again(ragged(again, TEXTS)), moved, atol=1e-5)
    library = pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
    theirs = library.SentenceTransformer(str(tmp_path / "model"), device="cpu").eval()
    assert torch.allclose(torch.tensor(theirs.encode(TEXTS, prompt="")), moved, atol=1e-5)


def test_named_targets_alone_get_adapters():
    encoder = tiny("xlm-roberta", lora=LoraConfig(targets=["query", "value"]))
    adapted = {name.split(".lora_")[0].rsplit(".", 1)[-1] for name, p in encoder.named_parameters() if p.requires_grad}
    assert adapted == {"query", "value"}


def test_a_target_that_is_no_linear_layer_is_refused_with_those_that_are():
    with pytest.raises(InputError, match=r"names 'q'; the backbone's linear layers are \['dense', 'key'"):
        tiny("bert", lora=LoraConfig(targets=["q"]))


def test_adapters_and_frozen_embeddings_together_are_refused():
    with pytest.raises(InputError, match="LoRA freezes all"):
        ModelConfig(name="x", lora=LoraConfig(), freeze_embeddings=True)
