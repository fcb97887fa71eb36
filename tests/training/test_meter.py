"""The log line: what was reached since the last one."""

import math
from types import SimpleNamespace

import pytest
import torch

from hybrid.training import meter
from hybrid.training.engine import StepResult
from hybrid.training.flops import Costs
from hybrid.training.meter import Meter, line


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets."""
    now = SimpleNamespace(seconds=0.0)
    monkeypatch.setattr(meter.time, "monotonic", lambda: now.seconds)
    return now


def steps(found: Meter, clock, count: int, seconds: float) -> dict[str, float]:
    """Do steps of 4 pairs and 80 tokens, return the reading."""
    part = SimpleNamespace(lengths=torch.full((4,), 10))
    batch = SimpleNamespace(queries=Sized(part.lengths), passages=Sized(part.lengths))
    for _ in range(count):
        clock.seconds += seconds
        found.add(batch, StepResult(torch.tensor(1.0), torch.tensor(0.5), torch.tensor(2.0), 0.1, False))
    accelerator = SimpleNamespace(reduce=lambda sums, how: sums, device=torch.device("cpu"))
    return found.read(accelerator)


class Sized(SimpleNamespace):
    def __init__(self, lengths):
        super().__init__(lengths=lengths)

    def __len__(self):
        return len(self.lengths)


def test_rates_are_those_since_the_last_reading_and_left_out_where_no_step_was_timed(clock):
    found = Meter(Costs(1000, 1000, 10, 10), 1e9, 100)
    first = steps(found, clock, 2, 5.0)
    assert math.isnan(first["pairs_per_second"])
    assert "pairs/s" not in line(2, 100, first)
    assert "left" not in line(2, 100, first)
    fast, slow = steps(found, clock, 10, 1.0), steps(found, clock, 10, 2.0)
    assert (fast["pairs_per_second"], slow["pairs_per_second"]) == (4, 2)
    assert fast["tokens_per_second"] == 2 * slow["tokens_per_second"] == 80
    assert fast["mfu"] == pytest.approx(2 * slow["mfu"])
    assert slow["seconds_left"] == 2 * 78
    assert "2.0 pairs/s" in line(22, 100, slow)


def test_a_skipped_step_has_no_part_in_the_means_of_the_others():
    found = Meter(Costs(1000, 1000, 10, 10), 1e9, 100)
    for loss, skipped in ((1.0, False), (math.inf, True), (3.0, False), (math.nan, True)):
        norm = torch.tensor(math.inf if skipped else loss)
        found.results.append(StepResult(torch.tensor(loss), torch.tensor(0.5), norm, 0.1, skipped))
    accelerator = SimpleNamespace(reduce=lambda sums, how: sums, device=torch.device("cpu"))
    read = found.read(accelerator)
    assert (read["loss"], read["gradient_norm"], read["skipped_steps"]) == (2, 3, 2)
