"""A study end to end as users start it, and what is left to do of runs that did not end."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from mlflow.tracking import MlflowClient

from hybrid.runtime.errors import InputError
from hybrid.studies.data import data_tables
from hybrid.studies.jobs import Choice, check_same, resolve
from hybrid.studies.record import journal
from hybrid.studies.report import read_runs, report
from hybrid.studies.run import commands, locked, log_file, print_commands, shown
from hybrid.studies.study import read_study
from tests.launch import ROOT, environment
from tests.studies.conftest import LANGUAGES, QUESTIONS, STUDY, TASK, write_result


def study_file(folder: Path) -> Path:
    """Write a study of an arm that is trained, and the same encoder scored as it is."""
    asked = {"task": TASK, "setting": "multilingual", "measure": "map", "of": ["trained"], "against": ["as-it-is"]}
    model = {"name": str(folder / "runs" / "trained-s0" / "model"), "from_scratch": None}
    shipped = read_study("batching").scales["tiny"]
    scale = {"base": shipped.base, "tasks": shipped.tasks, "data_dir": shipped.data_dir}
    value = STUDY | {
        "arms": {
            "trained": {"about": "six steps", "recipe": {"training": {"steps": 6}}},
            "as-it-is": {"zero_shot": True, "recipe": {"model": model}},
        },
        "comparisons": [asked, asked | {"of": ["as-it-is"], "against": ["trained"]}],
        "scales": {"tiny": scale | {"notes": ["The figures mean nothing."]}},
    }
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(value, sort_keys=False))
    return path


def studies(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "hybrid.studies", "run", str(folder / "mine.yaml"), "--scale", "tiny"]
    command += ["--runs_dir", str(folder / "runs"), "--reports_dir", str(folder / "reports"), *arguments]
    variables = {"MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}", "XDG_CACHE_HOME": str(folder / "cache")}
    done = subprocess.run(
        command, cwd=ROOT, env=environment(**variables), capture_output=True, text=True, timeout=1500, check=False
    )
    logs = "".join(path.read_text()[-2000:] for path in (folder / "runs").glob("logs/*"))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:] + logs
    return done.stdout


@pytest.mark.timeout(3000)
def test_a_study_runs_what_is_not_done_reports_it_and_is_one_family_in_mlflow(tmp_path):
    study_file(tmp_path)
    printed = studies(tmp_path, "--accelerate", "one_process")
    assert "trained-s0: run 1 of 2" in printed
    assert "world size 1" in (tmp_path / "runs" / "logs" / "trained-s0.log").read_text()
    report = (tmp_path / "reports" / "mine-tiny.md").read_text()
    for part in (
        "Does it?",
        "The spread allows no answer.",
        "The figures mean nothing.",
        "six steps",
        "sample",
        "--seeds 1 --accelerate one_process",
    ):
        assert part in report
    plots = re.findall(r"!\[.*?\]\((.*?)\)", report)
    assert plots
    assert all((tmp_path / "reports" / plot).stat().st_size > 1000 for plot in plots)
    scores = next((tmp_path / "runs" / "trained-s0").rglob(f"{TASK}/scores.json"))
    mean = json.loads(scores.read_text())["settings"]["multilingual"]["measures"]["map"]["mean"]
    for arm in ("trained", "as-it-is"):
        assert re.search(rf"\| map {arm} +\| {mean:.4f} \|", report)
    again = studies(tmp_path, "--accelerate", "one_process")
    assert "run 1 of" not in again
    assert (tmp_path / "reports" / "mine-tiny.md").read_text() == report
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("hybrid").experiment_id])
    parents = [run for run in runs if run.data.tags["job"] == "study"]
    children = [run for run in runs if run.data.tags["job"] != "study"]
    assert len(parents) == 1
    assert {run.data.tags["arm"] for run in children} == {"trained", "as-it-is"}
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parents[0].info.run_id}
    assert parents[0].data.metrics[f"trained/{TASK}/multilingual/map"] == pytest.approx(mean)
    assert "mine-tiny.md" in {item.path for item in client.list_artifacts(parents[0].info.run_id)}


@pytest.fixture
def choice(tmp_path) -> Choice:
    return Choice("tiny", tmp_path / "runs", 1)


@pytest.fixture
def job(written, choice):
    study = written("scales", "tiny", "tasks", to=["parallel-paragraphs:sample/heldout.*.json"])
    return resolve(study, choice)[0]


def flags(job, choice) -> list[str]:
    return [argument for argument in commands(job, choice, "any.yaml")[0] if argument in ("--resume", "--overwrite")]


def test_a_run_starts_goes_on_from_its_checkpoint_or_starts_anew_if_it_was_ours(job, choice):
    assert flags(job, choice) == []
    job.folder.mkdir(parents=True)
    (job.folder / "tracking.jsonl").write_text("")
    with pytest.raises(InputError, match="this command did not start"):
        commands(job, choice, "any.yaml")
    log_file(job, choice).parent.mkdir(parents=True)
    log_file(job, choice).write_text("started")
    assert flags(job, choice) == ["--overwrite"]
    (job.folder / "checkpoints" / "step-3").mkdir(parents=True)
    assert flags(job, choice) == ["--resume"]


def test_a_finished_training_without_a_tasks_scores_is_only_scored(job, choice):
    job.folder.mkdir(parents=True)
    (job.folder / "finished.json").write_text("{}")
    (only,) = commands(job, choice, "any.yaml")
    assert "evaluate.py" in only
    told = yaml.safe_load(Path(only[-1]).read_text())
    assert told["model"] == [str(job.config.folder / "model")]
    assert told["tasks"] == job.tasks
    scored = job.folder / "results" / "after" / TASK
    scored.mkdir(parents=True)
    (scored / "scores.json").write_text("{}")
    assert job.done()
    assert commands(job, choice, "any.yaml") == []


def test_runs_that_were_scored_without_the_reader_are_scored_with_it_and_not_trained_again(written, tmp_path):
    study = written("scales", "tiny", to=STUDY["scales"]["tiny"] | {"tasks": ["mlqa"], "comparisons": []})

    def job(reader: str | None):
        return resolve(study, Choice("tiny", tmp_path / "runs", 1, reader=reader))[0]

    def scored(stage: str, reader: str | None) -> None:
        place = job(None).folder / "results" / stage / "mlqa"
        place.mkdir(parents=True, exist_ok=True)
        (place / "scores.json").write_text(json.dumps({"evaluation": {"reader": reader}}))

    scored("after", None)
    (job(None).folder / "config.yaml").write_text(job(None).config.text)
    (job(None).folder / "finished.json").write_text("{}")
    assert job(None).done()
    for reader in ("one", "another"):
        check_same(job(reader))
        assert job(reader).trained
        assert job(reader).unscored() == ["mlqa"]
        (only,) = commands(job(reader), Choice("tiny", tmp_path / "runs", 1, reader=reader), "any.yaml")
        assert yaml.safe_load(Path(only[-1]).read_text())["evaluation"]["reader"] == reader
        scored("model-1", reader)
        assert job(reader).done()
    assert job(None).done()


def test_scores_of_the_encoder_before_its_training_are_no_scores_of_the_run(job, choice):
    write_result(job.folder / "results" / "before" / TASK, np.ones((QUESTIONS, len(LANGUAGES)), int), TASK)
    (job.folder / "finished.json").write_text("{}")
    assert (job.unscored(), job.done()) == (job.tasks, False)
    assert "evaluate.py" in commands(job, choice, "any.yaml")[0]
    write_result(job.folder / "results" / "model-1" / TASK, np.ones((QUESTIONS, len(LANGUAGES)), int), TASK)
    assert job.done()


def test_a_study_reads_its_arms_on_the_articles_that_were_held_out(written, choice):
    study = written("scales", "tiny", "tasks", to=["parallel-paragraphs:sample/heldout.*.json"])
    for each in resolve(study, choice):
        each.folder.mkdir(parents=True)
        (each.folder / "finished.json").write_text("{}")
        for place in (f"after/{TASK}", "dev/dev"):
            write_result(each.folder / "results" / place, np.ones((QUESTIONS, len(LANGUAGES)), int))
    assert {frozenset(arm.tasks) for arm in read_runs(study, choice).recipes.values()} == {frozenset({TASK, "dev"})}


def test_what_a_task_shares_with_the_training_data_stands_beside_each_of_its_figures(written, choice, tmp_path):
    asked = {"task": TASK, "setting": "monolingual", "measure": "map", "of": ["first"], "against": ["second"]}
    scale = STUDY["scales"]["tiny"] | {"tasks": ["parallel-paragraphs:sample/heldout.*.json"], "comparisons": [asked]}
    study = written("scales", "tiny", to=scale | {"beside": {TASK: "its passages were trained on"}})
    assert study.scales["tiny"].beside_of(f"{TASK}-lir") == f"{TASK}-lir: its passages were trained on."
    for each in resolve(study, choice):
        write_result(each.folder / "results" / TASK, np.ones((QUESTIONS, len(LANGUAGES)), int), TASK)
        (each.folder / "finished.json").write_text("{}")
    lines = report(study, choice, tmp_path / "reports")[0].read_text().splitlines()
    figures = [line for line in lines if re.search(r"On \S+, monolingual|^!\[|^Differences", line)]
    assert len(figures) >= 3, "answer, table and plots"
    assert all(f"({TASK}: its passages were trained on.)" in line for line in figures)


def test_printed_commands_are_those_that_run_and_their_files_resolve_to_the_arm(job, choice):
    (arguments,) = commands(job, choice, "accelerate_configs/one_process.yaml")
    assert shown(arguments).startswith("accelerate launch --config_file accelerate_configs/one_process.yaml train.py")
    assert Path(arguments[-1]).read_text() == job.config.text


def test_a_run_that_cannot_be_started_keeps_no_other_from_being_printed(written, choice, capsys):
    first, second = jobs = resolve(written(), choice)
    first.folder.mkdir(parents=True)
    (first.folder / "tracking.jsonl").write_text("")
    assert print_commands(jobs, choice, "any.yaml") == [first.name]
    printed = capsys.readouterr()
    assert [line.rpartition("/")[2] for line in printed.out.splitlines()] == [f"{second.name}.yaml"]
    assert f"{first.name}: {first.folder}: holds a run without an end" in printed.err
    assert print_commands([], choice, "any.yaml") == []
    assert "nothing to print" in capsys.readouterr().err


def test_two_commands_never_run_the_same_runs_at_once(choice):
    with locked(choice), pytest.raises(InputError, match="another command runs this study"), locked(choice):
        pass
    with locked(choice):
        assert os.path.exists(choice.runs / ".lock")


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").exists() and Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"


COMMAND = """
import signal, sys
from pathlib import Path
from hybrid.studies.jobs import Choice
from hybrid.studies.report import read_runs, report
from hybrid.studies.run import launched, locked
for number in (signal.SIGTERM, signal.SIGINT):  # a shell that starts jobs behind it ignores SIGINT for them
    signal.signal(number, signal.default_int_handler)
