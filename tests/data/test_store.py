"""The token store: every text once, the same however it is built, whole or not there."""

import errno
import fcntl
import os
import signal
import sys
import threading
import time
import tracemalloc
from pathlib import Path
from subprocess import PIPE, Popen
from types import SimpleNamespace

import numpy as np
import pytest

from hybrid.data import cache
from hybrid.data import store as store_module
from hybrid.data.cache import built_once
from hybrid.data.config import DatasetConfig, LeakageConfig
from hybrid.data.store import token_store
from hybrid.data.texts import Texts
from hybrid.runtime import processes
from hybrid.runtime.errors import InputError
from hybrid.runtime.watchdog import _place
from tests.data.toy import ARTICLES, TRANSLATED, make_corpus, squad, write

ROOT = Path(__file__).parents[2]
BUILD = """
import sys, time
from pathlib import Path
from subprocess import PIPE, Popen
from hybrid.data.cache import built_once
def build(folder):
    with open(sys.argv[2], "a") as log: print("built", file=log)
    (folder / "half").write_text("x"); time.sleep(float(sys.argv[3])); (folder / "whole").write_text("x")
print((built_once(Path(sys.argv[1]), build) / "whole").exists())
"""


def tokens_of(store, corpus: int, texts) -> list[list[int]]:
    ids, lengths = store.tokens(corpus, np.array(texts))
    return [part.tolist() for part in np.split(ids, np.cumsum(lengths)[:-1])]


def test_every_text_has_its_tokens_without_special_ones(toy, tokenizer, tmp_path):
    store = token_store([toy], tokenizer, tmp_path)
    expected = tokenizer(list(toy.texts), add_special_tokens=False)["input_ids"]
    assert tokens_of(store, 0, range(len(toy.texts))) == expected
    backwards = np.arange(len(toy.texts))[::-1]
    assert tokens_of(store, 0, backwards) == expected[::-1]


def test_processes_give_the_store_that_one_process_gives(tmp_path, tokenizer, monkeypatch):
    articles = {
        f"A{n}": [(f"Text {n} of many. " * 9 + "End.", [(str(n), f"Question {n}?", f"Text {n}")])] for n in range(300)
    }
    corpus = make_corpus(tmp_path, {"en": articles})
    one = token_store([corpus], tokenizer, tmp_path / "one")
    monkeypatch.setattr(store_module, "cores", lambda: 3)
    monkeypatch.setattr(store_module, "PART_BYTES", 9000)
    started = []
    monkeypatch.setattr(
        store_module, "Popen", lambda *command, **pipes: started.append(Popen(*command, **pipes)) or started[-1]
    )
    many = token_store([corpus], tokenizer, tmp_path / "many")
    assert len(started) == 3
    assert (one.ids[0] == many.ids[0]).all()
    assert (one.ends[0] == many.ends[0]).all()


def test_the_memory_of_a_build_does_not_grow_with_the_number_of_texts(tmp_path, tokenizer, monkeypatch):
    monkeypatch.setattr(store_module, "PART_BYTES", 1 << 14)
    monkeypatch.setattr(store_module, "cores", lambda: 1)

    def peak(count: int) -> int:
        folder = tmp_path / str(count)
        folder.mkdir()
        (folder / "texts.utf8").write_bytes(b"the cat " * count)
        np.save(folder / "texts.ends.npy", np.arange(1, count + 1) * len("the cat "))
        np.save(folder / "texts.digests.npy", np.zeros((0, 2), np.uint64))
        corpus = SimpleNamespace(name="many", texts=Texts(folder), texts_digest=str(count))
        tracemalloc.start()
        store = token_store([corpus], tokenizer, tmp_path / "cache")
        held = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        lengths = store.tokens(0, np.arange(count))[1]
        assert len(lengths) == count
        assert (lengths == lengths[0]).all()
        return held

    few, many = 5_000, 30_000
    assert peak(many) - peak(few) < 4 * (many - few)


def test_truncation_and_padding_left_on_by_a_call_change_nothing(toy, tokenizer, tmp_path):
    first = token_store([toy], tokenizer, tmp_path)
    tokenizer(["a b c d e f", "a"], truncation=True, max_length=4, padding=True)
    assert token_store([toy], tokenizer, tmp_path).folders == first.folders


def test_another_corpus_costs_only_its_own_tokens(tmp_path, toy, tokenizer):
    other = make_corpus(tmp_path / "other", {"en": {"Tea": ARTICLES["Tea"]}})
    first = token_store([toy], tokenizer, tmp_path)
    assert token_store([toy, other], tokenizer, tmp_path).folders[0] == first.folders[0]
    assert make_corpus(tmp_path / "same", {"en": ARTICLES, "de": TRANSLATED}).texts_digest == toy.texts_digest


