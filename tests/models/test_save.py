"""What is saved: float32, each weight once, nothing of how the last texts were cut. What could not be is refused."""

import json
from types import SimpleNamespace

import pytest
import torch
import yaml
from safetensors import safe_open

from hybrid.models import FromScratch, LoraConfig, ModelConfig
from hybrid.models.card import model_card
from hybrid.models.load import load_encoder
from hybrid.models.lora import check_own
from hybrid.models.save import save_encoder
from hybrid.runtime.errors import InputError
from tests.models.test_encoder import TEXTS, ragged, tiny

REMOTE = """
import torch
from transformers import BertConfig, BertModel


class Own(BertConfig):
    model_type = "own"


class OwnModel(BertModel):
    config_class = Own

    def __init__(self, config):
        super().__init__(config, add_pooling_layer=False)
        scale = (torch.arange(1.0, 1 + config.hidden_size) / 3).to(torch.get_default_dtype())
        self.register_buffer("scale", scale, persistent=False)
"""


def test_weights_in_bfloat16_are_saved_in_float32_with_what_adapters_add(tmp_path):
    encoder = tiny("xlm-roberta", lora=LoraConfig(rank=4))
    torch.manual_seed(1)
    state = {name: value.to(torch.bfloat16) for name, value in encoder.state_dict().items()}
    state = {n: torch.randn_like(v) / 1000 if "lora_B" in n else v for n, v in state.items()}
    save_encoder(encoder, tmp_path / "model", "", 64, state)
    again = load_encoder(ModelConfig(name=str(tmp_path / "model"))).eval()
    encoder.load_state_dict({name: value.float() for name, value in state.items()})
    assert json.loads((tmp_path / "model" / "config.json").read_text())["dtype"] == "float32"
    assert torch.allclose(again(ragged(again, TEXTS)), encoder(ragged(encoder, TEXTS)), atol=1e-5)


@pytest.mark.parametrize("copied", [False, True])
def test_an_embedding_that_has_two_names_is_written_once(tmp_path, monkeypatch, copied):
    if copied:  # as from a GPU
        monkeypatch.setattr(torch.Tensor, "cpu", torch.Tensor.clone)
    save_encoder(tiny("mt5"), tmp_path / "model", "", 64)
    with safe_open(tmp_path / "model" / "model.safetensors", "pt") as file:
        names = list(file.keys())
    assert sum("shared" in name or "embed_tokens" in name for name in names) == 1


def test_the_tokenizer_is_saved_without_the_length_of_the_last_texts(tmp_path):
    encoder = tiny("bert")
    encoder.tokenizer(TEXTS, truncation=True, max_length=4)
    save_encoder(encoder, tmp_path / "model", "", 64)
    assert json.loads((tmp_path / "model" / "tokenizer.json").read_text())["truncation"] is None


def test_what_remote_code_computes_and_does_not_save_is_there(tmp_path):
    save_encoder(tiny("bert"), tmp_path / "model", "", 64)
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    config |= {
        "model_type": "own",
        "dtype": "float16",
        "auto_map": {"AutoConfig": "own.Own", "AutoModel": "own.OwnModel"},
    }
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    (tmp_path / "model" / "own.py").write_text(REMOTE)
    encoder = load_encoder(ModelConfig(name=str(tmp_path / "model"), trust_remote_code=True))
    assert torch.equal(encoder.backbone.scale, torch.arange(1.0, 1 + config["hidden_size"]) / 3)


def test_a_model_with_a_decoder_is_refused():
    shape = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2}
    scratch = FromScratch(model_type="bart", config=shape | {"decoder_attention_heads": 2})
    with pytest.raises(InputError, match="a BartModel has a decoder"):
        load_encoder(ModelConfig(from_scratch=scratch), tiny("bert").tokenizer)


def test_adapters_that_lie_beside_the_weights_are_refused_for_training():
    check_own(tiny("bert").backbone, "x")
    with pytest.raises(InputError, match="x: holds adapters beside its weights"):
        check_own(SimpleNamespace(_hf_peft_config_loaded=True), "x")


def test_norwegian_is_no_truth_value_on_the_card():
    card = model_card("name", "base", ["en", "no"], "all", {}, {})
    assert yaml.safe_load(card.split("---")[1])["language"] == ["en", "no"]
