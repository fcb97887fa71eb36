"""Whatever measure stands in scores.json can be asked for in a comparison, and gives the figure that stands there."""

import json

import numpy as np
import pytest
from pyarrow import parquet

from hybrid.evaluation.bitext import Bitext, score_bitext
from hybrid.evaluation.compare import main
from hybrid.evaluation.evaluator import score
from hybrid.evaluation.loading import loaded_task
from hybrid.evaluation.runs import read_recipe
from hybrid.evaluation.statistics import mean
from hybrid.evaluation.task import THREE_SETTINGS, Task
from hybrid.runtime.errors import InputError
from tests.evaluation.test_bias import made


def pools(folder, seed: int = 0) -> None:
    """Scores of random embeddings on pools with two relevant passages a language, where PEER is defined."""
    collection, random = made(copies=2, queries=8), np.random.default_rng(seed)
    loaded = loaded_task(Task("made", None, "made", THREE_SETTINGS, "nowhere", "CC0", ""), collection)
    queries, documents = (random.standard_normal((len(side), 6)) for side in (collection.queries, collection.documents))
    score(loaded, queries.astype(np.float32), documents.astype(np.float32), folder / "made", 0, {})


def bitext(folder) -> None:
    """Scores of random embeddings on translations from three languages, of which two are a group."""
    sides = {
        code: ([f"{code} {n}" for n in range(6)], [f"eng {n}" for n in range(6)]) for code in ("deu", "fin", "rus")
    }
    made_bitext = Bitext("eng", sides, {"known": frozenset({"deu", "rus", "fra"})})
    vectors = np.random.default_rng(0).standard_normal((len(made_bitext.texts()), 3)).astype(np.float32)
    score_bitext("pairs", made_bitext, vectors, folder / "pairs", 0, {})


@pytest.mark.parametrize("write", [pools, bitext])
def test_every_measure_of_the_scores_is_compared_as_it_stands_there(tmp_path, write):
    write(tmp_path)
    recipe = read_recipe(str(tmp_path), None)
    (task,) = recipe.tasks
    names = set()
    for setting, scores in recipe.settings(task).items():
        for name, value in scores["measures"].items():
            names.add(name)
            assert mean(recipe.values(task, setting, name)[0])[0] == pytest.approx(value["mean"], abs=1e-12)
    expected = {pools: {"peer", "language_preference", "language_preference_chance"}, bitext: {"accuracy_known"}}
    assert names > expected[write]


def test_peer_is_compared_when_asked_for(tmp_path, capsys):
    for seed, name in enumerate(("one", "two")):
        pools(tmp_path / name, seed)
    main([str(tmp_path / "one"), str(tmp_path / "two"), "--measures", "peer", "--out_dir", str(tmp_path / "out")])
    mean = json.loads((tmp_path / "two" / "made" / "scores.json").read_text())["settings"]["multilingual"]["measures"]
    assert f"{mean['peer']['mean']:.4f}" in capsys.readouterr().out


def test_a_measure_that_no_run_has_is_refused_with_those_that_they_have(tmp_path, capsys):
    pools(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        main([str(tmp_path), "--measures", "map", "pear", "--out_dir", str(tmp_path / "out")])
    told = capsys.readouterr().out
    assert "'pear' has no value in any of the runs, did you mean 'peer'?" in told
    assert "language_preference, language_preference_chance, map," in told


def test_a_measure_that_older_files_do_not_give_by_query_is_refused(tmp_path):
    pools(tmp_path)
    path = tmp_path / "made" / "per_query.parquet"
    parquet.write_table(parquet.read_table(path).drop_columns(["peer"]), path)
    with pytest.raises(InputError, match=r"peer stands in scores\.json, but per_query\.parquet"):
        read_recipe(str(tmp_path), None).values("made", "multilingual", "peer")
