"""The gradient of the token embeddings as rows: that of autograd, to the last bit, and nothing of the matrix's size."""

from pathlib import Path
from unittest import mock

import pytest
import torch
from torch import nn

from hybrid.runtime.errors import InputError
from hybrid.runtime.launch import start
from hybrid.training import engine as engines
from hybrid.training.config import ObjectiveConfig, TrainingConfig
from hybrid.training.engine import Engine
from hybrid.training.rows import row_gradient
from tests.launch import launch
from tests.training.toy import toy_batch, toy_encoder


def weights_after(steps: int, encoder: dict, **settings) -> tuple[Engine, dict[str, torch.Tensor]]:
    config = TrainingConfig(steps=8, learning_rate=1e-3, global_batch=12, **settings)
    engine = Engine(toy_encoder(dropout=0.1, **encoder), ObjectiveConfig(), config, start("fp32", seed=0))
    for step in range(steps):
        engine.step(toy_batch(step, 12, negatives=True), step)
    return engine, engine.module.state_dict()


# A chunk of the cache is one lookup here: where it is several, autograd adds theirs up before it adds them to the rest.
@pytest.mark.parametrize("settings", [{}, {"cache_tokens": 50}, {"activation_checkpointing": True}], ids=str)
def test_rows_train_the_weights_that_a_dense_gradient_trains_to_the_last_bit(settings):
    encoder = {"chunk_tokens": 50}
    engine, found = weights_after(3, encoder, clip=0.0, **settings)
    assert engine.rows
    with mock.patch.object(engines, "row_gradient", return_value=None):
        dense, expected = weights_after(3, encoder, clip=0.0, **settings)
    assert dense.rows is None
    assert [name for name, value in found.items() if not torch.equal(value, expected[name])] == []


def test_clipping_counts_the_rows_in_the_norm_and_clips_them():
    _, found = weights_after(3, {}, clip=0.1)
    with mock.patch.object(engines, "row_gradient", return_value=None):
        _, expected = weights_after(3, {}, clip=0.1)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)


def test_no_gradient_of_a_step_is_left_for_the_next_one_not_even_after_a_skipped_step():
    engine, _ = weights_after(1, {})
    batch = toy_batch(1, 12)
    weight, usual = engine.rows.weight, engine.objective
    engine.objective = lambda vectors, rows: usual(vectors * float("inf"), rows)
    assert engine.step(batch, 1).skipped
    assert weight.grad is None
    assert not engine.rows._matrix.any()


def test_a_matrix_that_is_frozen_or_more_than_a_table_keeps_its_dense_gradient():
    class Scaled(nn.Embedding):
        def forward(self, ids):
            return 2 * super().forward(ids)

    plain, scaled = nn.Embedding(5, 2), Scaled(5, 2)
    tied = nn.ModuleList([nn.Embedding(5, 2), nn.Linear(2, 5, bias=False)])
    tied[1].weight = tied[0].weight
    frozen = nn.Embedding(5, 2).requires_grad_(False)
    assert row_gradient(nn.ModuleList([scaled]), scaled) is None
    assert row_gradient(tied, tied[0]) is None
    assert row_gradient(nn.ModuleList([frozen]), frozen) is None
    assert row_gradient(nn.ModuleList([plain]), plain).weight is plain.weight


def test_two_tables_of_one_matrix_as_mt5_has_them_send_to_one_gradient():
    first, second = nn.Embedding(5, 2, padding_idx=0), nn.Embedding(5, 2)
    second.weight = first.weight
    rows = row_gradient(nn.ModuleList([first, second]), first)
    (first(torch.tensor([[0, 1, 1]])).sum() + 3 * second(torch.tensor([4, 1, 0])).sum()).backward()
    stand_in = rows.reduce()
    rows.give(stand_in)
    assert first.weight.grad.tolist() == [[3, 3], [5, 5], [0, 0], [0, 0], [3, 3]]
    assert stand_in.grad.shape == (3, 2)


def test_ranks_with_other_tokens_and_other_first_weights_train_as_a_dense_gradient_does(tmp_path):
    launch(Path(__file__).parent / "run_rows.py", tmp_path / "ranks.pt", processes=2)
    ranks = torch.load(tmp_path / "ranks.pt")
    assert len(ranks) == 2
    first, second = (set(rank["rows None xlm-r"]["tokens"][0]) for rank in ranks)
    assert first - second
    assert second - first
    for kind in ("None xlm-r", "60 xlm-r", "None mt5", "60 mt5"):
        expected = ranks[0][f"dense {kind}"]["weights"]
        for rank in ranks:
            found = rank[f"rows {kind}"]["weights"]
            assert [name for name, value in found.items() if not torch.equal(value, expected[name])] == []


def test_a_backward_pass_that_is_no_step_leaves_nothing_in_the_next_one():
    _, expected = weights_after(2, {})
    engine, _ = weights_after(1, {})
    with torch.random.fork_rng():
        engine.module(toy_batch(5, 12).queries).sum().backward()
    engine.model.zero_grad()
    engine.step(toy_batch(1, 12, negatives=True), 1)
    assert [name for name, value in engine.module.state_dict().items() if not torch.equal(value, expected[name])] == []


def test_a_use_that_is_no_lookup_is_refused_and_not_trained_without_its_gradient():
    engine, _ = weights_after(1, {})
    table = engine.module.encoder.backbone.get_input_embeddings()
    usual = table.forward
    table.forward = lambda ids: usual(ids) + nn.functional.embedding(ids, table.weight)
    with pytest.raises(InputError, match="otherwise than by looking tokens up"):
        engine.step(toy_batch(1, 12), 1)


def test_a_closed_engine_gives_its_encoder_back_as_it_was():
    engine, _ = weights_after(1, {})
    table = engine.module.encoder.backbone.get_input_embeddings()
    engine.close()
    assert "forward" not in vars(table)
    table(torch.tensor([3])).sum().backward()
    assert table.weight.grad.count_nonzero() == table.embedding_dim
