"""Attention in bf16 on a CPU, by our own products: what torch's kernel gives, but for rounding."""

import pytest
import torch

from hybrid.models import attention
from hybrid.models.encoder import Encoder
from tests.models.test_encoder import TEXTS, ragged, tiny


def results(encoder: Encoder, half: bool) -> list[torch.Tensor]:
    """Vectors and all gradients of them, in autocast bf16 or in fp32."""
    encoder.train()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
        vectors = encoder(ragged(encoder, TEXTS))
    (vectors * torch.arange(vectors.numel()).view_as(vectors).sin()).sum().backward()
    return [vectors.detach(), *(p.grad for p in encoder.parameters())]


def error(found: list[torch.Tensor], exact: list[torch.Tensor]) -> list[float]:
    largest = max(float(part.norm()) for part in exact[1:])
    scales = [exact[0].norm()] + [part.norm().clamp_min(largest / 100) for part in exact[1:]]
    return [float((a.float() - b).norm() / scale) for a, b, scale in zip(found, exact, scales, strict=True)]


@pytest.mark.parametrize("model_type", ["xlm-roberta", "bert"])
def test_vectors_and_gradients_in_bf16_are_as_near_to_fp32_as_those_of_torch_s_kernel(model_type):
    exact = results(tiny(model_type, dropout=0.0, attention="sdpa"), half=False)
    ours = error(results(tiny(model_type, dropout=0.0), half=True), exact)
    torch_s = error(results(tiny(model_type, dropout=0.0, attention="sdpa"), half=True), exact)
    assert max(ours) < 2 * max(torch_s) < 0.1
    assert ours[0] < 0.01


@pytest.fixture
def calls(monkeypatch):
    seen = []
    inner = attention._by_products
    monkeypatch.setattr(attention, "_by_products", lambda *given: seen.append(given) or inner(*given))
    return seen


def test_bf16_alone_takes_the_products_and_fp32_is_torch_s_kernel_to_the_bit(calls):
    made = tiny("xlm-roberta", dropout=0.0)
    assert torch.equal(made(ragged(made, TEXTS)), tiny("xlm-roberta", attention="sdpa")(ragged(made, TEXTS)))
    assert not calls
    results(made, half=True)
    assert len(calls) == 2 * 2, "layers, chunks"


def test_what_stands_in_the_padding_changes_nothing(calls):
    made = tiny("xlm-roberta")
    alone, mask = ragged(made, TEXTS[:1]).ids[None], torch.ones(1, 13, dtype=torch.long)
    mask[:, alone.shape[1] :] = 0
    states = []
    for filler in (1, 5):
        ids = torch.cat([alone, torch.full((1, 13 - alone.shape[1]), filler)], 1)
        with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
            # Positions are given, since XLM-R counts them from the ids that are no padding.
            hidden = made.backbone(input_ids=ids, attention_mask=mask, position_ids=torch.arange(2, 15)[None])
        states.append(hidden.last_hidden_state[:, : alone.shape[1]])
    assert torch.equal(*states)
    assert len(calls) == 4


def test_attention_drops_out_while_training_and_then_alone():
    made = tiny("xlm-roberta")
    made.backbone.config.hidden_dropout_prob = 0.0
    for layer in made.backbone.encoder.layer:
        layer.attention.self.dropout.p = 0.5
        layer.attention.output.dropout.p = layer.output.dropout.p = 0.0
    made.backbone.embeddings.dropout.p = 0.0
    tokens = ragged(made, TEXTS)
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        assert torch.equal(made.eval()(tokens), made(tokens))
        assert not torch.equal(made.train()(tokens), made(tokens))
