"""DeepSpeed's configuration: what the recipe says, and no contradiction."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from hybrid.runtime.errors import InputError
from hybrid.training.config import TrainingConfig
from hybrid.training.zero import configure_zero
from tests.launch import ROOT, launch
from tests.training.test_gradients import linux
from tests.training.toy import toy_encoder


def job(stage: int, processes: int = 2):
    """What the configuration looks at of an Accelerator."""
    plugin = SimpleNamespace(zero_stage=stage, deepspeed_config={"zero_optimization": {"stage": stage}})
    return SimpleNamespace(num_processes=processes, state=SimpleNamespace(deepspeed_plugin=plugin))


@pytest.fixture
def file(tmp_path, monkeypatch):
    """A function that writes DeepSpeed's configuration file and gives it to the launcher."""
    monkeypatch.delenv("ACCELERATE_GRADIENT_CLIPPING", raising=False)

    def write(settings: dict) -> None:
        (tmp_path / "zero.json").write_text(json.dumps(settings))
        monkeypatch.setenv("ACCELERATE_DEEPSPEED_CONFIG_FILE", str(tmp_path / "zero.json"))

    write({"zero_optimization": {"stage": 2}})
    return write


def test_batch_clipping_and_precision_come_from_the_recipe(file):
    for clip, precision in ((0.0, "fp32"), (0.5, "bf16")):
        accelerator = job(2)
        configure_zero(accelerator, TrainingConfig(global_batch=64, clip=clip, precision=precision))
        settings = accelerator.state.deepspeed_plugin.deepspeed_config
        assert (settings["train_batch_size"], settings["train_micro_batch_size_per_gpu"]) == (64, 32)
        assert settings["gradient_accumulation_steps"] == 1
        assert settings["gradient_clipping"] == clip
        assert settings["bf16"] == {"enabled": precision == "bf16", "check_grad_overflow": True}
        assert settings["fp16"] == {"enabled": False}


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"gradient_clipping": 1.5}, "training.clip"),
        ({"train_batch_size": 128}, "training.global_batch"),
        ({"train_micro_batch_size_per_gpu": 64}, "training.global_batch"),
        ({"gradient_accumulation_steps": 2}, "training.cache_tokens"),
        ({"bf16": {"enabled": True}}, "training.precision"),
        ({"bf16": {"enabled": False, "check_grad_overflow": False}}, "bf16.check_grad_overflow"),
        ({"bf16": True}, "bf16 is True and no section"),
        ({"fp16": {"enabled": True}}, "training.precision"),
        ({"gradient_allreduce_op": "sum"}, "gradient_allreduce_op is sum, but the recipe has mean"),
        ({"elasticity": {"enabled": True}}, "accumulation of its own"),
        ({"tensor_parallel": {"autotp_size": 2}}, "rows of its own"),
        ({"sequence_parallel_size": 2}, "rows of its own"),
        ({"checkpoint": {"load_universal": True}}, "--resume"),
        ({"disable_allgather": True}, "only it has stepped"),
        ({"communication_data_type": "fp16"}, "training.precision"),
        ({"zero_optimization": {"stage": 2, "zero_quantized_gradients": True}}, "4 bits"),
        ({"optimizer": {"type": "Adam"}}, "training.learning_rate"),
        ({"scheduler": {"type": "WarmupLR"}}, "training.decay"),
        ({"data_types": {"grad_accum_dtype": "fp32"}}, "training.precision"),
        ({"torch_autocast": {"enabled": True}}, "training.precision"),
        ({"zero_optimization": {"stage": 2, "zenflow": {"topk_ratio": 0.1}}}, "later steps"),
        ({"zero_optimization": {"stage": 2, "compute_grad_norm": False}}, "training.clip"),
    ],
)
def test_a_contradiction_between_the_file_and_the_recipe_is_an_error_that_names_both(file, settings, named):
    file(settings)
    with pytest.raises(InputError, match=named) as raised:
        configure_zero(job(2), TrainingConfig(global_batch=64))
    assert "zero.json" in str(raised.value)


def test_zero_3_gathers_the_model_that_is_kept_whatever_the_file_says(file):
    file({"zero_optimization": {"stage": 3}})
    accelerator = job(3)
    configure_zero(accelerator, TrainingConfig(global_batch=64))
    settings = accelerator.state.deepspeed_plugin.deepspeed_config
    assert settings["zero_optimization"]["stage3_gather_16bit_weights_on_model_save"]


def test_a_file_may_repeat_the_recipe_or_leave_it_to_the_launcher(file):
    for clip in ("auto", 1.0):
        file(
            {
                "gradient_clipping": clip,
                "gradient_allreduce_op": "mean",
                "train_batch_size": 64,
                "bf16": {"enabled": "auto"},
            }
        )
        configure_zero(job(2), TrainingConfig(global_batch=64, clip=1.0))


def test_clipping_that_the_launcher_asks_for_is_an_error_where_the_recipe_has_another(file, monkeypatch):
    monkeypatch.setenv("ACCELERATE_GRADIENT_CLIPPING", "5.0")
    with pytest.raises(InputError, match="--gradient_clipping"):
        configure_zero(job(2), TrainingConfig(clip=1.0))


@pytest.mark.parametrize("place", sorted((ROOT / "ds_configs").glob("*.json")), ids=lambda place: place.stem)
def test_every_shipped_file_fits_every_recipe(place, monkeypatch):
    monkeypatch.setenv("ACCELERATE_DEEPSPEED_CONFIG_FILE", str(place))
    monkeypatch.delenv("ACCELERATE_GRADIENT_CLIPPING", raising=False)
    stage = json.loads(place.read_text())["zero_optimization"]["stage"]
    configure_zero(job(stage), TrainingConfig(clip=0.3, precision="bf16" if stage else "fp32", cache_tokens=64))


@linux
def test_zero_3_loads_weights_without_a_full_copy_on_any_rank(tmp_path):
    toy_encoder().backbone.save_pretrained(tmp_path / "encoder")
    launch(Path(__file__).parent / "run_zero3.py", tmp_path / "encoder", tmp_path / "ranks.json", processes=2, zero=3)
    ranks = json.loads((tmp_path / "ranks.json").read_text())
    assert len(ranks) == 2
    for rank in ranks:
        assert rank["spread"]
        assert rank["same"]
        assert rank["count"] > 20
        assert rank["held"] < 0.51 * rank["whole"]
