"""The plan: sizes and bytes are those of an encoder that is really built and run; it needs no network."""

import json
import re
from dataclasses import replace

import pytest
import torch
from torch.distributed._tools.mem_tracker import MemTracker

from hybrid.config import read_config
from hybrid.models import FromScratch, LoraConfig, ModelConfig
from hybrid.models.load import load_encoder
from hybrid.training import plan
from hybrid.training.config import TrainingConfig
from hybrid.training.flops import costs
from hybrid.training.objective import info_nce
from hybrid.training.optimizer import make_optimizer
from hybrid.training.plan_encoder import anatomy, saved
from hybrid.training.plan_memory import Layout, states, vector_bytes
from hybrid.training.plan_step import communication, gathers
from tests.launch import ROOT
from tests.models.test_encoder import SHAPES, word_tokenizer
from tests.training.test_gradients import ZERO
from tests.training.toy import SHAPE

DEEP = {"xlm-roberta": "num_hidden_layers", "bert": "num_hidden_layers", "mt5": "num_layers"}


def model(model_type: str, layers: int = 4, **options) -> ModelConfig:
    tokenizer = word_tokenizer()
    shape = SHAPES[model_type] | {DEEP[model_type]: layers, "vocab_size": len(tokenizer)}
    scratch = FromScratch(model_type=model_type, config=shape)
    return ModelConfig(from_scratch=scratch, dropout=0.0, pooling="mean", **options)


def built(config: ModelConfig):
    return load_encoder(config, word_tokenizer()).train()


@pytest.mark.parametrize("model_type", SHAPES)
@pytest.mark.parametrize(
    "options", [{}, {"freeze_embeddings": True}, {"lora": LoraConfig(rank=4)}], ids=["whole", "frozen", "lora"]
)
def test_sizes_are_those_of_the_encoder_that_is_built(model_type, options):
    config = model(model_type, layers=5, **options)
    sizes, encoder = anatomy(config), built(config)
    assert sizes.entries == sum(p.numel() for p in encoder.parameters())
    assert sizes.trained == sum(p.numel() for p in encoder.parameters() if p.requires_grad)
    assert sizes.costs == costs(encoder.backbone)


@pytest.mark.parametrize("model_type", SHAPES)
@pytest.mark.parametrize("precision", ["fp32", "autocast", "bf16"])
def test_what_a_forward_pass_keeps_is_what_was_predicted(model_type, precision):
    config, texts, length = model(model_type), 7, 48
    encoder = built(replace(config, attention="sdpa"))
    if precision == "bf16":
        for parameter in encoder.parameters():
            parameter.data = parameter.data.bfloat16()
    pieces = {}

    def keep(tensor):
        pieces[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    ids = torch.ones(texts, length, dtype=torch.long) * 4
    mask = torch.ones_like(ids)
    mask[-1, -1] = 0
    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=precision == "autocast"),
    ):
        encoder._pooled(ids, mask).sum()
    own = {p.untyped_storage().data_ptr() for p in encoder.parameters()}
    measured = sum(storage.nbytes() for key, storage in pieces.items() if key not in own)
    predicted = saved(config, length, precision, checkpointing=False)
    assert predicted.fixed + texts * predicted.text == pytest.approx(measured, rel=0.05)


@pytest.mark.parametrize("checkpointing", [False, True], ids=["kept", "computed again"])
@pytest.mark.parametrize("model_type", SHAPES)
def test_the_peak_of_forward_and_backward_is_within_fifteen_percent(model_type, checkpointing):
    config, texts, length = model(model_type, layers=8), 64, 64
    encoder = built(config)
    if checkpointing:
        encoder.backbone.activation_checkpointing_enable()
    ids = torch.ones(texts, length, dtype=torch.long) * 4
    mask = torch.ones_like(ids)
    mask[-1, -1] = 0
    tracker = MemTracker()
    tracker.track_external(encoder)
    with tracker:
        encoder._pooled(ids, mask).sum().backward()
    peak = next(iter(tracker.get_tracker_snapshot("peak").values()))
    measured = sum(value for kind, value in peak.items() if getattr(kind, "name", "") in ("ACT", "TEMP"))
    predicted = saved(config, length, "fp32", checkpointing)
    assert texts * (predicted.text + predicted.layer / 4) == pytest.approx(measured, rel=0.15)


def test_the_bytes_of_scores_at_their_peak_are_those_that_are_held():
    queries, passages, dimensions = 256, 512, 8
    q, p = (torch.randn(rows, dimensions, requires_grad=True) for rows in (queries, passages))
    same = torch.zeros(queries, passages, dtype=torch.bool)
    tracker = MemTracker()
    tracker.track_external(same)
    with tracker:
        info_nce(q, p, torch.arange(queries), same)[0].backward()
    measured = next(iter(tracker.get_tracker_snapshot("peak").values()))["Total"]
    assert vector_bytes(queries, passages, 1, dimensions) == pytest.approx(measured, rel=0.15)


