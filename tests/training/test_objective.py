"""The loss: masks, temperature, directions, and its gradient against plain arithmetic."""

import math

import pytest
import torch

from hybrid.runtime.errors import InputError
from hybrid.training.config import ObjectiveConfig
from hybrid.training.engine import ScaledEncoder
from hybrid.training.objective import Objective, info_nce, variance_penalty
from tests.training.toy import toy_batch, toy_encoder


def vectors(rows: int, seed: int = 0) -> torch.Tensor:
    made = torch.randn(rows, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.nn.functional.normalize(made, dim=1)


def test_loss_is_the_mean_of_minus_log_softmax_of_the_own_passage():
    q, p = vectors(4, 1), vectors(6, 2)
    expected = sum(-math.log(torch.softmax(q[i] @ p.T / 0.1, 0)[i].item()) for i in range(4)) / 4
    loss, _ = info_nce(q / 0.1**0.5, p / 0.1**0.5, torch.arange(4), torch.zeros(4, 6, dtype=torch.bool))
    assert abs(loss.item() - expected) < 1e-12


def test_rows_of_one_group_get_no_gradient_from_each_other():
    q, p = vectors(3, 1), vectors(3, 2).requires_grad_()
    same = torch.tensor([[1, 0, 1], [0, 1, 0], [1, 0, 1]], dtype=torch.bool)
    first = torch.tensor([0])
    loss, _ = info_nce(q[:1], p, first, same[:1])
    loss.backward()
    assert p.grad[2].abs().max() == 0
    assert p.grad[0].abs().max() > 0
    assert p.grad[1].abs().max() > 0


def test_hard_negative_that_answers_another_query_is_no_negative_of_it():
    batch = toy_batch(0, 6, negatives=True)
    batch.passage_groups[6] = batch.query_groups[2]
    made = vectors(6 + len(batch.passages), 3).float().requires_grad_()
    objective = Objective(ObjectiveConfig())
    loss = objective(made, batch).value
    changed = made.detach().clone()
    changed[6 + 6] = -changed[6 + 6]
    own = torch.arange(6)
    same = batch.query_groups[:, None] == batch.passage_groups[None, :]
    assert same[2, 6]
    row = [info_nce(v[2:3], v[6:], own[2:3], same[2:3])[0].item() for v in (made.detach(), changed)]
    assert row[0] == row[1]
    assert loss.item() != objective(changed, batch).value.item()


def test_both_directions_are_the_mean_of_the_two_losses():
    batch = toy_batch(0, 6, negatives=True)
    made = vectors(6 + len(batch.passages), 3)
    one = Objective(ObjectiveConfig())(made, batch).value
    both = Objective(ObjectiveConfig(both_directions=True))(made, batch).value
    same = batch.query_groups[:, None] == batch.query_groups[None, :]
    back, _ = info_nce(made[6:12], made[:6], torch.arange(6), same)
    assert torch.isclose(both, (one + back) / 2, atol=1e-12)


def test_learned_temperature_gets_the_gradient_of_the_loss_by_its_logarithm():
    batch = toy_batch(0, 6)
    encoder = toy_encoder().eval()
    losses = {}
    for shift in (-1e-3, 0.0, 1e-3):
        config = ObjectiveConfig(temperature=0.2 * math.exp(shift), learn_temperature=True)
        module = ScaledEncoder(encoder, config)
        tokens = batch.queries.join([batch.queries, batch.passages])
        losses[shift] = Objective(config)(module(tokens), batch).value
        if shift == 0:
            losses[shift].backward()
            gradient = module.log_temperature.grad.item()
    numeric = (losses[1e-3] - losses[-1e-3]).item() / 2e-3
    assert abs(gradient - numeric) < 2e-3 * max(1, abs(numeric))


def test_variance_penalty_is_the_mean_square_of_the_cosines_of_negatives_whatever_the_temperature():
    q, p = vectors(3, 1), vectors(5, 2)
    same = torch.tensor([[1, 0, 0, 0, 1], [0, 1, 0, 0, 0], [1, 1, 1, 1, 1]], dtype=torch.bool)
    rows = [[float(q[i] @ p[j]) ** 2 for j in range(5) if not same[i, j]] for i in range(3)]
    expected = sum(sum(row) / len(row) if row else 0.0 for row in rows) / 3
    assert abs(variance_penalty(q / 0.05**0.5, p / 0.05**0.5, same).item() - expected) < 1e-12


def test_variance_penalty_is_added_with_its_weight_and_left_out_at_0():
    batch = toy_batch(0, 6, negatives=True)
    made = vectors(6 + len(batch.passages), 3)
    same = batch.query_groups[:, None] == batch.passage_groups[None, :]
    plain, with_it = (Objective(ObjectiveConfig(variance_penalty=w))(made, batch).value for w in (0.0, 0.7))
    assert plain.item() == info_nce(made[:6], made[6:], torch.arange(6), same)[0].item()
    expected = plain + 0.7 * variance_penalty(made[:6], made[6:], same)
    assert torch.isclose(with_it, expected, atol=1e-12)
    assert with_it > plain


def test_a_kind_with_its_own_temperature_has_it_in_its_batches_alone_and_the_learned_one_gets_no_gradient_there():
    batch = toy_batch(0, 6)
    encoder = toy_encoder().eval()
    tokens = batch.queries.join([batch.queries, batch.passages])
    own = ObjectiveConfig(temperature=0.2, learn_temperature=True, kind_temperatures={"self_supervised": 0.05})
    found = {}
    for kind, plain in (("self_supervised", 0.05), ("monolingual", 0.2)):
        batch.kind = kind
        module = ScaledEncoder(encoder, own)
        loss = Objective(own)(module(tokens), batch).value
        loss.backward()
        config = ObjectiveConfig(temperature=plain)
        assert torch.isclose(loss, Objective(config)(ScaledEncoder(encoder, config)(tokens), batch).value, rtol=1e-5)
        found[kind] = module.log_temperature.grad.item()
    assert abs(found["self_supervised"]) < 1e-4 < 1e-2 < abs(found["monolingual"])


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"kind_temperatures": {"simcse": 0.05}}, "kind_temperatures"),
        ({"kind_temperatures": {"bitext": 0.0}}, "kind_temperatures.bitext is 0.0"),
        ({"variance_penalty": -1.0}, "variance_penalty is -1.0"),
    ],
)
def test_a_setting_of_the_loss_that_makes_no_sense_is_refused_with_its_key(settings, key):
    with pytest.raises(InputError, match=key):
        ObjectiveConfig(**settings)
