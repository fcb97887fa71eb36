"""What is printed costs no job."""

import io
import sys

import pytest

from hybrid.runtime.logs import bad_input_told, log, warn


class OnFullDisk(io.StringIO):
    """A log file."""

    def flush(self) -> None:
        """Fail as a write to a full disk does."""
        raise OSError(28, "No space left on device")


def test_a_line_that_finds_no_room_in_its_file_does_not_end_the_job(monkeypatch):
    monkeypatch.setattr(sys, "stdout", OnFullDisk())
    monkeypatch.setattr(sys, "stderr", OnFullDisk())
    log("a")
    warn("b")
    with pytest.raises(SystemExit, match="2"), bad_input_told():
        raise OSError(28, "No space left on device")