def test_bytes_of_weights_gradients_and_moments_are_exactly_those_of_a_step():
    config = model("xlm-roberta", freeze_embeddings=True)
    encoder, predicted = built(config), states(Layout("DDP"), anatomy(config), 1, "fp32")
    optimizer = make_optimizer(encoder, TrainingConfig())
    encoder._pooled(torch.full((2, 8), 4), torch.ones(2, 8, dtype=torch.long)).sum().backward()
    optimizer.step()
    parameters = list(encoder.parameters())
    moments = [v for s in optimizer.state.values() for k, v in s.items() if k != "step"]
    assert predicted.parameters == sum(p.nbytes for p in parameters)
    assert predicted.gradients == sum(p.grad.nbytes for p in parameters if p.grad is not None)
    assert predicted.optimizer == sum(moment.nbytes for moment in moments)


@pytest.mark.parametrize("stage", ZERO[1:])
@pytest.mark.parametrize(("name", "precision"), [("A", "fp32"), ("bf16", "bf16"), ("bf16, cached", "bf16")])
def test_what_zero_holds_on_each_of_two_ranks_is_what_was_predicted(stage, name, precision, steps):
    sizes = anatomy(ModelConfig(from_scratch=FromScratch(config=SHAPE), pooling="mean"))
    # The temperature, which is not trained here.
    sizes = replace(sizes, entries=sizes.entries + 1)
    cached = "cached" in name
    predicted = states(Layout("", int(stage[-1])), sizes, 2, precision, cached)
    ranks = steps(stage)[name]["held"]
    assert len(ranks) == 2
    for held in ranks:
        # DeepSpeed pads parts to whole units, and AdamW counts its steps.
        assert held["parameters"] == pytest.approx(predicted.parameters, abs=16)
        assert held["optimizer"] == pytest.approx(predicted.optimizer, abs=64)
        assert held["buffers"] + held["gathered"] == pytest.approx(predicted.buffers, abs=16)
        assert 0.8 * predicted.gradients < held["gradients"] <= predicted.gradients


def test_each_stage_spreads_more_and_offload_takes_it_off_the_device():
    sizes = anatomy(model("bert"))
    whole, one, two, three = (states(Layout("", stage), sizes, 8, "bf16") for stage in (None, 1, 2, 3))
    assert one.optimizer == 12 * sizes.trained / 8 < whole.optimizer
    assert one.gradients == two.gradients == 2 * (sizes.trained / 8 + sizes.largest)
    assert three.gradients == whole.gradients / 2 / 8
    assert three.parameters == two.parameters / 8
    moved = states(Layout("", 3, offload_optimizer=True, offload_parameters=True), sizes, 8, "bf16")
    assert (moved.parameters, moved.optimizer) == (0, 0)
    assert moved.host == three.parameters + three.optimizer + 4 * sizes.trained / 8


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("FacebookAI/xlm-roberta-base", 277.5),
        ("FacebookAI/xlm-roberta-large", 558.8),
        ("sentence-transformers/LaBSE", 470.3),
        ("intfloat/multilingual-e5-small", 117.5),
        ("google/mt5-small", 146.9),
        ("google/mt5-xl", 1670.0),
    ],
)
def test_known_hub_ids_have_their_published_number_of_parameters(name, millions):
    assert anatomy(ModelConfig(name=name)).entries / 1e6 == pytest.approx(millions, abs=0.06)


def test_fewer_layers_are_planned_as_such():
    whole, short = (anatomy(ModelConfig(name="FacebookAI/xlm-roberta-base", layers=n)) for n in (12, 3))
    assert (whole.layers, short.layers) == (12, 3)
    assert short.costs.matrices * 4 == whole.costs.matrices


def test_the_command_recommends_what_fits_and_says_when_nothing_does(monkeypatch, capsys):
    monkeypatch.setenv("HYBRID_DATA", "anywhere")
    recipe = ["--config", "hybrid/recipes/mt5_xl.yaml"]
    assert plan.main([*recipe, "--gpus", "16", "--gpu_memory", "80"]) == 0
    assert "recommended: DDP, as the recipe is" in capsys.readouterr().out
    assert plan.main([*recipe, "--gpus", "16", "--gpu_memory", "24"]) == 0
    printed = capsys.readouterr().out
    assert "recommended: ZeRO" in printed
    assert "launch: accelerate launch --num_processes 16 --num_machines 2" in printed
    assert plan.main([*recipe, "--gpus", "1", "--gpu_memory", "2"]) == 1
    assert "nothing fits" in capsys.readouterr().out
    assert plan.main([*recipe, "--gpus", "3"]) == 2
    assert "which --gpus 3 do not divide" in capsys.readouterr().err


