"""A run that goes on with other settings does what they say, or is refused; nothing of the old ones stays unseen."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from hybrid.runtime.errors import InputError
from hybrid.runtime.launch import start
from hybrid.runtime.tracking import Tracker, TrackingConfig
from hybrid.training.config import ObjectiveConfig, TrainingConfig
from hybrid.training.engine import Engine
from hybrid.training.loop import Hooks, Loop
from hybrid.training.realised import Realised
from tests.training.toy import toy_batch, toy_encoder

SAMPLER = SimpleNamespace(load_state_dict=lambda state: None)


def make_loop(folder: Path, scores: tuple[float, ...] = (), encoder=None, **training) -> Loop:
    """A loop of one process whose evaluations give these scores, as a and, less each from one, as b."""
    settings = {"steps": 4, "global_batch": 4, "checkpoint_every": 1, "log_every": 9} | training
    config = TrainingConfig(**settings)
    engine = Engine(encoder or toy_encoder(), ObjectiveConfig(), config, start("fp32", seed=0))
    kept = {f"training.{key}": str(value) for key, value in settings.items()}
    hooks = Hooks(
        evaluate=(lambda _, step: {"a": scores[step - 1], "b": 1 - scores[step - 1]}) if scores else None,
        keep=lambda state: ((folder / "model").mkdir(parents=True, exist_ok=True), loop.kept_at.append(done().step)),
        state=lambda step: {"sampler": {}, "settings": kept},
    )
    loop = Loop(config, engine, hooks, Realised(["toy"]), folder, Tracker(folder, "toy", TrackingConfig(enabled=False)))
    loop.kept_at = []

    def done():
        return loop.progress

    return loop


def stopped_after(folder: Path, steps: int, **options) -> None:
    """Leave the checkpoints of a run that was killed after some steps."""
    loop = make_loop(folder, **options)
    with pytest.raises(StopIteration):
        loop.run(toy_batch(step, 4) for step in range(steps))


def go_on(loop: Loop) -> Loop:
    loop.resume(SAMPLER)
    loop.run(toy_batch(step, 4) for step in range(loop.progress.step, loop.config.steps))
    return loop


def test_another_weight_decay_is_that_of_the_steps_that_follow(tmp_path, capsys):
    stopped_after(tmp_path, 2, weight_decay=0.01)
    loop = make_loop(tmp_path, weight_decay=0.5)
    loop.resume(SAMPLER)
    assert [group["weight_decay"] for group in loop.engine.optimizer.param_groups] == [0.5, 0.0]
    assert "training.weight_decay was 0.01 and is 0.5" in capsys.readouterr().err


@pytest.mark.parametrize(("keep_best", "kept"), [("a", []), ("b", [3, 4]), (None, [4])])
def test_the_best_by_one_score_is_not_held_against_another(tmp_path, capsys, keep_best, kept):
    scores = (0.8, 0.6, 0.5, 0.4)
    stopped_after(tmp_path, 2, scores=scores, keep_best="a", evaluate_every=1)
    loop = go_on(make_loop(tmp_path, scores, keep_best=keep_best, evaluate_every=1))
    assert loop.kept_at == kept
    assert ("the best so far was by another" in capsys.readouterr().err) == (keep_best != "a")


def test_a_score_that_is_no_number_is_never_the_best(tmp_path, capsys):
    loop = go_on(make_loop(tmp_path, (float("nan"), 0.2, float("nan"), 0.1), keep_best="a", evaluate_every=1))
    assert (loop.kept_at, loop.progress.best) == ([2], 0.2)
    assert capsys.readouterr().err.count("is no number") == 2


def test_fewer_steps_than_were_done_are_refused_with_both_numbers(tmp_path):
    stopped_after(tmp_path, 3)
    with pytest.raises(InputError, match=r"training.steps is 2, but .*step-3 was written after step 3"):
        make_loop(tmp_path, steps=2).resume(SAMPLER)


def test_weights_of_another_encoder_are_refused_by_the_name_of_one_that_does_not_fit(tmp_path):
    stopped_after(tmp_path, 1)
    other = toy_encoder()
    other.backbone.resize_token_embeddings(60)
    with pytest.raises(InputError, match=r"another encoder .*embeddings.weight has the shape \(50, 16\), not \(60"):
        make_loop(tmp_path, encoder=other).resume(SAMPLER)


def test_a_run_that_goes_on_with_fewer_skips_allowed_stops_though_it_has_more_behind_it(tmp_path):
    loop = make_loop(tmp_path, stop_after_skips=2)
    loop.progress.skipped_in_a_row = 5
    batch, result = toy_batch(0, 4), SimpleNamespace(loss=float("nan"), skipped=True)
    tokenizer = loop.engine.module.encoder.tokenizer
    tokenizer.save_pretrained = lambda folder: None
    tokenizer.backend_tokenizer = SimpleNamespace(no_truncation=lambda: None)
    with pytest.raises(InputError, match="2 steps in a row was not finite"):
        loop._note_skip(batch, result)
