"""Which checkpoints are kept, copied and found again."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from hybrid.runtime.errors import InputError
from hybrid.training.checkpoint import Copier, newest_checkpoint, read_state, remove_old, save_checkpoint, saved_steps
from hybrid.training.elastic import load_any_states
from hybrid.training.folder import warn_of_changes


@pytest.fixture
def engine():
    """An engine of one process, as far as a checkpoint knows it."""
    module = torch.nn.Linear(3, 3)
    accelerator = SimpleNamespace(state=SimpleNamespace(deepspeed_plugin=None))
    return SimpleNamespace(accelerator=accelerator, module=module, optimizer=torch.optim.AdamW(module.parameters()))


def save(folder: Path, engine, *steps: int) -> None:
    for step in steps:
        assert save_checkpoint(folder, step, engine, {"progress": {"step": step}})


def test_the_newest_and_the_best_checkpoint_are_kept(tmp_path, engine):
    save(tmp_path, engine, 1, 2, 3, 10, 11)
    remove_old(tmp_path, keep_last=2, best_step=2)
    assert saved_steps(tmp_path) == [2, 10, 11]
    assert newest_checkpoint([tmp_path]) == tmp_path / "step-11"


def test_a_copy_is_whole_kept_as_the_original_and_taken_where_that_is_damaged(tmp_path, engine, capsys):
    copier = Copier(tmp_path / "elsewhere", keep_last=1)
    for step in (1, 2):
        save(tmp_path / "here", engine, step)
        copier.copy(tmp_path / "here" / f"step-{step}", None)
        copier.wait(60)
    assert saved_steps(tmp_path / "elsewhere") == [2]
    (tmp_path / "here" / "step-2" / "state.pt").unlink()
    assert newest_checkpoint([tmp_path / "here", tmp_path / "elsewhere"]) == tmp_path / "elsewhere" / "step-2"
    assert "state.pt is missing" in capsys.readouterr().err
    shutil.rmtree(tmp_path / "elsewhere")
    assert newest_checkpoint([tmp_path / "here", tmp_path / "elsewhere"]) == tmp_path / "here" / "step-1"


def test_a_copy_that_cannot_be_written_is_told_and_stops_nothing(tmp_path, engine, capsys):
    (tmp_path / "file").write_text("no folder can be below a file")
    copier = Copier(tmp_path / "file" / "run", keep_last=1)
    save(tmp_path, engine, 1)
    copier.copy(tmp_path / "step-1", None)
    copier.wait(60)
    assert "training goes on without this copy" in capsys.readouterr().err


def test_another_parallelism_is_refused_with_both_names(tmp_path, engine):
    save(tmp_path, engine, 1)
    saved = read_state(tmp_path / "step-1")
    assert (saved["parallelism"], saved["world_size"]) == ("ddp", 1)
    with pytest.raises(InputError, match="written under zero3 and this job runs under ddp"):
        load_any_states(tmp_path / "step-1", engine, saved | {"parallelism": "zero3"})


def test_a_draft_that_a_killed_job_has_left_is_no_checkpoint_and_goes_with_the_next(tmp_path, engine):
    save(tmp_path, engine, 1)
    shutil.copytree(tmp_path / "step-1", tmp_path / ".step-2")
    assert newest_checkpoint([tmp_path]) == tmp_path / "step-1"
    save(tmp_path, engine, 3)
    assert {path.name for path in tmp_path.iterdir()} == {"step-1", "step-3"}


def test_a_manifest_names_every_file_with_size_and_checksum(tmp_path, engine):
    save(tmp_path, engine, 1)
    manifest = json.loads((tmp_path / "step-1" / "manifest.json").read_text())
    files = {path.name for path in (tmp_path / "step-1").iterdir()}
    assert set(manifest) == files - {"manifest.json"} == {"state.json", "state.pt", "random-0.pt"}


def test_settings_that_make_it_another_run_are_told_and_others_are_not(capsys):
    before = {"training.learning_rate": "0.1", "training.workers": "1", "tracking.uri": "a"}
    warn_of_changes(before, before | {"training.workers": "4", "tracking.uri": "b"})
    assert capsys.readouterr().err == ""
    warn_of_changes(before, before | {"training.learning_rate": "0.2"})
    assert "training.learning_rate was 0.1 and is 0.2" in capsys.readouterr().err
