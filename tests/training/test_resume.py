"""Contract 4: a checkpoint appears whole or not at all, and holds all that the next step depends on."""

import json
import sys
from pathlib import Path

import pytest

from tests.launch import launch

SCRIPT = Path(__file__).parent / "run_resume.py"
KINDS = ["ddp", "zero1", "zero2", "zero3"]
CHANGE = 2
"""Steps before the change of the world size."""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="DeepSpeed runs on Linux")


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> dict[str, dict]:
    """Results of every parallelism by world size and task: one launch serves all parallelisms."""
    folder = tmp_path_factory.mktemp("resume")
    for world, tasks in ((1, ["run"]), (2, ["run", "exact", "stopped", 1]), (1, [2])):
        # The script goes from one parallelism to the next by itself; the launcher only has to start DeepSpeed's group.
        launch(SCRIPT, folder, str(world), json.dumps(KINDS), json.dumps(tasks), processes=world, zero=1, timeout=900)
    return {file.stem: json.loads(file.read_text()) for file in folder.glob("*.json")}


@pytest.mark.parametrize("task", ["run", "exact"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_run_has_the_weights_of_the_uninterrupted_one_to_the_last_bit(results, kind, task):
    found = results[f"2-{task}"][kind]
    resumed = found["resumed"]
    assert resumed["losses"] == found["losses"][resumed["step"] :]
    assert resumed["weights"] == found["weights"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_is_stopped_in_an_evaluation_ends_with_the_weights_of_the_uninterrupted_one(results, kind):
    assert results["2-stopped"][kind] == {"step": 5, "weights": results["2-run"][kind]["weights"]}


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_with_a_flipped_bit_a_cut_or_a_missing_file_is_not_taken(results, kind):
    # These are the faults of the checkpoints after steps 13, 12 and 10.
    assert results["2-run"][kind]["resumed"]["step"] == 8


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_disk_of_one_rank_costs_one_checkpoint_and_no_step(results, kind):
    found = results["2-run"][kind]
    assert sorted(int(name.removeprefix("step-")) for name in found["steps"]) == [2, 6, 8, 10, 12, 13]
    assert len(found["losses"]) == 13


@pytest.mark.parametrize(("old", "new"), [(1, 2), (2, 1)])
@pytest.mark.parametrize("kind", KINDS)
def test_another_number_of_processes_continues_the_same_losses(results, kind, old, new):
    found = results[f"{new}-{old}"][kind]
    assert found["losses"] == pytest.approx(results[f"{old}-run"][kind]["losses"][CHANGE:], abs=1e-4)
    assert found["losses"] != results[f"{old}-run"][kind]["losses"][CHANGE:]
    assert found["decay"] == [0.01, 0.0]
    assert found["left"] == []
