"""The audit tells what the ranks really get, and holds a run against it."""

import argparse
import json
from types import SimpleNamespace

import numpy as np
import pytest

from hybrid.sampling import HybridBatchSampler, Mixture, MixtureConfig
from hybrid.sampling.__main__ import main, report
from hybrid.sampling.audit import audit, differences
from tests.sampling.synthetic import layout

DATA = (layout("a", {"de en fr": 300, "en": 200}, items_per_group=3), layout("b", {"de en": 150}, items_per_group=1))
STEPS = 60


def mixture(form: str = "hybrid", **settings) -> Mixture:
    """Return a mixture of two data sets."""
    return Mixture(MixtureConfig(monolingual="1/3", form=form, language_exponent=0.5, **settings), DATA)


@pytest.mark.parametrize("unit", ["global", "lane"])
@pytest.mark.parametrize("form", ["single", "mixed", "hybrid"])
@pytest.mark.parametrize("schedule", ["quota", "random"])
def test_the_audit_counts_the_rows_that_ranks_get(form, unit, schedule):
    of = mixture(form, unit=unit, schedule=schedule)
    found = audit(of, 32, 5, world_size=4, steps=STEPS)
    for rank in range(4):
        sampler = HybridBatchSampler(of, 32, 5, rank, 4)
        rows = sum(np.bincount(sampler.rows(step).streams, minlength=len(of.items)) for step in range(STEPS))
        assert (found.rows[rank] == rows).all()


@pytest.mark.parametrize("form", ["single", "mixed", "hybrid"])
def test_the_largest_deviation_is_that_of_the_worst_prefix(form):
    """Held against a count by hand over all prefixes of the kinds, of one lane."""
    of = mixture(form, unit="global", schedule="random")
    sampler = HybridBatchSampler(of, 16, 5)
    kinds = [of.kind[sampler.draw(step, 0, np.arange(16))[0][0]] for step in range(STEPS)]
    if form == "mixed":  # rows in the order of the schedule, not as they are shuffled
        kinds = of.kind[sampler.streams(0, of.root, np.arange(STEPS * 16))[0]]
    count = np.cumsum(np.array(kinds) == 0)
    worst = max(abs(np.concatenate(([0], count)) - np.arange(len(kinds) + 1) / 3))
    row = audit(of, 16, 5, 1, STEPS).branches[0]
    assert row["name"] == "monolingual"
    assert row["deviation"] == pytest.approx(worst)


def test_under_quota_no_deviation_reaches_one():
    for unit in ("global", "lane"):
        found = audit(mixture(unit=unit), 32, 5, 8, 500)
        assert max(row["deviation"] for row in found.branches) < 1
        assert {row["rank"] for row in found.branches} == (set(range(8)) if unit == "lane" else {0})


def test_passes_epochs_and_what_is_left_out():
    of = Mixture(MixtureConfig(monolingual=1, form="single"), [layout("x", {"de": 103, "en": 50}, items_per_group=1)])
    found = audit(of, 10, 0, 2, 40)
    streams = {row["name"]: row for row in found.branches if row["level"] == "stream"}
    assert [row["passes"] for row in streams.values()] == [2.0, 4.0]
    assert [row["left_out"] for row in streams.values()] == [3, 0]
    assert [row["as query"] for row in found.languages] == [200 / 103, 200 / 50]
    assert found.duplicates == 0


def test_epochs_are_of_the_items_that_have_a_query_or_a_passage_in_the_language():
    """Queries in English alone, passages in German alone: no item has both in one language."""
    data = layout("x", {"de": 0, "en": 0})
    data.blocks = [(0, 1000, (1,), (0,))]
    found = audit(Mixture(MixtureConfig(cross_lingual=1, form="single"), [data]), 16, 0, 1, 100)
    german, english = found.languages
    assert (english["queries"], english["passages"], english["as query"], english["as passage"]) == (1000, 0, 1.6, 0)
    assert (german["queries"], german["passages"], german["as query"], german["as passage"]) == (0, 1000, 0, 1.6)


def test_duplicate_groups_are_counted():
    of = Mixture(MixtureConfig(monolingual=1, form="single"), [layout("x", {"de": 40}, items_per_group=40)])
    assert audit(of, 10, 0, 1, 5).duplicates == 0.9
    assert audit(Mixture(MixtureConfig(monolingual=1), [layout("x", {"de": 40})]), 10, 0, 1, 5).duplicates is None


def test_a_run_is_held_against_its_audit():
    of = mixture()
    found = audit(of, 32, 5, 2, STEPS)
    counts = dict(zip(found.names, found.rows.sum(axis=0).tolist(), strict=True))
    assert differences(found, counts) == []
    counts[found.names[0]] += 1
    assert len(differences(found, counts)) == 1
    assert "rows trained" in differences(found, counts)[0]


def test_the_command_prints_saves_and_draws(tmp_path, capsys):
    pyarrow = pytest.importorskip("pyarrow.parquet")
    of, training = mixture(), SimpleNamespace(global_batch=32, seed=5)
    found = audit(of, 32, 5, 2, STEPS)
    counts = dict(zip(found.names, found.rows.sum(axis=0).tolist(), strict=True))
    (tmp_path / "run.json").write_text(json.dumps(counts))
    options = argparse.Namespace(
        world_size=2,
        steps=STEPS,
        save=str(tmp_path / "audit.parquet"),
        plot=str(tmp_path / "audit.png"),
        against=str(tmp_path / "run.json"),
    )
    assert report(of, training, options) == 0
    printed = capsys.readouterr().out
    for words in ("monolingual/a/fr", "cross_lingual/b/de:en", "rank 1: kind 0.66", "duplicate groups", "left_out"):
        assert words in printed
    table = pyarrow.read_table(tmp_path / "audit.parquet").to_pylist()
    assert [row["got"] for row in table] == [row["got"] for row in found.branches]
    assert (tmp_path / "audit.png").read_bytes().startswith(b"\x89PNG")
    (tmp_path / "run.json").write_text(json.dumps(counts | {found.names[0]: 1}))
    assert report(of, training, options) == 1


def test_no_steps_and_no_processes_are_refused(capsys):
    for flags in (["--world_size", "0"], ["--steps", "-1"]):
        with pytest.raises(SystemExit):
            main(flags)
        assert "have to be 1 or more" in capsys.readouterr().err
