"""The entry point: the command of the README scores a model, shows it the second time, and refuses bad input."""

import json
import re
import signal
import sys
from collections import namedtuple
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from mlflow import MlflowClient

import evaluate
import train
from hybrid.config import read_config
from hybrid.evaluation import vectors
from hybrid.models.save import save_encoder
from hybrid.runtime.tracking import JOURNAL, Tracker, TrackingConfig
from tests.evaluation.run_evaluate import SHARD
from tests.launched import Launched, statuses

Corpus = namedtuple("Corpus", "name languages digest")
SAMPLE = Path(__file__).parents[2] / "hybrid" / "sample"


@pytest.fixture
def arguments(encoder, tmp_path, monkeypatch):
    # Signals stay pytest's.
    monkeypatch.setattr(evaluate, "listen", lambda: None)
    for name in ("one", "two"):
        save_encoder(encoder, tmp_path / "models" / name, "card", 32)
    encoding = ["--evaluation.encoding.precision", "fp32", "--evaluation.run_depth", "0"]
    places = ["--data_dir", str(SAMPLE), "--out_dir", str(tmp_path / "out"), "--tracking.enabled", "false"]
    return [
        "--model",
        str(tmp_path / "models" / "*"),
        "--tasks",
        "parallel:heldout.{language}.json",
        *places,
        *encoding,
    ]


def test_the_command_scores_every_model_and_only_shows_it_the_second_time(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["evaluate.py", *arguments])
    evaluate.main()
    first = capsys.readouterr().out
    folders = sorted((tmp_path / "out").iterdir())
    assert [folder.name.split("-")[0] for folder in folders] == ["one", "two"]
    metrics = json.loads((folders[0] / "parallel-heldout" / "scores.json").read_text())["settings"]
    assert f"{metrics['multilingual']['measures']['map']['mean']:.4f}" in first
    evaluate.main()
    again = capsys.readouterr().out
    assert "encoded in" not in again
    assert again.count("taken from") == 2
    assert again.count("parallel-heldout/multilingual") == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--tasks", "xquadr"], "'xquadr' is not known, did you mean 'xquad-r'"),
        (["--model", "no/such/*"], "'no/such/*' matches no directory"),
        (["--data_dir", "nowhere"], "there is nothing at nowhere"),
        (["--model", str(SAMPLE)], "sample: holds no config.json and no modules.json"),
        (["--model", "/no/such/model"], "/no/such/model: no such directory"),
        (["--encoder.lora.rank", "-1"], "model.lora: rank is -1 and alpha 32.0; give positive numbers"),
        (["--encoder.name", "other"], "--encoder.name is other, but what is scored is given as --model"),
    ],
)
def test_bad_input_is_told_in_one_sentence_with_status_two(arguments, monkeypatch, capsys, change, message):
    monkeypatch.setattr(sys, "argv", ["evaluate.py", *arguments, *change])
    with pytest.raises(SystemExit, match="2"):
        evaluate.main()
    assert message in capsys.readouterr().out


def test_a_bad_model_is_told_before_another_is_scored_or_a_task_is_read(arguments, tmp_path, monkeypatch, capsys):
    for name in ("evaluate_target", "load_tasks"):
        monkeypatch.setattr(evaluate, name, None)
    models = ["--model", str(tmp_path / "models" / "one"), str(SAMPLE)]
    monkeypatch.setattr(sys, "argv", ["evaluate.py", *arguments, *models])
    with pytest.raises(SystemExit, match="2"):
        evaluate.main()
    assert "holds no config.json" in capsys.readouterr().out


def test_tasks_are_read_where_ranks_are_known_so_that_one_of_them_warns(arguments, monkeypatch):
    order, start, load = [], evaluate.start, evaluate.load_tasks
    monkeypatch.setattr(evaluate, "start", lambda *given, **more: order.append("start") or start(*given, **more))
    monkeypatch.setattr(evaluate, "load_tasks", lambda *given: order.append("load") or load(*given))
    monkeypatch.setattr(evaluate, "evaluate_target", lambda *_: None)
    evaluate.evaluate(evaluate.read_arguments(arguments))
    assert order == ["start", "load"]


@pytest.fixture
def run(arguments, mlflow_uri, tmp_path):
    """A finished MLflow run with a model in its folder, and a command that scores it."""
    client = MlflowClient(tracking_uri=mlflow_uri)
    experiment = client.get_experiment_by_name("e").experiment_id
    run = client.create_run(experiment, run_name="trained", tags={"folder": str(tmp_path / "models")}).info.run_id
    client.log_param(run, "training.steps", 7)
    client.log_metric(run, "train/loss", 1.0, step=7)
    client.set_terminated(run, "KILLED", end_time=1_700_000_000_000)
    (tmp_path / "models" / "two").rename(tmp_path / "two")
    rest = arguments[arguments.index("--tasks") : arguments.index("--tracking.enabled")]
    settings = ["--evaluation.encoding.precision", "fp32", "--evaluation.run_depth", "0", "--tracking.uri", mlflow_uri]
    return client, run, [*rest, *settings, "--tracking.experiment", "e"]


