"""Files that appear whole or not at all, and what is told when the disk is full."""

import resource
from contextlib import contextmanager

import pytest
import torch
from safetensors.torch import save_file

from hybrid.runtime.files import atomic_file, atomic_folder, disk_fault
from hybrid.runtime.logs import bad_input_told


@contextmanager
def full_disk():
    """A limit on the size of files, which a full disk is to whoever writes them.

    It holds for this process's standard output too where that is a file, so it is gone before pytest prints again.
    """
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_file_that_cannot_be_finished_leaves_the_old_one_and_nothing_beside_it(tmp_path):
    (tmp_path / "file").write_text("old")
    with full_disk(), pytest.raises(OSError, match="File too large") as raised, atomic_file(tmp_path / "file") as file:
        file.write("x" * 5000)
    assert "File too large" in disk_fault(raised.value)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("file", "old")]


def test_the_disk_is_told_as_the_cause_where_a_library_raises_its_own_error(tmp_path):
    with full_disk(), pytest.raises(Exception, match="os error") as raised, atomic_folder(tmp_path / "model") as folder:
        save_file({"weight": torch.zeros(1000)}, folder / "model.safetensors")
    assert disk_fault(raised.value) == "the disk: File too large"
    assert list(tmp_path.iterdir()) == []


def test_other_errors_are_not_the_disk_s():
    assert disk_fault(ValueError("no space for doubt")) is None
    assert disk_fault(FileNotFoundError(2, "No such file or directory", "x")) is None


def test_a_command_that_meets_a_full_disk_ends_in_a_sentence_and_other_errors_stay(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended, full_disk(), bad_input_told():
        (tmp_path / "file").write_text("x" * 5000)
    assert ended.value.code == 2
    assert (
        "File too large; make room there or name another place, and give the command again." in capsys.readouterr().out
    )
    with pytest.raises(ZeroDivisionError), bad_input_told():
        raise ZeroDivisionError
