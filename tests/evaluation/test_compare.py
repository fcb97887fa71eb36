"""A comparison is about the figures that were reported, and says what differs."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pytest
import yaml
from mlflow import MlflowClient
from pyarrow import parquet

from hybrid.evaluation.compare import compare, config_table, main
from hybrid.evaluation.evaluator import score
from hybrid.evaluation.loading import loaded_task
from hybrid.evaluation.passages import passage_collection
from hybrid.evaluation.runs import read_recipe
from hybrid.evaluation.statistics import mean
from hybrid.evaluation.table import COLUMNS
from hybrid.evaluation.task import THREE_SETTINGS, Task
from hybrid.runtime.errors import InputError


@pytest.fixture
def folders(collection, tmp_path):
    """Results of a good and a poor model, with the configurations that made them."""
    loaded = loaded_task(Task("made", passage_collection, "made", THREE_SETTINGS, "nowhere", "CC0", ""), collection)
    codes = np.eye(collection.question.max() + 1, dtype=np.float32)
    documents = np.zeros((len(collection.documents), codes.shape[1]), np.float32)
    documents[collection.relevant[:, 1]] = codes[collection.question[collection.relevant[:, 0]]]
    random = np.random.default_rng(1)
    for name, noise, share in (("good", 0.2, 0.5), ("poor", 0.6, 1.0)):
        queries = codes[collection.question] + noise * random.standard_normal((len(collection.queries), codes.shape[1]))
        score(loaded, queries.astype(np.float32), documents, tmp_path / name / "made", 0, {})
        settings = {"mixture": {"monolingual": share}, "training": {"steps": 10}}
        (tmp_path / name / "config.yaml").write_text(yaml.safe_dump(settings))
        events = [(1, {"train/loss": 5.0}), (2, {"train/loss": 4.0}), (2, {"dev/map": 0.1}), (2, {"train/loss": 3.5})]
        lines = [json.dumps({"kind": "metrics", "values": values, "step": step}) for step, values in events]
        (tmp_path / name / "tracking.jsonl").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_a_comparison_is_about_the_reported_figures(folders):
    recipe = read_recipe(f"{folders / 'good'}", None)
    for setting, scores in recipe.settings("made").items():
        for name in ("map", "recall_at_10", *(["rank_distance"] if setting == "multilingual" else [])):
            found = mean(recipe.values("made", setting, name)[0])[0]
            assert found == pytest.approx(scores["measures"][name]["mean"], abs=1e-12)


def test_the_report_holds_tables_figures_and_what_differs_and_needs_no_network(folders, capsys):
    main([f"{folders / 'good'}", f"bad={folders / 'poor'}", "--baseline", "bad", "--out_dir", str(folders / "out")])
    printed = capsys.readouterr().out
    assert "## made/multilingual (baseline: bad)" in printed
    assert "| mixture.monolingual |" in printed
    assert "training.steps" not in printed
    web = (folders / "out" / "comparison.html").read_text()
    assert "http" not in web
    assert web.count("data:image/png;base64,") == 7
    assert (folders / "out" / "comparison.md").read_text() in printed
    drawn = {path.name for path in (folders / "out").glob("*.png")}
    assert drawn == {"loss.png"} | {
        f"made.{setting}.{kind}.png"
        for setting in ("monolingual", "cross_lingual", "multilingual")
        for kind in ("languages", "mixture")
    }


def test_losses_come_from_the_log_of_the_training_and_the_last_word_on_a_step_counts(folders):
    recipe = read_recipe(f"{folders / 'good' / 'made'}", None)
    assert recipe.seeds[0].loss.tolist() == [[1, 5.0], [2, 3.5]]


def test_a_result_folder_leads_to_the_training_of_its_model(folders, tmp_path):
    elsewhere = tmp_path / "elsewhere" / "good-1234"
    shutil.copytree(folders / "good" / "made", elsewhere / "made")
    (elsewhere / "model.json").write_text(json.dumps({"path": str(folders / "good" / "model"), "digest": "1234"}))
    recipe = read_recipe(str(elsewhere), None)
    assert recipe.setting_of("mixture.monolingual") == ["0.5"]
    assert len(recipe.seeds[0].loss) == 2


def test_the_encoder_as_it_was_before_its_training_is_compared_only_when_asked_for(folders):
    for stage, source in (("before", "poor"), ("after", "good")):
        shutil.copytree(folders / source / "made", folders / "run" / "results" / stage / "made")

    def score(place):
        return mean(read_recipe(str(place), None).values("made", "monolingual", "map")[0])[0]

    assert score(folders / "run") == score(folders / "good")
    assert score(folders / "run" / "results" / "before") == score(folders / "poor") != score(folders / "good")


def test_scores_on_a_trainings_own_development_split_are_compared_only_when_asked_for(folders, capsys):
    for run in ("one", "two"):
        shutil.copytree(folders / "good" / "made", folders / run / "results" / "after" / "made")
        shutil.copytree(folders / "good" / "made", folders / run / "results" / "dev" / "dev")
        path = folders / run / "results" / "dev" / "dev" / "scores.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"revision": f"dev data of {run}"}))
    runs = [str(folders / run) for run in ("one", "two")]
    main([*runs, "--out_dir", str(folders / "out"), "--measures", "map"])
    assert "## dev/" not in capsys.readouterr().out
    assert read_recipe(runs[0], None, dev=True).tasks == {"made", "dev"}
    assert read_recipe(str(folders / "one" / "results" / "dev"), None).tasks == {"dev"}
    with pytest.raises(SystemExit, match="2"):
        main([*runs, "--dev", "--out_dir", str(folders / "out")])
    assert "task dev was scored on different data" in capsys.readouterr().out


@pytest.mark.parametrize("later", ["evaluate", "a-run-1234abcd"])
def test_a_later_evaluation_stands_for_the_scores_at_the_end_of_training(folders, later):
    for stage, source in (("after", "poor"), (later, "good")):
        shutil.copytree(folders / source / "made", folders / "run" / "results" / stage / "made")
    assert read_recipe(str(folders / "run"), None).seeds[0].tasks["made"].folder.parent.name == later


def test_several_results_of_one_task_are_refused_with_their_places(folders):
    with pytest.raises(InputError, match=r"holds 2 results of task made \(good/made, poor/made\); give the folder"):
        read_recipe(str(folders), None)


def test_a_task_whose_scores_are_no_means_over_queries_is_told(folders, capsys):
    (folders / "good" / "bucc").mkdir()
    shutil.copy(folders / "good" / "made" / "scores.json", folders / "good" / "bucc")
    assert read_recipe(str(folders / "good"), None).tasks == {"made"}
    assert "bucc is not compared: its scores are no means over queries" in capsys.readouterr().err


def judged_result(folder, **measures):
    """Results of a searched task: a column for each measure, as with a reader and without."""
    count = 20
    table = {
        "setting": ["pairs"] * count,
        "question": [f"q{row}" for row in range(count)],
        "query_language": ["en"] * count,
        "pool": ["de"] * count,
        "pool_size": [9] * count,
        **{name: np.full(count, np.nan if value is None else value) for name, value in measures.items()},
    }
    folder.mkdir(parents=True)
    parquet.write_table(pa.table(table), folder / "per_query.parquet")
    means = {name: {"mean": value} for name, value in measures.items()}
    scores = {"task": "mlqa", "revision": "r", "settings": {"pairs": {"measures": means}}}
    (folder / "scores.json").write_text(json.dumps(scores))


@pytest.mark.parametrize("order", [("read", "plain"), ("plain", "read")])
def test_what_one_run_has_and_another_lacks_is_told_and_the_rest_compared(tmp_path, capsys, order):
    judged_result(tmp_path / "read" / "mlqa", ndcg_at_10=0.5, answer_f1=0.25)
    judged_result(tmp_path / "plain" / "mlqa", ndcg_at_10=0.75)
    recipes = [read_recipe(str(tmp_path / name), None) for name in order]
    rows = compare(recipes, recipes[0], COLUMNS)
    assert {(row.recipe, row.measure, row.mean) for row in rows} == {
        ("read", "ndcg_at_10", 0.5),
        ("plain", "ndcg_at_10", 0.75),
    }
    assert "task mlqa: not compared is what plain lacks: pairs/answer_f1; score" in capsys.readouterr().err


def test_a_measure_that_one_seed_lacks_is_not_compared(tmp_path, capsys):
    judged_result(tmp_path / "a" / "mlqa", ndcg_at_10=0.5, answer_f1=0.25)
    judged_result(tmp_path / "b" / "mlqa", ndcg_at_10=0.5)
    both = read_recipe(f"both={tmp_path / 'a'},{tmp_path / 'b'}", None)
    other = read_recipe(str(tmp_path / "a"), None)
    assert {row.measure for row in compare([both, other], both, COLUMNS)} == {"ndcg_at_10"}
    assert "what both lacks: pairs/answer_f1;" in capsys.readouterr().err


def test_a_measure_that_no_query_has_is_left_out(tmp_path):
    judged_result(tmp_path / "a" / "mlqa", ndcg_at_10=0.5, recall_at_10=None)
    recipe = read_recipe(str(tmp_path / "a"), None)
    assert {row.measure for row in compare([recipe], recipe, COLUMNS)} == {"ndcg_at_10"}


def test_a_folder_with_a_sign_of_equality_in_its_name_is_a_place(folders):
    (folders / "good").rename(folders / "lr=3e-5")
    assert read_recipe(str(folders / "lr=3e-5"), None).name == "lr=3e-5"
    assert read_recipe(f"a={folders / 'lr=3e-5'}", None).name == "a"


def with_scores(place, change):
    """Copy results beside themselves as ``other``, with other values in scores.json."""
    other = place.parent / "other"
    shutil.copytree(place, other)
    (path,) = other.rglob("scores.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    return other


EVALUATION = {"query_prefix": "query: ", "query_max_length": 64, "search": {"parameters": "nprobe=1"}}
READER = {"model": "m", "passages": 1}
FIRST = {"evaluation": EVALUATION, "reader": READER, "search": "FAISS IVF8 on the CPU", "lir": {"directions": 1}}


@pytest.fixture
def first(tmp_path):
    judged_result(tmp_path / "a" / "mlqa", ndcg_at_10=0.5)
    return with_scores(tmp_path / "a", FIRST).rename(tmp_path / "first")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"reader": {"model": "n", "passages": 1}}, 'reader ("m" in first; "n" in other)'),
        ({"reader": {"model": "m", "passages": 2}}, "reader_passages (1 in first; 2 in other)"),
        ({"lir": {"directions": 2}}, "lir (1 in first; 2 in other)"),
        ({"search": "torch on the CPU"}, 'search ("FAISS IVF8 nprobe=1" in first; "exact" in other)'),
        ({"search": "FAISS IVF8 on 2 GPUs"}, None),
        ({"reader": None}, None),
        ({"evaluation": EVALUATION | {"query_prefix": ""}}, None),
    ],
)
def test_what_is_no_part_of_a_model_and_differs_is_told_in_a_sentence(first, capsys, change, told):
    recipes = [read_recipe(str(place), None) for place in (first, with_scores(first, change))]
    compare(recipes, recipes[0], ["ndcg_at_10"])
    sentence = f"task mlqa: scores differ in {told}, so their difference is not one of the models alone."
    told_of = [line for line in capsys.readouterr().err.splitlines() if "scores differ" in line]
    assert told_of == ([f"warning: {sentence}"] if told else [])


def test_settings_of_scoring_that_differ_stand_in_the_report_and_old_scores_are_told(first, capsys):
    other = with_scores(first, {"evaluation": EVALUATION | {"query_prefix": ""}})
    places = [str(place) for place in (first, other, first.parent / "a")]
    main([*places, "--out_dir", str(first.parent / "out")])
    out, err = capsys.readouterr()
    (line,) = [line for line in out.splitlines() if line.startswith("| query_prefix")]
    assert [cell.strip() for cell in line.strip("|").split("|")] == [
        *("query_prefix (mlqa)", '"query: "', '""', "not recorded"),
    ]
    assert "| search" not in out
    assert "the scores of a are of older code" in err


def test_other_lengths_are_named_where_scores_are_refused(first):
    other = with_scores(first, {"evaluation": EVALUATION | {"query_max_length": 32}, "revision": "s"})
    recipes = [read_recipe(str(place), None) for place in (first, other)]
    with pytest.raises(InputError, match=r"by first, other \(query_max_length: 64 against 32\); score"):
        compare(recipes, recipes[0], ["ndcg_at_10"])


def test_seeds_show_all_values_of_a_key_that_differs(folders):
    settings = {"mixture": {"monolingual": 0.5}, "training": {"steps": 20}}
    shutil.copytree(folders / "good", folders / "again")
    (folders / "again" / "config.yaml").write_text(yaml.safe_dump(settings))
    both = read_recipe(f"both={folders / 'good'},{folders / 'again'}", None)
    table = config_table([both, read_recipe(str(folders / "poor"), None)])
    assert "10, 20" in table
    assert both.setting_of("mixture.monolingual") == ["0.5"]


def test_a_report_is_logged_on_request_with_its_files_and_differences(folders, mlflow_uri, capsys):
    places = [str(folders / name) for name in ("good", "poor")]
    client = MlflowClient(tracking_uri=mlflow_uri)
    main([*places, "--out_dir", str(folders / "out"), "--log", "--tracking_uri", mlflow_uri, "--experiment", "e"])
    found = client.search_runs([client.get_experiment_by_name("e").experiment_id])
    assert [run.info.run_name for run in found] == ["compare with good"]
    assert found[0].data.metrics["made/multilingual/map/poor minus good"] < 0
    assert found[0].data.tags["mlflow.note.content"].startswith("## made/monolingual")
    names = {item.path for item in client.list_artifacts(found[0].info.run_id)}
    assert {"comparison.html", "comparison.md", "loss.png", "made.monolingual.languages.png"} <= names
    assert "compare with good in experiment e" in capsys.readouterr().out


def test_each_report_is_a_run_of_its_own_with_the_files_that_it_wrote(folders, mlflow_uri):
    client = MlflowClient(tracking_uri=mlflow_uri)
    places = [str(folders / name) for name in ("good", "poor")]
    for baseline in ("good", "poor"):
        tracking = ["--log", "--tracking_uri", mlflow_uri, "--experiment", "e"]
        main([*places, "--baseline", baseline, "--out_dir", str(folders / "out"), *tracking])
        for name in ("good", "poor"):  # of the second report no losses are known
            (folders / name / "tracking.jsonl").unlink(missing_ok=True)
    runs = client.search_runs([client.get_experiment_by_name("e").experiment_id])
    for run, baseline in zip(runs, ("poor", "good"), strict=True):
        files = {item.path for item in client.list_artifacts(run.info.run_id)}
        assert files >= {"comparison.html", "made.monolingual.languages.png"}
        assert ("loss.png" in files) == (baseline == "good")
        assert all(name.endswith(f" minus {baseline}") for name in run.data.metrics)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["good", "good"], "runs are named"),
        (["good", "poor", "--baseline", "god"], "did you mean 'good'"),
        (["good", "empty"], "holds no results"),
        (["good", "other"], "was scored on different data"),
        (["good", "--measures", "bleu"], "'bleu' has no value in any of the runs; they have"),
    ],
)
def test_bad_input_is_told_in_one_sentence(folders, capsys, monkeypatch, arguments, message):
    (folders / "empty").mkdir()
    shutil.copytree(folders / "good", folders / "other")
    scores = json.loads((folders / "other" / "made" / "scores.json").read_text())
    (folders / "other" / "made" / "scores.json").write_text(json.dumps({**scores, "revision": "other"}))
    monkeypatch.chdir(folders)
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert message in capsys.readouterr().out


def test_runs_are_found_in_mlflow_by_name_and_by_id(folders, mlflow_uri):
    client = MlflowClient(tracking_uri=mlflow_uri)
    experiment = client.get_experiment_by_name("e").experiment_id
    run = client.create_run(experiment, run_name="seed-0").info.run_id
    client.log_artifacts(run, str(folders / "good"))
    for step, loss in ((1, 4.0), (2, 2.0)):
        client.log_metric(run, "train/loss", loss, step=step)
    for place in (run, "seed-0"):
        recipe = read_recipe(place, mlflow_uri)
        assert recipe.tasks == {"made"}
        assert recipe.seeds[0].config["mixture.monolingual"] == 0.5
        assert recipe.seeds[0].loss.tolist() == [[1, 4.0], [2, 2.0]]