@pytest.mark.parametrize("place", ["folder", "artifacts"])
def test_the_models_of_a_run_are_scored_and_the_run_gets_the_scores(run, tmp_path, monkeypatch, capsys, place):
    client, run_id, rest = run
    if place == "artifacts":
        client.log_artifacts(run_id, str(tmp_path / "models" / "one"), "one")
        client.set_tag(run_id, "folder", str(tmp_path / "gone"))
    for name in ("trained", run_id):
        monkeypatch.setattr(sys, "argv", ["evaluate.py", "--mlflow_run", name, *rest])
        evaluate.main()
    found = client.get_run(run_id)
    assert len(client.search_runs([found.info.experiment_id])) == 1
    assert (found.info.status, found.info.end_time) == ("KILLED", 1_700_000_000_000)
    (history,) = {(m.step, m.value) for m in client.get_metric_history(run_id, "parallel-heldout/multilingual/map")}
    assert history[0] == 7
    assert f"{history[1]:.4f}" in capsys.readouterr().out
    names = {item.path for item in client.list_artifacts(run_id, "results/evaluate/parallel-heldout")}
    assert {"results/evaluate/parallel-heldout/scores.json", "results/evaluate/parallel-heldout/map.png"} <= names


def test_the_scores_of_a_run_that_was_lengthened_stand_at_its_new_last_step(run, tmp_path, monkeypatch):
    client, run_id, rest = run
    journal = Tracker(tmp_path / "trained", "trained", TrackingConfig(uri=client.tracking_uri), run_id)
    journal.params({"training.steps": 9})
    journal.close()
    monkeypatch.setattr(
        evaluate,
        "evaluate_encoder",
        lambda encoder, tasks, folder, *_: (folder / "dev").mkdir(parents=True) or {"dev/map": 0.5},
    )
    monkeypatch.setattr(sys, "argv", ["evaluate.py", "--mlflow_run", run_id, *rest])
    evaluate.main()
    assert [metric.step for metric in client.get_metric_history(run_id, "dev/map")] == [9]


def test_the_tables_that_figures_come_from_are_logged_with_them(run, monkeypatch):
    client, run_id, rest = run

    def scored(encoder, tasks, folder, *_):
        (folder / "bucc").mkdir(parents=True)
        for name in ("scores.json", "candidates.parquet", "forward.run"):
            (folder / "bucc" / name).write_text("{}")
        return {"bucc/forward/f1": 0.5}

    monkeypatch.setattr(evaluate, "evaluate_encoder", scored)
    monkeypatch.setattr(sys, "argv", ["evaluate.py", "--mlflow_run", run_id, *rest])
    evaluate.main()
    names = {item.path.rsplit("/", 1)[1] for item in client.list_artifacts(run_id, "results/evaluate/bucc")}
    assert names == {"scores.json", "candidates.parquet"}


def test_of_a_run_with_several_models_each_has_its_name_before_its_scores(run, tmp_path, monkeypatch):
    client, run_id, rest = run
    (tmp_path / "two").rename(tmp_path / "models" / "two")
    monkeypatch.setattr(sys, "argv", ["evaluate.py", "--mlflow_run", run_id, *rest])
    evaluate.main()
    metrics = client.get_run(run_id).data.metrics
    assert {"one/parallel-heldout/monolingual/map", "two/parallel-heldout/monolingual/map"} <= metrics.keys()


@pytest.mark.parametrize(
    ("place", "message"),
    [("untrained", "the name of no run in MLflow"), ("trained", "run trained has no model: neither in its folder")],
)
def test_a_run_that_is_unknown_or_has_no_model_is_refused(run, tmp_path, monkeypatch, capsys, place, message):
    client, run_id, rest = run
    client.set_tag(run_id, "folder", str(tmp_path / "gone"))
    monkeypatch.setattr(sys, "argv", ["evaluate.py", "--mlflow_run", place, *rest])
    with pytest.raises(SystemExit, match="2"):
        evaluate.main()
    assert message in capsys.readouterr().out


def test_the_models_in_the_folder_of_a_run_that_another_has_replaced_are_not_taken_for_its_own(
    run, tmp_path, monkeypatch, capsys
):
    _, run_id, rest = run
    (tmp_path / "models" / "tracking.json").write_text(json.dumps({"run_id": "another", "offset": 0}))
    monkeypatch.setattr(sys, "argv", ["evaluate.py", "--mlflow_run", run_id, *rest])
    with pytest.raises(SystemExit, match="2"):
        evaluate.main()
    assert "where another run has taken its place" in capsys.readouterr().out


