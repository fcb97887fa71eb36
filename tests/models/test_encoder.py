"""The encoder: chunks change nothing, and what is saved gives the same embeddings elsewhere."""

import json

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoConfig, PreTrainedTokenizerFast

from hybrid.models import FromScratch, ModelConfig
from hybrid.models.encoder import Encoder, chunks, padded
from hybrid.models.load import load_encoder
from hybrid.models.save import save_encoder
from hybrid.runtime.errors import InputError
from hybrid.runtime.ragged import Ragged

TEXTS = ["the cat sat on the mat", "dogs", "a much longer text about cats and dogs and mats and all of that", "the mat"]
SHAPES = {
    "xlm-roberta": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64},
    "bert": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64},
    "mt5": {"d_model": 32, "num_layers": 2, "num_heads": 2, "d_ff": 64, "d_kv": 16},
}


def word_tokenizer() -> PreTrainedTokenizerFast:
    seen = {word for text in [*TEXTS, "query :", "passage :"] for word in text.split()}
    words = ["<s>", "<pad>", "</s>", "<unk>", *sorted(seen)]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    )


def tiny(model_type: str, heads: int = 2, **options) -> Encoder:
    torch.manual_seed(0)
    shape = SHAPES[model_type] | {"num_heads" if model_type == "mt5" else "num_attention_heads": heads}
    scratch = FromScratch(model_type=model_type, config=shape)
    config = ModelConfig(from_scratch=scratch, query_prefix="query: ", passage_prefix="passage: ", **options)
    return load_encoder(config, word_tokenizer()).eval()


def ragged(encoder: Encoder, texts: list[str]) -> Ragged:
    ids = encoder.tokenizer(texts)["input_ids"]
    return Ragged(torch.tensor([t for row in ids for t in row]), torch.tensor([len(row) for row in ids]))


@pytest.mark.parametrize("model_type", SHAPES)
def test_embeddings_do_not_depend_on_how_texts_are_chunked(model_type):
    encoder = tiny(model_type)
    tokens = ragged(encoder, TEXTS)
    whole = encoder(tokens)
    encoder.config.chunk_tokens = 9
    assert torch.allclose(encoder(tokens), whole, atol=1e-6)
    assert torch.allclose(whole.norm(dim=1), torch.ones(len(TEXTS)), atol=1e-6)


@pytest.mark.parametrize("model_type", ["bert", "mpnet", "xmod", "roberta-prelayernorm"])
def test_no_weight_is_left_without_a_gradient(model_type):
    """A pooler that nobody asks for would end a job of several processes at its second step."""
    more = {"languages": ["en_XX"], "default_language": "en_XX"} if model_type == "xmod" else {}
    scratch = FromScratch(model_type=model_type, config=SHAPES["bert"] | more)
    encoder = load_encoder(ModelConfig(from_scratch=scratch), word_tokenizer())
    encoder(ragged(encoder, TEXTS)).sum().backward()
    assert [name for name, weight in encoder.named_parameters() if weight.grad is None] == []


def test_chunks_hold_every_text_once_and_keep_to_the_budget():
    lengths = torch.tensor([3, 50, 7, 7, 120, 1, 30])
    found = list(chunks(lengths, 64))
    assert sorted(torch.cat(found).tolist()) == list(range(7))
    assert all(len(rows) == 1 or padded(Ragged(torch.ones(218), lengths), rows, 0)[0].numel() <= 64 for rows in found)


def test_no_text_is_padded_to_more_than_twice_its_length():
    lengths = torch.tensor([200, 12, 180, 20, 11, 99, 100])
    found = [lengths[rows].tolist() for rows in chunks(lengths, 16384)]
    assert found == [[200, 180, 100], [99], [20, 12, 11]]


@pytest.mark.parametrize(("longest", "most", "width"), [(13, None, 16), (16, None, 16), (13, 14, 14), (17, 512, 24)])
def test_widths_are_multiples_of_eight_and_never_more_than_the_backbone_has_positions_for(longest, most, width):
    tokens = Ragged(torch.arange(5, 5 + longest + 3), torch.tensor([longest, 3]))
    ids, mask = padded(tokens, torch.tensor([1, 0]), 1, most)
    assert ids.shape == mask.shape == (2, width)
    assert mask.sum(1).tolist() == [3, longest]
    assert [row[kept.bool()].tolist() for row, kept in zip(ids, mask, strict=True)] == [
        tokens.ids[longest:].tolist(),
        tokens.ids[:longest].tolist(),
    ]
    assert (ids[mask == 0] == 1).all()


def test_a_text_as_long_as_the_backbone_has_positions_for_is_encoded():
    torch.manual_seed(0)
    scratch = FromScratch(model_type="bert", config=SHAPES["bert"] | {"max_position_embeddings": 13})
    encoder = load_encoder(ModelConfig(from_scratch=scratch), word_tokenizer()).eval()
    tokens = ragged(encoder, [" ".join(["cat"] * 11)])
    assert encoder.max_length == int(tokens.lengths[0]) == 13
    assert encoder(tokens).isfinite().all()


def test_a_cpu_takes_two_thousand_tokens_at_once_where_nothing_is_asked_for(monkeypatch):
    encoder, widths = tiny("xlm-roberta"), []
    inner = encoder.backbone.forward
    monkeypatch.setattr(encoder.backbone, "forward", lambda **g: widths.append(g["input_ids"].shape) or inner(**g))
    encoder(ragged(encoder, ["the cat"] * 1200))
    assert [tuple(shape) for shape in widths] == [(256, 8)] * 4 + [(176, 8)]