def test_processes_that_start_together_build_once(tmp_path):
    log = tmp_path / "log"
    command = [sys.executable, "-c", BUILD, str(tmp_path / "store"), str(log), "0.5"]
    running = [Popen(command, cwd=ROOT, stdout=PIPE, text=True) for _ in range(3)]
    assert [process.communicate(timeout=60)[0].strip() for process in running] == ["True"] * 3
    assert log.read_text().splitlines() == ["built"]


def test_a_killed_build_leaves_nothing_that_is_used(tmp_path):
    log = tmp_path / "log"
    process = Popen([sys.executable, "-c", BUILD, str(tmp_path / "store"), str(log), "60"], cwd=ROOT)
    deadline = time.monotonic() + 30
    while not log.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "store").exists()
    built_once(tmp_path / "store", lambda folder: (folder / "whole").write_text("y"))
    assert [path.name for path in (tmp_path / "store").iterdir()] == ["whole"]


def test_a_failed_build_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError, match="half-way"):
        built_once(tmp_path / "store", _fail)
    assert [path.name for path in tmp_path.iterdir()] == ["store.lock"]


def test_reading_and_comparing_get_on_all_the_time(tmp_path, monkeypatch):
    """Else the watchdog takes a job that reads for longer than stall_seconds for one that hangs."""
    monkeypatch.setattr(cache, "OFTEN", 1)
    rows = sum(len(qas) for content in ARTICLES.values() for _, qas in content)
    before = _place.ticks
    make_corpus(tmp_path, {"en": ARTICLES})
    read = _place.ticks - before
    assert read > rows
    fresh = write(tmp_path / "fresh.json", squad({"F": [("Snow fell.", [("f", "What fell?", "Snow")])]}))
    leakage = LeakageConfig(against={"bench": DatasetConfig(files={"en": fresh})})
    make_corpus(tmp_path, {"en": ARTICLES}, leakage=leakage)
    assert _place.ticks - before - read > 2 * rows


def test_a_process_that_waits_gets_on_as_the_one_that_builds_does(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "WAIT_SECONDS", 0.01)
    path = tmp_path / "store.lock"
    with open(path, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        waiter = threading.Thread(target=built_once, args=(tmp_path / "store", lambda folder: None))
        waiter.start()
        time.sleep(0.2)
        before = _place.ticks
        time.sleep(0.2)
        assert _place.ticks == before, "the one that builds hangs"
        os.utime(path)
        time.sleep(0.2)
        assert _place.ticks == before + 1
    waiter.join(10)
    assert (tmp_path / "store").exists()


def test_a_build_is_left_when_the_job_is_asked_to_stop(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "OFTEN", 1)

    def build(folder: Path) -> None:
        for number in cache.counted(range(9)):
            assert number < 3
            if number == 2:
                monkeypatch.setattr(processes._Stop, "reason", "SIGTERM")

    with pytest.raises(processes.Interrupted):
        built_once(tmp_path / "store", build)
    assert [path.name for path in tmp_path.iterdir()] == ["store.lock"]


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match=r"cannot be written .* set data\.cache"):
        built_once(tmp_path / "file" / "store", lambda folder: None)


def test_a_full_disk_is_one_sentence(tmp_path):
    def fill(folder: Path) -> None:
        raise OSError(28, os.strerror(28), str(folder / "tokens"))

    with pytest.raises(InputError, match=r"No space left on device.*free space there"):
        built_once(tmp_path / "store", fill)


def test_a_file_system_without_locks_is_told_and_what_another_process_has_built_is_kept(tmp_path, monkeypatch, capsys):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    def build(folder: Path) -> None:
        (folder / "whole").write_text("late")
        (tmp_path / "store").mkdir()
        (tmp_path / "store" / "whole").write_text("first")

    monkeypatch.setattr(cache.fcntl, "flock", refuse)
    built_once(tmp_path / "store", build)
    assert (tmp_path / "store" / "whole").read_text() == "first"
    assert "store.lock: cannot be locked (No locks available)" in capsys.readouterr().err
    assert sorted(file.name for file in tmp_path.iterdir()) == ["store", "store.lock"]


def test_a_slow_tokenizer_is_refused(toy, tmp_path):
    class Slow:
        is_fast, name_or_path = False, "somewhere"

    with pytest.raises(InputError, match="somewhere: its tokenizer is Slow"):
        token_store([toy], Slow(), tmp_path)


def _fail(folder: Path) -> None:
    (folder / "part").write_text("x")
    raise RuntimeError("half-way")


def test_a_signal_to_all_processes_ends_none_that_tokenises():
    code = """
import os, signal
from hybrid.data import store
store.Texts = print
store.tokenise_parts = lambda *_: (os.kill(os.getpid(), signal.SIGUSR1), os.kill(os.getpid(), signal.SIGINT), [7])[2]
store._worker("folder", "texts", "1")
"""
    process = Popen([sys.executable, "-c", code], cwd=ROOT, stdout=PIPE, text=True)
    assert process.communicate(timeout=60)[0].splitlines()[-1] == "7"
    assert process.returncode == 0
