"""Contract 3: the gradient of W ranks is that of one process on the joined batch (dropout 0)."""

import sys
from itertools import combinations

import pytest
import torch

from hybrid.models.encoder import chunks
from hybrid.runtime.ragged import Ragged
from tests.training.cases import CASES, COLUMNS, ROWS, WRONG
from tests.training.run_steps import PAIRS
from tests.training.toy import toy_batch

linux = pytest.mark.skipif(sys.platform != "linux", reason="DeepSpeed runs on Linux")
ZERO = [pytest.param(f"zero{stage}", marks=linux) for stage in range(4)]
OFFLOAD = [pytest.param(f"zero{stage}_offload", marks=linux) for stage in (2, 3)]

BF16 = {"ddp": 5e-3, "zero1": 0.05, "zero2": 0.05, "zero3": 0.05, "zero2_offload": 0.05, "zero3_offload": 0.05}
"""Bounds of the whole gradient's relative error in bf16: DeepSpeed rounds weights and gradients, autocast neither."""


def whole(gradient: dict) -> torch.Tensor:
    return torch.cat([value.flatten() for value in gradient.values()])


def error(one: dict, other: dict) -> float:
    """Relative error of the whole first gradient that the optimizer got."""
    first, second = whole(one["gradient"]), whole(other["gradient"])
    return float((first - second).norm() / first.norm())


def largest_error(one: dict, other: dict) -> float:
    """Relative error of the worst parameter's first gradient."""
    first, second = one["gradient"], other["gradient"]
    assert first.keys() == second.keys()
    assert len(first) > 20
    scale = max(value.norm() for value in first.values())
    return max(float((first[k] - second[k]).norm() / (first[k].norm() + 1e-2 * scale)) for k in first)


def test_the_design_holds_every_pair_of_settings():
    for one, other in combinations(COLUMNS.values(), 2):
        assert len({(row in one, row in other) for row in range(ROWS)}) == 4


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("parallelism", ["ddp", *ZERO])
def test_two_processes_give_the_gradient_and_steps_of_one(parallelism, name, reference, steps):
    one, two = reference[name], steps(parallelism)[name]
    assert largest_error(one, two) < 1e-5
    assert one["losses"] == pytest.approx(two["losses"], rel=1e-5)
    assert one["norms"] == pytest.approx(two["norms"], rel=1e-5)


@pytest.mark.parametrize("parallelism", OFFLOAD)
def test_offload_to_the_cpu_changes_no_gradient(parallelism, reference, steps):
    for name in ("A", "B"):
        assert largest_error(reference[name], steps(parallelism)[name]) < 1e-5
        assert reference[name]["losses"] == pytest.approx(steps(parallelism)[name]["losses"], rel=1e-5)


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("parallelism", ["ddp", *ZERO])
def test_a_wrong_gather_is_noticed(parallelism, name, reference, steps):
    assert error(reference["whole"], steps(parallelism)[name]) > 0.5


@pytest.mark.parametrize("parallelism", ["ddp", *ZERO])
def test_gradient_cache_equals_the_plain_gradient(parallelism, steps):
    plain, cached = steps(parallelism)["whole"], steps(parallelism)["cached"]
    assert error(plain, cached) < 1e-6
    assert largest_error(plain, cached) < 1e-5
    assert plain["losses"] == pytest.approx(cached["losses"], rel=1e-6)


@pytest.mark.parametrize("parallelism", ["ddp", *ZERO])
def test_gradient_cache_reduces_gradients_once_a_step_however_many_chunks_it_makes(parallelism, steps):
    plain, cached = steps(parallelism)["whole"], steps(parallelism)["cached"]
    assert len(plain["passes"][0]) == 1
    assert len(cached["passes"][0]) == 2 * 9
    parameters = sum(value.numel() for value in plain["gradient"].values())
    assert cached["reduced"][0] == pytest.approx(plain["reduced"][0], abs=4)
    assert parameters < cached["reduced"][0] < 1.2 * parameters


@pytest.mark.parametrize("parallelism", ["ddp", *ZERO])
def test_both_passes_of_a_chunk_draw_the_same_dropout_masks(parallelism, steps):
    for dropped, kept in zip(
        steps(parallelism)["dropout"]["passes"], steps(parallelism)["cached"]["passes"], strict=True
    ):
        half = len(dropped) // 2
        assert all(torch.equal(a, b) for a, b in zip(dropped[:half], dropped[half:], strict=True))
        assert not any(torch.equal(a, b) for a, b in zip(dropped, kept, strict=True))


@linux
def test_ranks_make_as_many_chunks_as_each_other_where_a_forward_gathers_weights(steps):
    batches = [toy_batch(1, PAIRS, rank, 2, negatives=True) for rank in (0, 1)]
    lengths = [Ragged.join([batch.queries, batch.passages]).lengths for batch in batches]
    assert [len(list(chunks(of, 36))) for of in lengths] == [9, 10]
    assert len(steps("zero3")["cached"]["passes"][1]) == 2 * 10
    assert len(steps("zero2")["cached"]["passes"][1]) == 2 * 9


@pytest.mark.parametrize("parallelism", ["ddp", *ZERO[1:], *OFFLOAD])
def test_bf16_gradients_are_within_their_bound(parallelism, reference, steps):
    for name in ("bf16", "bf16, cached"):
        if name in steps(parallelism):
            assert error(reference["A"], steps(parallelism)[name]) < BF16[parallelism]
            assert steps(parallelism)[name]["state_types"] == ["torch.float32"]


@linux
def test_bf16_under_zero_0_is_refused_with_the_reason(steps):
    assert "launch with DDP" in steps("zero0")["bf16"]["refused"]
