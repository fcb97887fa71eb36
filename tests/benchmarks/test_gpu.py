"""The benchmark `gpu`, all of it on the CPU with tiny encoders: what a session with a GPU starts is known to run."""

import gzip
import json
import sys
import time
from types import SimpleNamespace

import pytest
import torch

pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")

from hybrid.models.save import save_encoder
from tests.benchmarks import gpu, gpu_search, training
from tests.benchmarks.__main__ import main
from tests.models.test_encoder import TEXTS, tiny, word_tokenizer

STEPS = "--steps 2 --cached_steps 2 --batch 4 --cached_batch 8 --cache_tokens 32"
FLAGS = f"--repeats 1 --length 24 --precision fp32 {STEPS}"
SEARCH = "--documents 3000 --dimensions 16 --queries 5"


@pytest.fixture
def squad(tmp_path, monkeypatch):
    """SQuAD's form: 16 paragraphs of different lengths."""
    paragraphs = [
        {"context": f"{' '.join(TEXTS)} " * (1 + n % 3) + str(n), "qas": [{"id": f"q{n}", "question": TEXTS[n % 4]}]}
        for n in range(16)
    ]
    (tmp_path / "data" / "squad").mkdir(parents=True)
    with gzip.open(tmp_path / "data" / "squad" / "train.en.json.gz", "wt") as file:
        json.dump({"data": [{"paragraphs": paragraphs}]}, file)
    monkeypatch.setenv("HYBRID_DATA", str(tmp_path / "data"))


@pytest.fixture
def here(in_this_process, monkeypatch):
    """Scripts run in this process, and the CPU counts as the device."""

    def run(script: str, work: dict, processes: int = 1) -> dict:
        assert work["gpu"], "a worker that is not told so sees no GPU"
        return in_this_process(script, work, processes)

    monkeypatch.setattr(training, "worker", run)
    monkeypatch.setattr(gpu, "worker", run)
    monkeypatch.setattr(gpu, "obstacle", lambda: None)


def measured(tmp_path, model_type: str, *flags: str) -> tuple[dict[str, dict], list[str]]:
    """Call the benchmark with a tiny encoder whose weights are random; returns cases by name, and notes."""
    encoder = tiny(model_type)
    encoder.backbone.config.save_pretrained(tmp_path / "shape")
    word_tokenizer().save_pretrained(tmp_path / "words")
    given = ["gpu", "--tokenizer", str(tmp_path / "words"), "--models", str(tmp_path / "shape"), *flags]
    assert main([*given, "--out", str(tmp_path / "out")]) == 0
    found = json.loads((tmp_path / "out" / "gpu.json").read_text())
    return {case["name"]: case for case in found["cases"]}, found["notes"]


@pytest.mark.parametrize(("model_type", "backend"), [("xlm-roberta", "eager"), ("mt5", "none")])
def test_both_sides_train_an_encoder_with_random_weights_on_the_same_loss(model_type, backend, squad, here, tmp_path):
    flags = [*FLAGS.split(), "--compile", backend, "--only", "train", "cached"]
    compiled = () if backend == "none" else (gpu.COMPILED,)
    cases, notes = measured(tmp_path, model_type, *flags)
    for label, sides in (("batch 4", (training.PEER, "hybrid", *compiled)), ("cached 8", (training.PEER, "hybrid"))):
        for side in sides:
            rates = [cases[f"{side}, shape, {label}, {unit}"] for unit in ("pairs/s", "tokens/s", "% MFU")]
            assert all(len(case["values"]) == 1 and case["memory_gb"] for case in rates)
            assert (rates[0]["ratio"] is None) == (side == training.PEER)
        assert sum(f"{label}: " in note and "loss of one batch" in note for note in notes) == 1
        assert any(f"{label}: " in note and "no padding" in note for note in notes)


def test_all_searches_find_the_same_documents(here, tmp_path):
    cases, notes = measured(tmp_path, "xlm-roberta", "--repeats", "2", "--only", "search", *SEARCH.split())
    assert len(cases) == 4
    assert all(len(case["values"]) == 2 and case["memory_gb"] is None for case in cases.values())
    assert "hybrid, faiss 100.0000%" in notes[1]


