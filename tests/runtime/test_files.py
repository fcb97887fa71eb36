"""Files that appear whole or not at all, and what is told when the disk is full."""

import resource

import pytest
import torch
from safetensors.torch import save_file

from hybrid.runtime.files import atomic_file, atomic_folder, disk_fault


@pytest.fixture
def full_disk(tmp_path):
    """A limit on the size of files, which a full disk is to whoever writes them."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    yield tmp_path
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_file_that_cannot_be_finished_leaves_the_old_one_and_nothing_beside_it(full_disk):
    (full_disk / "file").write_text("old")
    with pytest.raises(OSError, match="File too large") as raised, atomic_file(full_disk / "file") as file:
        file.write("x" * 5000)
    assert "File too large" in disk_fault(raised.value)
    assert [(path.name, path.read_text()) for path in full_disk.iterdir()] == [("file", "old")]


def test_the_disk_is_told_as_the_cause_where_a_library_raises_its_own_error(full_disk):
    with pytest.raises(Exception, match="os error") as raised, atomic_folder(full_disk / "model") as folder:
        save_file({"weight": torch.zeros(1000)}, folder / "model.safetensors")
    assert disk_fault(raised.value) == "the disk: File too large"
    assert list(full_disk.iterdir()) == []


def test_other_errors_are_not_the_disk_s():
    assert disk_fault(ValueError("no space for doubt")) is None
    assert disk_fault(FileNotFoundError(2, "No such file or directory", "x")) is None
