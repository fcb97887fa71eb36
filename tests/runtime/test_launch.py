"""From how a job was launched to processes that train together, or a refusal."""

import pytest

from hybrid.runtime import launch
from hybrid.runtime.errors import InputError


class Alone:
    """What accelerate makes of two processes on a CPU where nothing tells it to use that."""

    num_processes = 2

    class distributed_type:
        value = "NO"

    def __init__(self, **_):
        pass


def test_processes_that_accelerate_would_not_keep_alike_are_refused(monkeypatch):
    import accelerate

    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(accelerate, "Accelerator", Alone)
    with pytest.raises(InputError, match="would not keep their weights alike"):
        launch.start("fp32")


@pytest.fixture(autouse=True)
def own_environment(monkeypatch):
    """What a start sets in the environment is gone after the test."""
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("ACCELERATE_MIXED_PRECISION", "fp16", "asks for mixed precision fp16"),
        ("ACCELERATE_MIXED_PRECISION", "bf16", "recipe for training.precision fp32"),
        ("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4", "adds no negatives"),
    ],
)
def test_what_the_recipe_decides_is_refused_from_the_launcher(name, value, sentence, monkeypatch):
    monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=sentence):
        launch.start("fp32")