def test_models_one_at_a_time_go_into_one_table(squad, here, tmp_path):
    flags = [*FLAGS.split(), "--compile", "none", "--only", "train"]
    measured(tmp_path, "xlm-roberta", *flags)
    (tmp_path / "shape").rename(tmp_path / "first")
    cases, _ = measured(tmp_path, "xlm-roberta", *flags, "--append", "--models", str(tmp_path / "first"))
    assert [name.split(", ")[1] for name in cases] == ["shape"] * 6 + ["first"] * 6
    assert all(len(case["values"]) == 1 for case in cases.values())


def test_a_part_is_on_disk_before_the_next_one_begins(squad, here, tmp_path, monkeypatch):
    def stopped(given) -> None:
        raise TimeoutError("the lease is over")

    monkeypatch.setattr(gpu, "search_part", stopped)
    with pytest.raises(TimeoutError):
        measured(tmp_path, "xlm-roberta", *FLAGS.split(), "--compile", "none", "--only", "train", "search")
    assert len(json.loads((tmp_path / "out" / "gpu.json").read_text())["cases"]) == 6


def test_the_memory_of_a_search_is_its_own(monkeypatch):
    taken, emptied = [10**9], []
    monkeypatch.setattr(gpu_search, "device_bytes", lambda: taken[0])
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append(taken[0]))

    def make(keeps: int, needs: int) -> gpu_search.Find:
        taken[0] += keeps

        def find() -> None:
            taken[0] += needs
            time.sleep(0.1)
            taken[0] -= needs

        return find

    found = [
        gpu_search.set_up(lambda: make(20 * 10**9, 10**9), "cuda"),
        gpu_search.set_up(lambda: make(0, 10**9), "cuda"),
    ]
    assert [memory for _, memory in found] == [21.0, 1.0]
    assert emptied == [10**9, 21 * 10**9]


@pytest.mark.parametrize(
    ("module", "device", "reason"),
    [
        (None, "cpu", "it is not installed"),
        (SimpleNamespace(), "cuda", "what is installed knows no GPU"),
        (SimpleNamespace(get_num_gpus=lambda: 0), "cuda", "what is installed knows no GPU"),
        (SimpleNamespace(get_num_gpus=lambda: 1), "cuda", None),
        (SimpleNamespace(), "cpu", None),
    ],
)
def test_faiss_is_measured_where_it_has_the_device(monkeypatch, module, device, reason):
    monkeypatch.setitem(sys.modules, "faiss", module)
    assert gpu_search.without_faiss(device) == reason


def test_without_faiss_its_cases_are_left_out_with_a_note(here, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    cases, notes = measured(tmp_path, "xlm-roberta", "--repeats", "1", "--only", "search", *SEARCH.split())
    assert [name.rsplit(", search", 1)[0] for name in cases] == [gpu_search.OURS[0], gpu_search.PEER]
    assert cases[next(iter(cases))]["ratio"]
    assert any("no case of FAISS, it is not installed" in note for note in notes)


def test_a_side_that_the_memory_does_not_hold_is_named_and_the_other_is_measured(squad, here, tmp_path, monkeypatch):
    run = training.worker

    def full(script: str, work: dict, processes: int = 1) -> dict:
        if script == "train_peer.py" and "ids" not in work:
            raise training.OutOfMemory(script)
        return run(script, work, processes)

    monkeypatch.setattr(training, "worker", full)
    cases, notes = measured(tmp_path, "xlm-roberta", *FLAGS.split(), "--only", "cached")
    assert [name.split(",")[0] for name in cases] == ["hybrid"] * 3
    assert "shape, cached 8: sentence-transformers failed, or does not fit into the GPU's memory" in notes


def test_weights_that_are_there_are_measured_as_they_are(tmp_path):
    encoder = tiny("xlm-roberta")
    save_encoder(encoder, tmp_path / "model", "", 24)
    assert gpu.with_weights(str(tmp_path / "model"), "none", tmp_path / "other", 24) == str(tmp_path / "model")
    assert not (tmp_path / "other").exists()


def test_a_machine_without_a_cuda_device_is_refused_in_a_sentence(capsys):
    assert main(["gpu", "--tokenizer", "none"]) == 2
    assert "gpu measures a CUDA device, but there is no CUDA device here" in capsys.readouterr().err
