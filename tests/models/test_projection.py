"""LaBSE's form: a projection with a bias and a Tanh gives sentence-transformers' embeddings, here and back there."""

import json
import shutil

import pytest
import torch
from transformers import AutoConfig, AutoModel

from hybrid.evaluation.results import model_digest
from hybrid.models import ModelConfig
from hybrid.models.load import load_encoder
from hybrid.models.projection import Projection, save_projection
from hybrid.models.save import save_encoder
from hybrid.runtime.errors import InputError
from tests.models.test_encoder import SHAPES, TEXTS, ragged, tiny, word_tokenizer

library = pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")

LABSE = {"in_features": 32, "out_features": 32, "bias": True, "activation_function": "torch.nn.modules.activation.Tanh"}
"""`2_Dense/config.json` of sentence-transformers/LaBSE, but for the dimensions."""


def labse(folder, dimensions=32, pooling="cls", normalize=True):
    """Save a tiny BERT with LaBSE's modules by sentence-transformers; returns its embeddings of TEXTS."""
    from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, Transformer

    torch.manual_seed(0)
    tokenizer = word_tokenizer()
    bert = AutoModel.from_config(AutoConfig.for_model("bert", vocab_size=len(tokenizer), **SHAPES["bert"]))
    bert.save_pretrained(folder / "plain")
    tokenizer.save_pretrained(folder / "plain")
    modules = [
        Transformer(str(folder / "plain")),
        Pooling(32, pooling_mode=pooling),
        Dense(32, dimensions, bias=True, activation_function=torch.nn.Tanh()),
        *([Normalize()] if normalize else []),
    ]
    model = library.SentenceTransformer(modules=modules, device="cpu").eval()
    torch.nn.init.normal_(model[2].linear.bias)
    model.save(str(folder / "labse"))
    return torch.nn.functional.normalize(torch.tensor(model.encode(TEXTS)), dim=-1)


def as_published(folder) -> None:
    """Give the files the names and keys that they had when LaBSE was published."""
    modules = json.loads((folder / "modules.json").read_text())
    for module in modules:
        module["type"] = f"sentence_transformers.models.{module['type'].rsplit('.', 1)[-1]}"
    (folder / "modules.json").write_text(json.dumps(modules))
    pooling = {f"pooling_mode_{mode}": mode == "cls_token" for mode in ("cls_token", "mean_tokens", "max_tokens")}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 32, **pooling}))
    (folder / "2_Dense" / "config.json").write_text(json.dumps(LABSE))


def same_in_sentence_transformers(encoder, folder) -> bool:
    """Save the encoder, load it there, and compare the embeddings of TEXTS."""
    save_encoder(encoder, folder, card="", max_length=64)
    theirs = library.SentenceTransformer(str(folder), device="cpu").eval()
    with torch.no_grad():
        ours = encoder(ragged(encoder, TEXTS))
    return torch.allclose(torch.tensor(theirs.encode(TEXTS)), ours, atol=1e-5)


@pytest.mark.parametrize("published", [True, False], ids=["as published", "as written today"])
def test_labse_gives_the_same_embeddings_before_training_after_it_and_saved(published, tmp_path):
    expected = labse(tmp_path)
    if published:
        as_published(tmp_path / "labse")
    encoder = load_encoder(ModelConfig(name=str(tmp_path / "labse"))).eval()
    assert encoder.config.pooling == "cls"
    before = encoder(ragged(encoder, TEXTS))
    assert torch.allclose(before, expected, atol=1e-5)
    assert same_in_sentence_transformers(encoder, tmp_path / "untrained")
    optimizer = torch.optim.SGD(encoder.parameters(), lr=0.1)
    before[:, 0].sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in encoder.projection.parameters())
    optimizer.step()
    assert (encoder(ragged(encoder, TEXTS)) - before).abs().max() > 1e-3
    assert same_in_sentence_transformers(encoder, tmp_path / "trained")
    again = load_encoder(ModelConfig(name=str(tmp_path / "trained"))).eval()
    assert torch.equal(again(ragged(again, TEXTS)), encoder(ragged(encoder, TEXTS)))


def test_distiluse_with_fewer_dimensions_and_without_normalize_gives_the_same_directions(tmp_path):
    expected = labse(tmp_path, dimensions=8, pooling="mean", normalize=False)
    encoder = load_encoder(ModelConfig(name=str(tmp_path / "labse"))).eval()
    assert encoder.config.projection == 8
    assert torch.allclose(encoder(ragged(encoder, TEXTS)), expected, atol=1e-5)


def test_parameters_collected_from_several_ranks_are_saved_with_the_bias(tmp_path):
    labse(tmp_path)
    encoder = load_encoder(ModelConfig(name=str(tmp_path / "labse"))).eval()
    state = {name: value + 0.25 for name, value in encoder.state_dict().items()}
    save_encoder(encoder, tmp_path / "saved", card="", max_length=64, state=state)
    again = load_encoder(ModelConfig(name=str(tmp_path / "saved"))).state_dict()
    assert all(torch.equal(again[name], state[name]) for name in ("projection.weight", "projection.bias"))


def test_the_activation_is_part_of_a_models_digest():
    encoder = tiny("bert", projection=8)
    without = model_digest(encoder)
    bent = Projection(32, 8, activation="Tanh")
    bent.load_state_dict(encoder.projection.state_dict())
    encoder.projection = bent
    assert model_digest(encoder) != without


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"activation_function": "torch.nn.modules.activation.ReLU"}, "activation is torch.*ReLU; expected .*Tanh"),
        ({"activation_function": "mine.Tanh"}, "activation is mine.Tanh"),
        ({"use_residual": True}, "residual connection"),
        ({"module_input_name": "token_embeddings"}, "module_input_name is token_embeddings"),
        ({"bias": False}, "weights cannot be loaded"),
        ({"out_features": 7}, "weights cannot be loaded"),
    ],
)
def test_a_dense_module_of_another_kind_is_refused_in_a_sentence(change, message, tmp_path):
    labse(tmp_path)
    (tmp_path / "labse" / "2_Dense" / "config.json").write_text(json.dumps(LABSE | change))
    with pytest.raises(InputError, match=message):
        load_encoder(ModelConfig(name=str(tmp_path / "labse")))


def test_a_dense_module_for_another_backbone_is_refused(tmp_path):
    labse(tmp_path)
    shutil.rmtree(tmp_path / "labse" / "2_Dense")
    other = Projection(16, 8)
    save_projection(other, other.state_dict(), tmp_path / "labse" / "2_Dense")
    with pytest.raises(InputError, match="Dense module takes 16 dimensions, its backbone gives 32"):
        load_encoder(ModelConfig(name=str(tmp_path / "labse")))


def test_modules_in_another_order_or_number_are_refused(tmp_path):
    labse(tmp_path)
    file = tmp_path / "labse" / "modules.json"
    modules = json.loads(file.read_text())
    for others in ([*modules[:2], modules[3], modules[2]], [*modules[:3], modules[2], modules[3]], modules[:1]):
        file.write_text(json.dumps(others))
        with pytest.raises(InputError, match=r"the modules are Transformer.*in this order"):
            load_encoder(ModelConfig(name=str(tmp_path / "labse")))