def test_weights_that_zero_3_does_not_keep_are_gathered_for_every_pass_of_every_chunk(monkeypatch):
    monkeypatch.setenv("HYBRID_DATA", "anywhere")
    large, small = (read_config(["--config", f"hybrid/recipes/{name}.yaml"]) for name in ("mt5_xl", "xlmr_large"))
    sizes = anatomy(large.model)
    assert sizes.entries > 1e9
    large.model.chunk_tokens, large.training.activation_checkpointing = None, False
    assert gathers(large, sizes, 20000, 8000) == 3 * 3
    assert gathers(large, sizes, 70000, None) == 2 * 2
    large.training.activation_checkpointing, large.model.chunk_tokens = True, 4000
    assert gathers(large, sizes, 20000, None) == 5 * 3
    assert gathers(small, anatomy(small.model), 1e9, None) == 2
    once, often = (communication(Layout("ZeRO-3", 3), sizes, 8, "bf16", 20000, passes) for passes in (2, 9))
    assert often - once == 7 * sizes.entries * 2 * 7 / 8


def test_the_seconds_of_an_advice_are_those_that_its_own_plan_gives(monkeypatch, capsys):
    monkeypatch.setenv("HYBRID_DATA", "anywhere")
    flags = ["--config", "hybrid/recipes/mt5_xl.yaml", "--gpus", "16", "--gpu_memory", "8", "--bandwidth", "10"]
    assert plan.main([*flags, "--training.cache_tokens", "null"]) == 0
    chunk, seconds = re.search(r"cache_tokens (\d+) \(([\d.]+) s", capsys.readouterr().out).groups()
    assert plan.main([*flags, "--training.cache_tokens", chunk]) == 0
    assert f"as the recipe is ({seconds} s a step)" in capsys.readouterr().out


def test_a_smaller_chunk_is_named_where_it_is_faster_than_offload(monkeypatch, capsys):
    monkeypatch.setenv("HYBRID_DATA", "anywhere")
    recipe = ["--config", "hybrid/recipes/xlmr_large.yaml", "--gpus", "1"]
    assert plan.main([*recipe, "--gpu_memory", "40"]) == 0
    printed = capsys.readouterr().out
    assert "recommended: ZeRO-2, optimizer on the host, as the recipe is" in printed
    assert "faster: DDP with --training.cache_tokens 16384" in printed
    assert plan.main([*recipe, "--gpu_memory", "80"]) == 0
    assert "faster: DDP" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--gpus", "0"], "--gpus is 0"),
        (["--gpu_memory", "nan"], "--gpu_memory is nan"),
        (["--gpu_memory", "inf"], "--gpu_memory is inf"),
        (["--bandwidth", "nan"], "--bandwidth is nan"),
        (["--query_tokens", "0"], "--query_tokens is 0; give 1 to 64"),
        (["--passage_tokens", "257"], "--passage_tokens is 257; give 1 to 256"),
        (["--gpus", "32"], "32 processes do not divide mixture.lanes 16"),
    ],
)
def test_a_number_that_cannot_be_or_that_the_job_would_refuse_is_not_planned(flags, named, monkeypatch, capsys):
    monkeypatch.setenv("HYBRID_DATA", "anywhere")
    assert plan.main(["--config", "hybrid/recipes/mt5_xl.yaml", *flags]) == 2
    assert named in capsys.readouterr().err


def test_without_the_cache_no_more_rows_fit_than_memory_has(monkeypatch):
    monkeypatch.setenv("HYBRID_DATA", "anywhere")
    config = read_config(["--config", "hybrid/recipes/xlmr_base.yaml"])
    machine = plan.Machine(8, 40e9, 312e12, 0.4, 100e9)
    planner = plan.Planner(config, machine, plan.Lengths(64, 256))
    most = planner.predict(Layout("DDP")).rows
    for rows, fit in ((most, True), (most + 1, False)):
        planner.config = replace(config, training=replace(config.training, global_batch=rows * 8))
        planner.rows = rows
        assert plan.fits(planner.predict(Layout("DDP")), machine) == fit


@pytest.mark.parametrize("layout", [Layout("", 2), Layout("", 2, True), Layout("", 3), Layout("", 3, True, True)])
def test_the_launch_line_of_a_plan_names_a_file_that_does_what_was_planned(layout):
    file = re.search(r"--deepspeed_config_file (\S+)", plan.launch(layout, 16))[1]
    settings = json.loads((ROOT / file).read_text())["zero_optimization"]
    assert settings["stage"] == layout.stage
    assert ("offload_optimizer" in settings, "offload_param" in settings) == (
        layout.offload_optimizer,
        layout.offload_parameters,
    )
    assert "without offload_param" in plan.launch(Layout("", 3, True), 16)
    # Else accelerate wants pdsh and a hostfile where there are several nodes.
    assert "--deepspeed_multinode_launcher standard" in plan.launch(layout, 16)
    assert "standard" not in plan.launch(layout, 8)
