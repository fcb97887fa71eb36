"""The roofline: it counts what the log line counts, reads the last run, and warns of the slower precision."""

import json
from dataclasses import replace

import pytest
import torch

from hybrid.config import read_config
from hybrid.runtime.errors import InputError
from hybrid.training import roofline
from hybrid.training.plan_memory import Layout
from hybrid.training.plan_step import Lengths
from hybrid.training.report import flat
from hybrid.training.roofline_terms import Rates, Term, terms

TINY = ["--config", "hybrid/recipes/quickstart.yaml", "--config", "hybrid/recipes/tiny.yaml"]
LENGTHS = Lengths(10, 30)


def config(*flags: str):
    return read_config([*TINY, *flags])


def by_name(found: list[Term]) -> dict[str, Term]:
    return {term.name: term for term in found}


@pytest.mark.parametrize("world", [1, 4])
def test_the_operations_are_those_of_the_log_line(world):
    from hybrid.training.plan_encoder import anatomy

    recipe = config()
    costs, rows = anatomy(recipe.model).costs, recipe.training.global_batch // world
    lengths = torch.tensor([LENGTHS.query] * rows + [LENGTHS.passage] * rows)
    expected = costs.training(lengths) + costs.scores(rows, rows * world)
    counted = sum(term.operations for term in terms(recipe, world, LENGTHS, Layout("DDP")))
    assert counted == pytest.approx(expected, rel=1e-12)


def test_a_gradient_cache_does_one_forward_pass_more():
    plain, cached = terms(config(), 1, LENGTHS, Layout("DDP")), config("--training.cache_tokens", "64")
    again = by_name(terms(cached, 1, LENGTHS, Layout("DDP")))["forward passes done again"].operations
    parts = by_name(plain)
    three = sum(parts[name].operations for name in parts if name.startswith(("attention", "feed")))
    assert again * 3 == pytest.approx(three)


def test_frozen_embeddings_spare_their_gradient_and_their_update():
    entries = 2000 * 32
    for layout, dense in ((Layout("DDP"), 0), (Layout("ZeRO-2", 2), 4 * entries)):
        whole, frozen = (
            by_name(terms(config("--model.freeze_embeddings", flag), 1, LENGTHS, layout)) for flag in ("false", "true")
        )
        assert whole["AdamW"].moved - frozen["AdamW"].moved == 28 * entries
        assert whole["embeddings"].moved == 2 * frozen["embeddings"].moved + dense


def test_zero_spreads_the_update_and_sends_what_it_has_to():
    ddp, two, three = (by_name(terms(config(), 4, LENGTHS, Layout(name, stage))) for name, stage in STAGES)
    assert two["AdamW"].moved == ddp["AdamW"].moved / 4
    sent = [part[f"communication ({name})"].sent for part, (name, _) in zip((ddp, two, three), STAGES, strict=True)]
    assert sent[1] == pytest.approx(sent[2] * 2 / 3)
    # Of 2,000 rows of 32 numbers no more occur than there are tokens; all-reduce sends twice, to three of four ranks.
    tokens = 16 * sum((LENGTHS.query, LENGTHS.passage))
    assert sent[1] - sent[0] == 4 * 2 * (2000 - tokens) * 32 * 3 / 4


STAGES = [("DDP", None), ("ZeRO-2", 2), ("ZeRO-3", 3)]


def test_the_bound_is_the_longer_of_computing_and_sending():
    parts = [Term("products", operations=8.0, moved=1.0), Term("copies", moved=6.0), Term("sending", sent=5.0)]
    assert Rates(operations=2.0, memory=3.0, link=1.0).bound(parts) == 4 + 2
    assert Rates(operations=2.0, memory=3.0, link=0.5).bound(parts) == 10


