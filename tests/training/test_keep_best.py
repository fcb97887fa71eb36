"""The weights of the best score are kept; a disk without room for them costs no step."""

import errno
import os
from contextlib import suppress

import pytest

from hybrid.runtime import processes
from hybrid.runtime.launch import start
from hybrid.runtime.tracking import Tracker, TrackingConfig
from hybrid.training.config import ObjectiveConfig, TrainingConfig
from hybrid.training.engine import Engine
from hybrid.training.loop import Hooks, Loop
from hybrid.training.realised import Realised
from tests.training.toy import toy_batch, toy_encoder

SCORES = (0.1, 0.5, 0.7, 0.6)


def run(folder, full: set[int], stop_at: int | None = None) -> tuple[Loop, list[int]]:
    """Take four steps, each scored; the disk is full at the writes of these numbers. Returns the steps written.

    The job is asked to stop while the encoder of step `stop_at` is written.
    """
    config = TrainingConfig(steps=4, global_batch=4, evaluate_every=1, keep_best="dev", log_every=9)
    engine = Engine(toy_encoder(), ObjectiveConfig(), config, start("fp32", seed=0))
    tries, written = [], []

    def keep(state) -> None:
        tries.append(loop.progress.step)
        if len(tries) - 1 in full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "model")
        written.append(loop.progress.step)
        if loop.progress.step == stop_at:
            processes.ask_to_stop("test")
        processes.on_main(lambda: None)

    hooks = Hooks(evaluate=lambda encoder, step: {"dev": SCORES[step - 1]}, keep=keep)
    tracker = Tracker(folder, "toy", TrackingConfig(enabled=False))
    loop = Loop(config, engine, hooks, Realised(["toy"]), folder, tracker)
    with suppress(processes.Interrupted):
        loop.run(toy_batch(step, 4) for step in range(4))
    return loop, written


@pytest.mark.parametrize(("full", "kept"), [(set(), [1, 2, 3]), ({1}, [1, 3]), ({2}, [1, 2, 4]), ({0, 1, 2}, [4])])
def test_a_full_disk_costs_a_best_encoder_and_no_step(tmp_path, capsys, full, kept):
    loop, written = run(tmp_path, full)
    assert (loop.progress.step, written) == (4, kept)
    assert capsys.readouterr().err.count("could not be written (model: No space left on device)") == len(full)
    assert loop.progress.best_step == kept[-1]


def test_a_disk_without_room_for_any_encoder_is_an_error_at_the_end(tmp_path):
    with pytest.raises(OSError, match="No space left"):
        run(tmp_path, {0, 1, 2, 3, 4})


def test_a_best_encoder_that_is_written_while_the_job_is_asked_to_stop_is_known_as_the_best(tmp_path, monkeypatch):
    monkeypatch.setattr(processes._Stop, "reason", None)
    loop, _ = run(tmp_path, set(), stop_at=3)
    assert (loop.progress.evaluated, loop.progress.best, loop.progress.best_step) == (3, 0.7, 3)