runs = Path(sys.argv[1])
with locked(Choice("tiny", runs, 1)) as lock, open(runs / "log", "w") as log:
    launched([sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(600)"], log, lock)
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGKILL"])
def test_a_command_that_is_ended_ends_its_run_or_leaves_it_the_lock(choice, name):
    """Else the next command would remove the folder of a run that is still training."""
    command = subprocess.Popen([sys.executable, "-c", COMMAND, str(choice.runs)], cwd=ROOT, stderr=subprocess.DEVNULL)
    log, deadline = choice.runs / "log", time.monotonic() + 60
    while not (log.exists() and log.read_text().strip()) and time.monotonic() < deadline:
        time.sleep(0.05)
    run = int(log.read_text())
    command.send_signal(signal.Signals[name])
    command.wait(30)
    if name == "SIGKILL":
        with pytest.raises(InputError, match="a run that one left"), locked(choice):
            pass
        os.kill(run, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while alive(run) and time.monotonic() < deadline:
            time.sleep(0.05)
    assert not alive(run)
    with locked(choice):
        pass


def test_pauses_between_the_parts_of_a_run_are_no_running_time(tmp_path):
    events = [("begin", 0), ("params", 1), ("metrics", 60), ("begin", 5000), ("metrics", 5030), ("end", 5040)]
    events += [("metrics", 9000)]  # added by an evaluation
    lines = [json.dumps({"kind": kind, "time": 1000 * time, "values": {"a": "1"}}) for kind, time in events]
    (tmp_path / "tracking.jsonl").write_text("\n".join(lines))
    assert journal(tmp_path) == ({"a": "1"}, 100.0)


def test_the_report_counts_what_was_left_out_of_each_training_set_for_each_benchmark(tmp_path):
    counts = {"id": "3", "question": "2", "passage": "1", "any": "4"}
    values = {"digest.squad": "d" * 32, "digest.unused": "e" * 32, "train_items/squad": "96", "digest.web": "f" * 32}
    values |= {f"leakage/xquad-r/squad/{how}": count for how, count in counts.items()}
    (tmp_path / "tracking.jsonl").write_text(json.dumps({"kind": "params", "time": 0, "values": values}))
    drawn = [{"dataset": name, "query": "en", "passage": "en"} for name in ("squad", "web")]
    (tmp_path / "mixture.json").write_text(json.dumps(drawn))
    table = data_tables({"hybrid": [SimpleNamespace(arm="hybrid", folder=tmp_path)]})
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    assert ["squad", "d" * 12, "96", "xquad-r 4 (3 by id, 2 by question, 1 by passage)", "hybrid"] in rows
    assert ["web", "f" * 12, "-", "held against no set", "hybrid"] in rows
    assert "unused" not in table
