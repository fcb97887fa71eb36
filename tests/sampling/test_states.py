"""A sampler goes on from a state: the same rows, on other numbers of ranks too, and never on other data."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hybrid.sampling import HybridBatchSampler, Mixture, MixtureConfig, MixtureError
from hybrid.sampling.schedule import BLOCK, Schedule
from tests.sampling.synthetic import layout
from tests.sampling.worlds import worlds


@settings(max_examples=20, deadline=None)
@given(world=worlds(), stop=st.integers(0, 4000), data=st.data())
def test_resume_from_a_state_or_a_number_continues_the_same_rows(world, stop, data):
    mixture, global_batch, ranks, seed = world
    sampler = HybridBatchSampler(mixture, global_batch, seed)
    sampler.rows(stop)
    sampler.rows(stop + 3)  # a loader runs ahead of the training
    state = json.loads(json.dumps(sampler.state_dict(stop)))
    expected = [sampler.rows(stop + i).rows for i in range(3)]
    restored = [HybridBatchSampler(mixture, global_batch, seed, rank, ranks) for rank in range(ranks)]
    for one in restored:
        one.load_state_dict(state)
    streams = [iter(one) for one in restored]
    for rows in expected:
        assert (np.concatenate([next(stream).rows for stream in streams]) == rows).all()


@pytest.mark.parametrize("schedule", ["quota", "random"])
@pytest.mark.parametrize("form", ["single", "mixed", "hybrid"])
def test_resume_at_every_step_equals_the_uninterrupted_stream(form, schedule):
    data = layout("x", {"de en fr": 211, "en": 97})
    config = MixtureConfig(
        monolingual="3/7", form=form, schedule=schedule, language_exponent=0.5, lanes=1 if form == "single" else 2
    )
    mixture = Mixture(config, [data])
    whole = [rows.rows for rows in HybridBatchSampler(mixture, 16, 3, steps=100)]
    sampler = HybridBatchSampler(mixture, 16, 3)
    for step in range(99):
        sampler.rows(step)
        resumed = HybridBatchSampler(mixture, 16, 3)
        resumed.load_state_dict(sampler.state_dict(step + 1))
        assert (next(iter(resumed)).rows == whole[step + 1]).all()


@pytest.mark.parametrize("form", ["single", "mixed"])
def test_a_resumed_run_stays_the_same_when_its_schedules_go_on_to_their_next_blocks(form):
    config = MixtureConfig(monolingual=1, form=form, language_exponent=0.5)
    mixture = Mixture(config, [layout("x", {"de en fr": 211, "en": 97, "zh de": 60})])
    sampler = HybridBatchSampler(mixture, 16, 3)
    state = sampler.state_dict(700)
    assert state["counts"], "nothing is restored"
    resumed = HybridBatchSampler(mixture, 16, 3, steps=1300)
    resumed.load_state_dict(state)
    assert all((rows.rows == sampler.rows(rows.step).rows).all() for rows in resumed)


@pytest.mark.parametrize("unit", ["global", "lane"])
@pytest.mark.parametrize("form", ["single", "mixed", "hybrid"])
def test_a_run_on_eight_then_two_then_four_ranks_is_the_run_on_one(form, unit):
    mixture = Mixture(MixtureConfig(form=form, unit=unit), [layout("x", {"de en fr": 500, "en": 100})])
    whole = HybridBatchSampler(mixture, 32, 9, steps=60)
    joint, state = [], None
    for ranks, steps in ((8, 20), (2, 35), (4, 60)):
        samplers = [HybridBatchSampler(mixture, 32, 9, rank, ranks, steps=steps) for rank in range(ranks)]
        for sampler in samplers if state else []:
            sampler.load_state_dict(state)
        joint += [np.concatenate([part.rows for part in parts]) for parts in zip(*samplers, strict=True)]
        state = samplers[-1].state_dict(steps)  # the state of any rank serves all
    assert len(joint) == 60
    assert all((rows.rows == other).all() for rows, other in zip(whole, joint, strict=True))


def test_states_of_other_data_mixtures_seeds_and_batches_are_refused():
    data = layout("x", {"de en": 500})
    sampler = HybridBatchSampler(Mixture(MixtureConfig(), [data]), 32, 9)
    state = sampler.state_dict(5)
    others = {
        "the digest of data set 'x' was d and is e": (MixtureConfig(), replace(data, digest="e"), 32, 9),
        "mixture.monolingual was None and is 0.4": (MixtureConfig(monolingual=0.4), data, 32, 9),
        "mixture.form was hybrid and is mixed": (MixtureConfig(form="mixed"), data, 32, 9),
        "mixture.schedule was quota and is random": (MixtureConfig(schedule="random"), data, 32, 9),
        "seed was 9 and is 8": (MixtureConfig(), data, 32, 8),
        "global_batch was 32 and is 64": (MixtureConfig(), data, 64, 9),
        "lanes was 8 and is 4": (MixtureConfig(lanes=4), data, 32, 9),
    }
    for sentence, (config, other, batch, seed) in others.items():
        with pytest.raises(MixtureError, match=sentence):
            HybridBatchSampler(Mixture(config, [other]), batch, seed).load_state_dict(state)
    same = HybridBatchSampler(Mixture(MixtureConfig(), [replace(data)]), 32, 9)
    same.load_state_dict(state)
    assert same.start_step == 5


def test_a_state_counts_on_from_the_one_before_where_the_loader_is_far_ahead(monkeypatch):
    config = MixtureConfig(monolingual=1, form="single", language_exponent=0.5)
    sampler = HybridBatchSampler(Mixture(config, [layout("x", {"de en fr": 211, "en": 97, "zh de": 60})]), 16, 3)
    served, own = [], Schedule._served
    monkeypatch.setattr(Schedule, "_served", lambda self, *of: served.append(of) or own(self, *of))

    def blocks_for_a_state(step: int) -> int:
        served.clear()
        sampler.state_dict(step)
        return len(served)

    first = blocks_for_a_state(40_000)
    for ahead in range(40_000, 40_000 + 10 * BLOCK, BLOCK):
        sampler.rows(ahead)
    assert blocks_for_a_state(40_001) < first / 10