@pytest.mark.parametrize("model_type", SHAPES)
@pytest.mark.parametrize("options", [{"pooling": "cls"}, {"projection": 8}], ids=["cls", "projection"])
def test_saved_directory_gives_the_same_embeddings_in_sentence_transformers(model_type, options, tmp_path):
    library = pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
    encoder = tiny(model_type, **options)
    save_encoder(encoder, tmp_path / "model", card="A model.", max_length=64)
    theirs = library.SentenceTransformer(str(tmp_path / "model"), device="cpu").eval()
    with torch.no_grad():
        ours = encoder(ragged(encoder, [f"query: {text}" for text in TEXTS]))
    assert torch.allclose(torch.tensor(theirs.encode(TEXTS, prompt_name="query")), ours, atol=1e-5)
    assert theirs.max_seq_length == 64


@pytest.mark.parametrize("model_type", SHAPES)
def test_saved_directory_loads_again_with_its_settings_and_embeddings(model_type, tmp_path):
    encoder = tiny(model_type, projection=8)
    save_encoder(encoder, tmp_path / "model", card="A model.", max_length=64)
    again = load_encoder(ModelConfig(name=str(tmp_path / "model"))).eval()
    assert again.prefixes == {"query": "query: ", "passage": "passage: "}
    assert torch.equal(again(ragged(again, TEXTS)), encoder(ragged(encoder, TEXTS)))


def test_transformers_loads_the_saved_backbone_and_tokenizer(tmp_path):
    from transformers import AutoModel, AutoTokenizer

    encoder = tiny("xlm-roberta")
    save_encoder(encoder, tmp_path / "model", card="A model.", max_length=64)
    backbone = AutoModel.from_pretrained(tmp_path / "model", add_pooling_layer=False)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    assert tokenizer(TEXTS)["input_ids"] == encoder.tokenizer(TEXTS)["input_ids"]
    assert all(torch.equal(v, backbone.state_dict()[k]) for k, v in encoder.backbone.state_dict().items())


@pytest.mark.parametrize("model_type", SHAPES)
def test_fewer_layers_are_the_bottom_ones_and_the_saved_model_has_that_depth(model_type, tmp_path):
    encoder = tiny(model_type)
    save_encoder(encoder, tmp_path / "whole", card="", max_length=64)
    short = load_encoder(ModelConfig(name=str(tmp_path / "whole"), layers=1)).eval()
    mine, whole = short.backbone.state_dict(), encoder.backbone.state_dict()
    assert all(torch.equal(value, whole[name]) for name, value in mine.items())
    assert len(mine) < len(whole)
    save_encoder(short, tmp_path / "short", card="", max_length=64)
    assert AutoConfig.from_pretrained(tmp_path / "short").num_hidden_layers == 1
    again = load_encoder(ModelConfig(name=str(tmp_path / "short"))).eval()
    assert torch.equal(again(ragged(again, TEXTS)), short(ragged(short, TEXTS)))
    with pytest.raises(InputError, match=r"model.layers is 3, but the backbone has 2 layers"):
        load_encoder(ModelConfig(name=str(tmp_path / "whole"), layers=3))


@pytest.mark.parametrize("model_type", SHAPES)
def test_dropout_is_set_everywhere_and_refused_where_there_is_none(model_type):
    rates = {module.p for module in tiny(model_type, dropout=0.25).modules() if isinstance(module, torch.nn.Dropout)}
    assert rates == {0.25}


def test_weights_that_are_missing_are_refused_rather_than_left_random(tmp_path):
    encoder = tiny("bert")
    save_encoder(encoder, tmp_path / "model", card="", max_length=64)
    settings = json.loads((tmp_path / "model" / "config.json").read_text())
    (tmp_path / "model" / "config.json").write_text(json.dumps(settings | {"num_hidden_layers": 3}))
    with pytest.raises(InputError, match=r"no weights for .*layer\.2"):
        load_encoder(ModelConfig(name=str(tmp_path / "model")))


def test_no_parameter_goes_unused():
    for model_type in SHAPES:
        encoder = tiny(model_type)
        encoder(ragged(encoder, TEXTS)).sum().backward()
        assert all(p.grad is not None for p in encoder.parameters())


def test_bad_model_directories_are_refused_in_a_sentence(tmp_path):
    encoder = tiny("bert")
    save_encoder(encoder, tmp_path / "good", card="", max_length=64)
    with pytest.raises(InputError, match="no such directory"):
        load_encoder(ModelConfig(name=str(tmp_path / "absent")))
    encoder.backbone.save_pretrained(tmp_path / "bare")
    with pytest.raises(InputError, match="tokenizer"):
        load_encoder(ModelConfig(name=str(tmp_path / "bare")))
    encoder.backbone.resize_token_embeddings(9)
    encoder.backbone.save_pretrained(tmp_path / "good")
    with pytest.raises(InputError, match=r"tokenizer has \d+ tokens, but the embedding matrix only 9"):
        load_encoder(ModelConfig(name=str(tmp_path / "good")))
    (tmp_path / "good" / "model.safetensors").unlink()
    with pytest.raises(InputError, match="weights cannot be loaded"):
        load_encoder(ModelConfig(name=str(tmp_path / "good")))


def test_one_kernel_for_the_gelu_of_t5_changes_rounding_alone():
    from transformers.activations import NewGELUActivation

    encoder = tiny("mt5")
    fused = encoder(ragged(encoder, TEXTS))
    gates = [m for m in encoder.modules() if isinstance(getattr(m, "act", None), torch.nn.GELU)]
    assert len(gates) == 2
    for module in gates:
        module.act = NewGELUActivation()
    assert torch.allclose(encoder(ragged(encoder, TEXTS)), fused, atol=1e-6)
