"""Contract 3: the gradient of W ranks is that of one process on the joined batch (dropout 0)."""

import json
from pathlib import Path

import pytest
import torch

from tests.launch import launch

SCRIPT = Path(__file__).parent / "run_steps.py"


def largest_error(one: dict, other: dict) -> float:
    """Relative error of the worst parameter's first gradient."""
    first, second = one["gradients"][0], other["gradients"][0]
    assert first.keys() == second.keys()
    assert len(first) > 20
    scale = max(value.norm() for value in first.values())
    return max(float((first[k] - second[k]).norm() / (first[k].norm() + 1e-2 * scale)) for k in first)


DESIGN = {
    "plain": {},
    "hard negatives": {"negatives": True},
    "hard negatives, gradient cache": {"negatives": True, "training": {"cache_tokens": 40}},
    "hard negatives, both directions, learned temperature": {
        "negatives": True,
        "objective": {"both_directions": True, "learn_temperature": True},
    },
    "gradient cache, hard negatives, learned temperature, clipping": {
        "negatives": True,
        "objective": {"learn_temperature": True},
        "training": {"cache_tokens": 60, "clip": 0.1},
    },
    "activation checkpointing, small chunks, no clipping": {
        "chunk_tokens": 60,
        "training": {"activation_checkpointing": True, "clip": 0.0},
    },
}


WRONG = {"a gather without the other ranks' gradient": {"detached_gather": True}}


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> dict[int, dict]:
    """Results of every configuration by world size: one launch each."""
    folder, found = tmp_path_factory.mktemp("gradients"), {}
    for world in (1, 2):
        out = folder / f"{world}.pt"
        launch(SCRIPT, str(out), json.dumps(DESIGN | WRONG), str(world), processes=world)
        found[world] = torch.load(out)
    return found


@pytest.mark.parametrize("name", DESIGN)
def test_two_processes_give_the_gradient_and_steps_of_one(name, results):
    one, two = results[1][name], results[2][name]
    assert largest_error(one, two) < 1e-5
    assert one["losses"] == pytest.approx(two["losses"], rel=1e-5)


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_gather_is_noticed(name, results):
    assert largest_error(results[1][name], results[2][name]) > 1e-2


def test_gradient_cache_equals_the_plain_gradient(results):
    plain, cached = results[1]["hard negatives"], results[1]["hard negatives, gradient cache"]
    first, second = (torch.cat([g.flatten() for g in run["gradients"][0].values()]) for run in (plain, cached))
    assert float((first - second).norm() / first.norm()) < 1e-6
    assert largest_error(plain, cached) < 1e-5
    assert plain["losses"] == pytest.approx(cached["losses"], rel=1e-6)
