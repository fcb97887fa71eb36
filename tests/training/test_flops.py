"""The count of operations is that of the products which are really computed."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig

from hybrid.models import LoraConfig
from hybrid.training import flops
from hybrid.training.flops import attention_width, costs
from tests.models.test_encoder import SHAPES, tiny


def counted(encoder, lengths: torch.Tensor, backward: bool) -> int:
    """Operations of products that torch saw, one text at a time, so that nothing is padding."""
    encoder.backbone.config._attn_implementation = "eager"
    with FlopCounterMode(display=False) as counter:
        for length in lengths.tolist():
            ids = torch.ones(1, length, dtype=torch.long) * 5
            vectors = encoder._pooled(ids, torch.ones_like(ids))
            if backward:
                vectors.sum().backward()
    return counter.get_total_flops()


@pytest.mark.parametrize("model_type", SHAPES)
def test_forward_and_training_operations_are_those_that_torch_counts(model_type):
    encoder, lengths = tiny(model_type, attention="eager").train(), torch.tensor([9, 40, 64])
    count = costs(encoder.backbone)
    assert count.forward(lengths) == counted(encoder, lengths, backward=False)
    assert count.training(lengths) == counted(encoder, lengths, backward=True)


@pytest.mark.parametrize("model_type", SHAPES)
def test_frozen_weights_cost_no_gradient_of_theirs(model_type):
    encoder, lengths = tiny(model_type, attention="eager", lora=LoraConfig(rank=4)).train(), torch.tensor([40, 64])
    found, real = costs(encoder.backbone).training(lengths), counted(encoder, lengths, backward=True)
    # The first layer sends no gradient on into frozen embeddings, which the count leaves out.
    assert real < found < 1.25 * real
    whole = tiny(model_type, attention="eager").train()
    assert found < costs(whole.backbone).training(lengths)


def test_the_peak_of_several_threads_is_that_of_one_for_each_of_them(monkeypatch):
    """A process's clock misses what its other threads have done in the last milliseconds."""
    device, threads, seen = torch.device("cpu"), torch.get_num_threads(), []
    monkeypatch.setattr(flops, "_product_seconds", lambda *_: seen.append(torch.get_num_threads()) or 1.0)
    try:
        rates = []
        for count in (1, 3):
            torch.set_num_threads(count)
            rates.append(flops.measured_flops(device, torch.float32))
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(threads)
    assert rates[1] == 3 * rates[0]
    assert set(seen) == {1}


def test_heads_wider_or_narrower_than_the_hidden_size_count_with_their_own_width():
    assert attention_width(AutoConfig.for_model("mt5", d_model=512, num_heads=6, d_kv=64)) == 384
    assert attention_width(AutoConfig.for_model("xlm-roberta", hidden_size=512, num_attention_heads=8)) == 512