def journal(folder, *flags: str) -> None:
    parameters = {key: str(value) for key, value in flat(config(*flags)).items()}
    events = [
        {"kind": "params", "values": parameters | {"world_size": "2"}},
        {
            "kind": "metrics",
            "values": {"train/pairs_per_second": 1.0, "train/tokens_per_second": 9.0, "train/mfu": 0.1},
        },
        {
            "kind": "metrics",
            "values": {"train/pairs_per_second": 8.0, "train/tokens_per_second": 352.0, "train/mfu": 0.3},
        },
        {"kind": "metrics", "values": {"dev/multilingual/map": 0.5}},
    ]
    folder.mkdir(exist_ok=True)
    (folder / "tracking.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))


def test_the_last_rates_of_the_journal_are_held_against_the_bound(tmp_path, monkeypatch, capsys):
    journal(tmp_path / "run")
    monkeypatch.setattr(roofline, "measure", lambda device, precision, link, world: Rates(1e9, 1e9, link))
    monkeypatch.setattr(roofline, "measured_flops", lambda device, dtype: 2e9 if dtype == torch.float32 else 1e9)
    assert roofline.main([*TINY, "--run", str(tmp_path / "run")]) == 0
    printed = capsys.readouterr().out
    assert "16 pairs on 2 ranks, queries of 12 and passages of 32 tokens on average, fp32" in printed
    assert "last run: 2.0000 s a step" in printed
    assert "binds, by operations" in printed
    assert "warning" not in printed


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--training.global_batch", "32"], "training.global_batch 32, the recipe has 16"),
        (["--training.cache_tokens", "64"], "training.cache_tokens 64, the recipe has None"),
        (["--training.precision", "bf16"], "training.precision bf16, the recipe has fp32"),
        (["--model.freeze_embeddings", "true"], "model.freeze_embeddings True, the recipe has False"),
        (["--model.lora.rank", "4"], "model.lora.alpha"),
    ],
)
def test_a_run_that_did_other_work_is_held_against_no_bound(tmp_path, flags, named):
    journal(tmp_path / "run", *flags)
    with pytest.raises(InputError, match=named):
        roofline.last_run(tmp_path / "run", config())
    journal(tmp_path / "run", "--training.learning_rate", "0.5")
    assert roofline.last_run(tmp_path / "run", config()).seconds == 2


def test_ranks_or_a_bandwidth_that_cannot_be_are_refused(tmp_path, capsys):
    # A user may have run the quickstart before the tests: that run is not to be found.
    recipe = [*TINY, "--training.output", str(tmp_path)]
    assert roofline.main([*recipe, "--ranks", "0"]) == 2
    assert "--ranks is 0" in capsys.readouterr().err
    assert roofline.main([*recipe, "--bandwidth", "nan"]) == 2
    assert "--bandwidth is nan" in capsys.readouterr().err


def test_no_run_one_without_a_rate_and_one_of_other_ranks_are_told_apart(tmp_path):
    (tmp_path / "young").mkdir()
    (tmp_path / "young" / "tracking.jsonl").write_text("")
    with pytest.raises(InputError, match="has logged no rate yet"):
        roofline.last_run(tmp_path / "young", config(), required=True)
    with pytest.raises(InputError, match=r"holds no tracking.jsonl"):
        roofline.last_run(tmp_path / "absent", config(), required=True)
    assert roofline.last_run(tmp_path / "absent", config()) is None
    journal(tmp_path / "run")
    with open(tmp_path / "run" / "tracking.jsonl", "a") as file:
        file.write('{"kind": "metr')  # of a run that was killed
    run = roofline.last_run(tmp_path / "run", config())
    with pytest.raises(InputError, match=r"--ranks is 4, but the run had 2"):
        roofline.check(config(), run, 4, 1.0)


def test_the_slower_precision_is_warned_of(monkeypatch):
    monkeypatch.setattr(roofline, "measured_flops", lambda device, dtype: 160e9 if dtype == torch.float32 else 88e9)
    device = torch.device("cpu")
    assert any("fp32 are 1.8 times as fast" in line for line in roofline.slower_precision(device, "bf16"))
    assert len(roofline.slower_precision(device, "fp32")) == 1


def test_rates_are_measured_in_seconds_and_positive():
    rates = roofline.measure(torch.device("cpu"), "fp32", 1e9, 1)
    assert min(rates.operations, rates.memory) > 1e8


def test_ranks_on_a_cpu_share_what_all_its_cores_do(monkeypatch):
    threads, seen = torch.get_num_threads(), []
    monkeypatch.setattr(roofline, "cores", lambda: 3)
    monkeypatch.setattr(roofline, "peak_flops", lambda *_: seen.append(torch.get_num_threads()) or 8e9)
    monkeypatch.setattr(roofline, "memory_rate", lambda _: 2e9)
    assert roofline.measure(torch.device("cpu"), "fp32", 1e9, 4) == Rates(2e9, 0.5e9, 1e9)
    assert seen == [3]
    assert torch.get_num_threads() == threads


def test_mean_lengths_share_the_runs_tokens_as_the_limits_do():
    run = roofline.LastRun(seconds=1.0, tokens=44.0, world=2, mfu=0.1)
    assert roofline.mean_lengths(config(), run) == Lengths(12, 32)
    hard = config("--data.passage", "sentence_in_paragraph", "--data.hard_negatives", "1")
    assert roofline.mean_lengths(hard, replace(run, tokens=76.0)) == Lengths(12, 32)
    assert roofline.mean_lengths(config(), None) == Lengths(24, 64)
