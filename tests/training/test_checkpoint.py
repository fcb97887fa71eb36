"""Which checkpoints are kept, copied and found again."""

import ast
import errno
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from hybrid.runtime.errors import InputError
from hybrid.runtime.processes import Interrupted
from hybrid.training import checkpoint
from hybrid.training.checkpoint import Copier, newest_checkpoint, read_state, remove_old, save_checkpoint, saved_steps
from hybrid.training.elastic import load_any_states
from hybrid.training.folder import check_changes, check_folder, open_folder
from hybrid.training.states import save_states
from tests.launch import ROOT, launch

CLAIM = """
import sys
from pathlib import Path
from hybrid.training.folder import open_folder

open_folder(Path(sys.argv[1]), None, overwrite=False)
print("claimed", flush=True)
input()
"""


@pytest.fixture
def engine():
    """An engine of one process, as far as a checkpoint knows it."""
    module = torch.nn.Linear(3, 3)
    accelerator = SimpleNamespace(state=SimpleNamespace(deepspeed_plugin=None))
    optimizer = torch.optim.AdamW(module.parameters())
    return SimpleNamespace(accelerator=accelerator, module=module, model=module, optimizer=optimizer)


def save(folder: Path, engine, *steps: int) -> None:
    for step in steps:
        assert save_checkpoint(folder, step, engine, {"progress": {"step": step}})


def test_the_newest_and_the_best_checkpoint_are_kept(tmp_path, engine):
    save(tmp_path, engine, 1, 2, 3, 10, 11)
    remove_old(tmp_path, 11, keep_last=2, others={2})
    assert saved_steps(tmp_path) == [2, 10, 11]
    assert newest_checkpoint([tmp_path]) == tmp_path / "step-11"


def test_a_checkpoint_just_written_stays_and_damaged_ones_after_it_go(tmp_path, engine, capsys):
    save(tmp_path, engine, 100, 800, 900)
    for step in (800, 900):
        (tmp_path / f"step-{step}" / "state.pt").write_bytes(b"")
    assert newest_checkpoint([tmp_path]) == tmp_path / "step-100"
    for step in (150, 200):
        save(tmp_path, engine, step)
        remove_old(tmp_path, step, keep_last=1, others=())
        assert newest_checkpoint([tmp_path]) == tmp_path / f"step-{step}"
    assert saved_steps(tmp_path) == [200]


def test_a_checkpoint_stays_while_it_is_copied(tmp_path, engine, monkeypatch):
    begun, go_on, usual = threading.Event(), threading.Event(), shutil.copytree
    monkeypatch.setattr(shutil, "copytree", lambda *a, **k: begun.set() or (go_on.wait(60) and usual(*a, **k)))
    copier = Copier(tmp_path / "elsewhere", keep_last=1)
    save(tmp_path / "here", engine, 1, 2)
    copier.copy(tmp_path / "here" / "step-1", None)
    assert begun.wait(60)
    remove_old(tmp_path / "here", 2, keep_last=1, others={copier.step})
    assert saved_steps(tmp_path / "here") == [1, 2]
    go_on.set()
    copier.wait(60)
    assert saved_steps(tmp_path / "elsewhere") == [1]


def test_a_step_that_is_saved_again_is_never_half_there(tmp_path, engine, monkeypatch):
    save(tmp_path, engine, 1)
    usual, seen = shutil.rmtree, []

    def watched(path, **options):
        seen.append(Path(path).name)
        usual(path, **options)

    monkeypatch.setattr(shutil, "rmtree", watched)
    save(tmp_path, engine, 1)
    assert "step-1" not in seen
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-1"]
    assert newest_checkpoint([tmp_path]) == tmp_path / "step-1"


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


def test_where_no_checkpoint_is_whole_nothing_starts_at_step_0_over_them(tmp_path, engine, capsys):
    assert newest_checkpoint([tmp_path]) is None
    save(tmp_path, engine, 1, 2)
    for step in (1, 2):
        (tmp_path / f"step-{step}" / "state.pt").unlink()
    with pytest.raises(InputError, match=r"none of the 2 checkpoints .* is whole; .*--overwrite to start at step 0"):
        newest_checkpoint([tmp_path])