def test_an_evaluation_that_fails_ends_its_run_as_failed(run, tmp_path, monkeypatch):
    client, _, rest = run
    monkeypatch.setattr(sys, "argv", ["evaluate.py", "--model", str(tmp_path / "two"), *rest])
    monkeypatch.setattr(evaluate, "evaluate_encoder", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        evaluate.main()
    (found,) = [run for run in client.search_runs(["1"]) if run.info.run_name != "trained"]
    assert found.info.status == "FAILED"


def test_an_evaluation_has_the_tags_of_the_training_that_wrote_its_model(encoder, run, tmp_path, monkeypatch):
    client, _, rest = run
    config = read_config(["--training.output", str(tmp_path / "runs"), "--training.name", "r", "--training.seed", "7"])
    uri = rest[rest.index("--tracking.uri") + 1]
    data = SimpleNamespace(train=[Corpus("squad", ("de", "en"), "d1")], counts={})
    mixture = SimpleNamespace(table=list, languages=("de", "en"))
    tracker = Tracker(config.folder, "r", replace(config.tracking, uri=uri, experiment="e"))
    train.log_start(config, data, mixture, tracker)
    tracker.close()
    save_encoder(encoder, config.folder / "model", "card", 32)
    monkeypatch.setattr(evaluate, "evaluate_encoder", lambda *_: {})
    monkeypatch.setattr(
        sys, "argv", ["evaluate.py", "--model", str(config.folder / "model"), str(tmp_path / "two"), *rest]
    )
    evaluate.main()
    trained = client.get_run(tracker.run_id).data.tags
    names = ("mixture", "encoder", "languages", "seed", "digest.squad")
    wanted = {name: trained[name] for name in names}
    assert (wanted["seed"], wanted["languages"], wanted["digest.squad"]) == ("7", "de en", "d1")
    found = {run.data.tags["model"]: run.data.tags for run in client.search_runs(["1"], "tags.job = 'evaluate'")}
    ours, other = found[str(config.folder / "model")], found[str(tmp_path / "two")]
    assert {name: ours.get(name) for name in names} == wanted
    assert ours["job"] == "evaluate"
    assert not {*names, "folder"} & other.keys()


@pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc")
def test_a_signal_ends_all_ranks_and_the_same_command_goes_on_with_what_is_written(
    arguments, tmp_path, monkeypatch, capsys
):
    arguments += ["--model", str(tmp_path / "models" / "one"), "--evaluation.keep_embeddings", "true"]
    job = Launched(tmp_path, Path(__file__).parent / "run_evaluate.py", tmp_path, *arguments, mark="here")
    job.send("launcher", signal.SIGTERM)
    output = job.end()
    assert "interrupted (SIGTERM); the same command goes on" in output
    # The launcher tells where it was signalled; no rank has anything to tell.
    assert 'run_evaluate.py", line' not in output
    written = {file: file.stat().st_mtime_ns for file in (tmp_path / "out").rglob("*.npy")}
    assert written
    monkeypatch.setattr(vectors, "_FEWEST_ROWS", SHARD)
    monkeypatch.setattr(sys, "argv", ["evaluate.py", *arguments])
    evaluate.main()
    told = re.findall(r"(\d+) distinct, (\d+) encoded", capsys.readouterr().out)
    assert sum(int(distinct) - int(encoded) for distinct, encoded in told) == SHARD * len(written)
    assert all(file.stat().st_mtime_ns == stamp for file, stamp in written.items())


@pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc")
def test_a_rank_that_dies_is_named_and_its_run_has_failed(arguments, tmp_path):
    arguments += ["--model", str(tmp_path / "models" / "one"), "--tracking.enabled", "true"]
    arguments += ["--tracking.uri", f"sqlite:///{tmp_path / 'mlflow.db'}"]
    job = Launched(tmp_path, Path(__file__).parent / "run_evaluate.py", tmp_path, *arguments, mark="here")
    job.send("rank-1", signal.SIGKILL)
    output = job.end()
    assert "world size 2" in output
    sentence = next(line for line in output.splitlines() if line.startswith("error: "))
    assert re.search(r"rank 1 \(last seen .*\): died; rank 0 is .* and stops, the same command goes on", sentence), (
        sentence
    )
    assert 76 in statuses(output)
    journal = next((tmp_path / "out").rglob(JOURNAL))
    assert json.loads(journal.read_text().splitlines()[-1])["values"] == {"status": "FAILED"}
