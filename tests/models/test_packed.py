"""Packed texts give the embeddings and gradients of padded ones. The kernel itself needs CUDA: sdpa stands in."""

from types import SimpleNamespace

import pytest
import torch
from torch.nn.attention import varlen
from torch.nn.functional import scaled_dot_product_attention as sdpa

from hybrid.models import ModelConfig, attention, encoder, packed
from hybrid.models.encoder import as_needed
from hybrid.runtime.errors import InputError
from hybrid.runtime.ragged import Ragged
from tests.models.test_encoder import tiny

KINDS = ["xlm-roberta", "bert"]


def text_by_text(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, *, scale=None):
    """What torch's varlen_attn computes ([T, H, E] and cumulative lengths), one text after the other."""
    assert cu_seq_q.dtype == torch.int32
    assert max_q == max_k == int(cu_seq_q.diff().max())
    parts = []
    for start, stop in zip(cu_seq_q[:-1].tolist(), cu_seq_k[1:].tolist(), strict=True):
        rows = [part[start:stop].transpose(0, 1)[None] for part in (query, key, value)]
        parts.append(sdpa(*rows, scale=scale)[0].transpose(0, 1))
    return torch.cat(parts)


@pytest.fixture
def kernel(monkeypatch):
    """A machine that has the kernel, as far as the code around it can tell."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (8, 0))
    monkeypatch.setattr(varlen, "varlen_attn", text_by_text)
    monkeypatch.setattr(
        encoder, "runs_packed", lambda backbone, tokens: backbone.config._attn_implementation == attention.NAME
    )


def tokens(count: int = 11) -> Ragged:
    lengths = torch.tensor([1, 30, 7, 7, 64, 2, 19, 40, 3, 5, 11])[:count]
    ids = torch.randint(4, 20, (int(lengths.sum()),), generator=torch.Generator().manual_seed(0))
    return Ragged(ids, lengths)


def both(model_type: str, **options):
    """The same encoder, padded and packed."""
    return tiny(model_type, attention="sdpa", dropout=0.0, **options), tiny(model_type, dropout=0.0, **options)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("chunk_tokens", [50, 16384])
@pytest.mark.parametrize("model_type", KINDS)
def test_packed_embeddings_and_gradients_are_the_padded_ones(model_type, chunk_tokens, pooling, kernel):
    results = []
    for made in both(model_type, pooling=pooling, chunk_tokens=chunk_tokens):
        made.train()
        vectors = made(tokens())
        (vectors * torch.arange(vectors.numel()).view_as(vectors).sin()).sum().backward()
        results.append((vectors, {name: p.grad for name, p in made.named_parameters()}))
    (padded_vectors, padded_grads), (packed_vectors, packed_grads) = results
    assert torch.allclose(packed_vectors, padded_vectors, atol=1e-5)
    largest = max(float(gradient.abs().max()) for gradient in padded_grads.values())
    for name, gradient in padded_grads.items():
        assert torch.allclose(packed_grads[name], gradient, atol=1e-5 * max(1.0, largest)), name


@pytest.mark.parametrize("model_type", KINDS)
def test_the_packed_pass_computes_no_padding(model_type, kernel):
    made, seen = tiny(model_type, dropout=0.0), []
    made.backbone.encoder.layer[0].register_forward_hook(lambda module, given, out: seen.append(given[0].shape[:2]))
    made(tokens())
    assert seen == [(1, int(tokens().lengths.sum()))]


@pytest.mark.parametrize("model_type", KINDS)
def test_activation_checkpointing_gives_the_same_packed_gradients(model_type, kernel):
    gradients = []
    for checkpointing in (False, True):
        made = tiny(model_type, dropout=0.0).train()
        if checkpointing:
            made.backbone.activation_checkpointing_enable()
        made(tokens())[:, 0].sum().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in made.parameters()]))
    assert torch.allclose(*gradients, atol=1e-6)


@pytest.mark.parametrize(("budget", "wanted"), [(1, 11), (20, 10), (64, 3), (1000, 1), (1000, 4), (1000, 11)])
def test_runs_hold_every_text_once_in_order_and_are_as_many_as_agreed(budget, wanted):
    lengths = tokens().lengths
    runs = packed.spans(lengths, budget, lambda count, _: max(count, wanted))
    assert torch.equal(torch.cat(runs), torch.arange(11))
    assert all(len(run) for run in runs)
    assert len(runs) == max(wanted, min(11, -(-int(lengths.sum()) // budget)))


def test_runs_keep_to_the_budget_but_for_one_text():
    lengths = torch.randint(3, 100, (500,), generator=torch.Generator().manual_seed(1))
    runs = packed.spans(lengths, 1000, as_needed)
    assert len(runs) == -(-int(lengths.sum()) // 1000)
    assert all(int(lengths[run].sum()) < 1000 + 100 for run in runs)


def test_packed_is_refused_with_the_reason_where_it_cannot_be(kernel, monkeypatch):
    with pytest.raises(InputError, match=r"packed, but the variable-length kernel is not used for mt5"):
        tiny("mt5", attention="packed")
    with pytest.raises(InputError, match=r"packed, but attention drops out with probability 0\.1"):
        tiny("bert", attention="packed")
    with pytest.raises(InputError, match=r"packed, but the backbone's heads have 4 dimensions"):
        tiny("bert", attention="packed", dropout=0.0, heads=8)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 5))
    with pytest.raises(InputError, match=r"packed, but this GPU is older than Ampere"):
        tiny("bert", attention="packed", dropout=0.0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match=r"packed, but there is no CUDA device here"):
        tiny("bert", attention="packed", dropout=0.0)


def test_a_gpu_without_the_kernel_runs_padded(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    made = tiny("bert", dropout=0.0)
    made.backbone.to(torch.bfloat16)
    there = SimpleNamespace(ids=SimpleNamespace(device=torch.device("cuda")))
    for capability, packs in (((8, 0), True), ((7, 5), False)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda found=capability: found)
        assert packed.runs_packed(made.backbone, there) == packs


def test_without_the_kernel_texts_go_padded():
    assert not packed.runs_packed(tiny("bert", dropout=0.0).backbone, tokens())
    assert ModelConfig().attention == "auto"


def test_fp32_dropout_and_the_cpu_run_padded_also_where_the_function_is_registered(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    made = tiny("bert").train()
    assert made.backbone.config._attn_implementation == attention.NAME
    assert not packed.runs_packed(made.backbone, tokens())
    plain = tiny("bert", attention="sdpa")
    assert torch.equal(made.eval()(tokens()), plain(tokens()))


def test_the_signature_that_stands_in_is_the_kernels():
    from inspect import signature

    from torch.nn.attention.varlen import varlen_attn

    real, stand_in = signature(varlen_attn).parameters, signature(text_by_text).parameters
    assert list(real)[:7] == list(stand_in)[:7]
    assert "scale" in real