def test_a_file_that_the_disk_does_not_give_back_costs_its_checkpoint_alone(tmp_path, engine, monkeypatch, capsys):
    save(tmp_path, engine, 1, 2)
    usual = checkpoint.file_digest

    def broken(file):
        if file.parent.name == "step-2":
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(file))
        return usual(file)

    monkeypatch.setattr(checkpoint, "file_digest", broken)
    assert newest_checkpoint([tmp_path]) == tmp_path / "step-1"
    assert "cannot be read (Input/output error)" in capsys.readouterr().err


def test_each_rank_flushes_what_it_has_written(tmp_path, engine, monkeypatch):
    flushed, usual = set(), os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (flushed.add(os.fstat(file).st_ino), usual(file))[1])
    assert save_states(tmp_path, engine) == []
    assert {file.name for file in tmp_path.iterdir() if file.stat().st_ino in flushed} == {"state.pt", "random-0.pt"}


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
    check_changes(before, before | {"training.workers": "4", "tracking.uri": "b"})
    assert capsys.readouterr().err == ""
    check_changes(before, before | {"training.learning_rate": "0.2"})
    assert "training.learning_rate was 0.1 and is 0.2" in capsys.readouterr().err


@pytest.mark.parametrize("key", ["model.layers", "model.lora.rank", "objective.learn_temperature"])
def test_a_setting_that_gives_other_weights_is_refused_by_name(key):
    before = {"model.layers": "None", "model.lora.rank": "8", "objective.learn_temperature": "False"}
    with pytest.raises(InputError, match=rf"{key} was .* and is 9, and the checkpoint's weights do not fit"):
        check_changes(before, before | {key: "9"})


def test_a_run_does_not_go_on_under_another_encoder_s_name_but_a_moved_directory_is_told(capsys):
    before = {"model.name": "/old/multilingual-e5-base", "model.revision": "None"}
    for other in ({"model.name": "/old/xlm-roberta-base"}, {"model.revision": "abc"}):
        with pytest.raises(InputError, match="--resume: model"):
            check_changes(before, before | other)
    check_changes(before, before | {"model.name": "/new/multilingual-e5-base/"})
    assert "model.name was /old/" in capsys.readouterr().err


def test_copies_of_another_run_are_refused_and_go_with_overwrite(tmp_path, engine):
    run, copies = tmp_path / "run", tmp_path / "copies" / "run"
    save(copies, engine, 5000)
    with pytest.raises(InputError, match="copies/run holds checkpoints of a run of this name; give --resume"):
        check_folder(run, copies, resume=False, overwrite=False)
    check_folder(run, copies, resume=True, overwrite=False)
    open_folder(run, copies, overwrite=True)
    assert newest_checkpoint([run / "checkpoints", copies]) is None


def test_a_folder_in_which_another_job_trains_is_refused_and_untouched_until_that_job_is_gone(tmp_path, engine):
    run = tmp_path / "run"
    with subprocess.Popen(
        [sys.executable, "-c", CLAIM, run], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as job:
        assert job.stdout.readline() == b"claimed\n"
        save(run, engine, 1)
        for resume in (True, False):
            with pytest.raises(InputError, match="run: another job is training there; wait for its end"):
                check_folder(run, None, resume=resume, overwrite=not resume)
        with pytest.raises(InputError, match="run: another job is training there; wait for its end"):
            open_folder(run, None, overwrite=True)
        assert newest_checkpoint([run]) == run / "step-1"
        job.kill()
    check_folder(run, None, resume=True, overwrite=False)
    open_folder(run, None, overwrite=True)
    assert newest_checkpoint([run]) is None


def test_a_job_that_was_stopped_while_its_folder_was_looked_for_can_start_again(tmp_path, monkeypatch):
    def stop(_):
        raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr("hybrid.training.folder.gather_objects", stop)
        with pytest.raises(Interrupted):
            open_folder(tmp_path / "run", None, overwrite=False)
    check_folder(tmp_path / "run", None, resume=False, overwrite=False)
    open_folder(tmp_path / "run", None, overwrite=False)
    assert not list((tmp_path / "run").iterdir())


def test_a_folder_that_is_another_one_on_another_node_is_refused_by_all_and_a_shared_one_is_left_clean(tmp_path):
    printed = launch(Path(__file__).parent / "run_folder.py", tmp_path)
    found = ast.literal_eval(next(line for line in printed.splitlines() if line.startswith("[[")))
    assert [told[1] for told in found] == [[], []]
    for told, _ in found:
        assert told.startswith("run: is not the same folder on ")
        assert "give a --training.output that all nodes share" in told
