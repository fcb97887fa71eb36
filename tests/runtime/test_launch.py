"""From how a job was launched to processes that train together, or a refusal."""

import json
import re
from pathlib import Path

import pytest

from hybrid.runtime import launch
from hybrid.runtime.errors import InputError
from tests.launch import ROOT
from tests.launch import launch as launch_script

FILES = sorted((ROOT / "accelerate_configs").glob("*.yaml"))
READMES = [ROOT / "README.md", *sorted((ROOT / "hybrid").glob("*/README.md"))]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_accelerate_reads_every_shipped_file_and_finds_what_it_names(file):
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(file))
    assert config.num_processes == {"one_process": 1, "cpu_2": 2, "gpus_8": 8}.get(file.stem, 16)
    assert config.num_machines == (2 if config.num_processes == 16 else 1)
    if config.deepspeed_config:
        named = json.loads((ROOT / config.deepspeed_config["deepspeed_config_file"]).read_text())
        assert file.stem.endswith(f"zero{named['zero_optimization']['stage']}")


def test_readmes_name_no_launch_file_or_recipe_that_is_not_there():
    named = {name for file in READMES for name in re.findall(r"[\w/]+/[\w]+\.(?:yaml|json)\b", file.read_text())}
    shipped = {name for name in named if name.startswith(("accelerate_configs/", "ds_configs/", "hybrid/recipes/"))}
    assert len(shipped) > 10
    assert not [name for name in shipped if "RECIPE" not in name and not (ROOT / name).exists()]


def test_a_job_that_is_done_leaves_no_thread_of_the_process_group_to_an_ending_interpreter():
    printed = launch_script(Path(__file__).parent / "run_end.py")
    # Counted, not split into lines: two ranks write to one pipe, and may both write before either's end of line.
    assert [printed.count(f"rank {rank} of 2 called its exit functions") for rank in range(2)] == [1, 1]
    assert "taken apart" not in printed


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
