"""The three settings: which pools there are, exact ranks in them, and files from which every figure comes again."""

import json
from collections import defaultdict
from dataclasses import replace

import ir_measures
import numpy as np
import pytest
from ir_measures import AP, P, R
from pyarrow import parquet

from hybrid.evaluation import whole_pool
from hybrid.evaluation.evaluator import flat, score
from hybrid.evaluation.loading import loaded_task
from hybrid.evaluation.passages import passage_collection
from hybrid.evaluation.task import THREE_SETTINGS, Setting, Task
from tests.evaluation.conftest import made_paragraphs

TASK = Task("made", passage_collection, "made", THREE_SETTINGS, "nowhere", "CC0", "")


@pytest.fixture
def scored(collection, tied_embeddings, tmp_path):
    return score(loaded_task(TASK, collection), *tied_embeddings, tmp_path, 1000, {}), tmp_path


def plain_scores(collection, queries, documents, setting):
    """Mean average precision and rank distance by loops over the definitions, one cell after the other."""
    ids = collection.documents.ids
    relevant = defaultdict(set)
    for query, document in collection.relevant.tolist():
        relevant[query].add(document)
    cells = defaultdict(lambda: defaultdict(list))
    for query in range(len(queries)):
        own = collection.queries.language[query]
        for pool in range(-1, len(collection.languages)):
            kind = "all" if pool < 0 else "same" if pool == own else "other"
            rows = [row for row in range(len(ids)) if pool < 0 or collection.documents.language[row] == pool]
            right = relevant[query] & set(rows)
            if kind != setting.pools or not right:
                continue
            rows.sort(key=lambda row: (float(queries[query] @ documents[row]), ids[row].encode()), reverse=True)
            places = [place for place, row in enumerate(rows, 1) if row in right]
            cells[own, pool]["map"].append(np.mean([n / place for n, place in enumerate(places, 1)]))
            if len(places) > 1:
                cells[own, pool]["rank_distance"].append(places[-1] - places[0])
    names = {name for cell in cells.values() for name in cell}
    return {name: np.mean([np.mean(cell[name]) for cell in cells.values() if cell[name]]) for name in names}


@pytest.mark.parametrize("setting", THREE_SETTINGS, ids=lambda setting: setting.name)
def test_figures_equal_loops_over_the_definitions(scored, collection, tied_embeddings, setting):
    measures = scored[0]["settings"][setting.name]["measures"]
    expected = plain_scores(collection, *tied_embeddings, setting)
    assert measures["map"]["mean"] == pytest.approx(expected["map"], abs=1e-12)
    if setting.pools == "all":
        assert measures["rank_distance"]["mean"] == pytest.approx(expected["rank_distance"], abs=1e-9)


def test_strips_and_what_a_killed_job_left_change_no_file(scored, collection, tied_embeddings, monkeypatch):
    folder = scored[1] / "again"
    (folder / "pieces").mkdir(parents=True)
    for piece in ("monolingual.000000.0001", "monolingual.000099.0001", "another.000000.0001"):
        (folder / "pieces" / f"{piece}.piece").write_text("de-q0-0 Q0 nothing 1 0.5 hybrid\n")
    monkeypatch.setattr(whole_pool, "_STRIP_BYTES", 8 * 7 * len(collection.documents))
    score(loaded_task(TASK, collection), *tied_embeddings, folder, 1000, {})
    names = [path.name for path in scored[1].iterdir() if path.suffix in (".run", ".qrels", ".parquet")]
    assert len(names) == 7
    for name in names:
        assert (folder / name).read_bytes() == (scored[1] / name).read_bytes()


@pytest.mark.parametrize("setting", THREE_SETTINGS, ids=lambda setting: setting.name)
def test_ir_measures_on_the_run_files_gives_the_reported_figures(scored, collection, setting):
    scores, folder = scored
    run = list(ir_measures.read_trec_run(str(folder / f"{setting.name}.run")))
    qrels = list(ir_measures.read_trec_qrels(str(folder / f"{setting.name}.qrels")))
    names = {"recall_at_1": R @ 1, "recall_at_10": R @ 10, "precision_at_5": P @ 5, "precision_at_20": P @ 20}
    if setting.name != "cross_lingual":  # its run ends at 20, and every other one here holds complete rankings
        names["map"] = AP
    by_cell = defaultdict(lambda: defaultdict(list))
    for value in ir_measures.iter_calc(list(names.values()), qrels, run):
        language, _, pool = value.query_id[:2], ">", value.query_id.partition(">")[2]
        by_cell[str(value.measure)][language, pool].append(value.value)
    for name, other in names.items():
        cells = by_cell[str(other)]
        mean = np.mean([np.mean(values) for values in cells.values()])
        assert scores["settings"][setting.name]["measures"][name]["mean"] == pytest.approx(mean, abs=1e-9), name
    assert len({line.query_id for line in run}) == scores["settings"][setting.name]["rankings"]


def test_the_per_query_file_gives_map_and_rank_distance_again(scored):
    scores, folder = scored
    table = parquet.read_table(folder / "per_query.parquet").to_pandas()
    for name, part in table.groupby("setting", observed=True):
        part = part.assign(
            map=[np.mean(np.arange(1, len(ranks) + 1) / ranks) for ranks in part["rank"]],
            span=[ranks.max() - ranks.min() if len(ranks) > 1 else np.nan for ranks in part["rank"]],
        )
        means = part.groupby(["query_language", "pool"], observed=True)[["map", "span"]].mean().mean()
        measures = scores["settings"][name]["measures"]
        assert measures["map"]["mean"] == pytest.approx(means["map"], abs=1e-12)
        if name == "multilingual":
            assert measures["rank_distance"]["mean"] == pytest.approx(means["span"], abs=1e-9)
            assert set(part["pool_size"]) == {scores["documents"]}


def test_queries_without_a_relevant_candidate_are_left_out_and_counted(scored, collection):
    scores = scored[0]["settings"]
    present = np.bincount(collection.queries.language)
    missing = present[0] - present[3]
    assert missing > 0
    assert scores["monolingual"]["left_out"] == 0
    assert scores["cross_lingual"]["left_out"] == 3 * missing
    assert scores["cross_lingual"]["rankings"] == 3 * present[:3].sum() - 3 * missing + 3 * present[3]


def test_rankings_and_what_is_left_out_are_all_that_a_setting_asks_for(collection, tied_embeddings, tmp_path):
    query, document = collection.relevant.T
    gone = (collection.queries.language[query] == 0) & (collection.documents.language[document] == 1)
    fewer = replace(collection, relevant=collection.relevant[~gone])
    scores = score(loaded_task(TASK, fewer), *tied_embeddings, tmp_path, 0, {})["settings"]
    assert "de>en" not in scores["cross_lingual"]["measures"]["map"]["cells"]
    for name, pools in (("monolingual", 1), ("cross_lingual", 3), ("multilingual", 1)):
        assert scores[name]["rankings"] + scores[name]["left_out"] == pools * len(collection.queries)


@pytest.mark.parametrize("measures", [("recall_at_1",), ("recall_at_1", "map")])
def test_a_task_without_mean_average_precision_is_drawn_by_its_first_measure(
    collection, tied_embeddings, tmp_path, measures
):
    settings = (Setting("monolingual", "same", measures), Setting("cross_lingual", "other", ("recall_at_1",)))
    score(loaded_task(replace(TASK, settings=settings), collection), *tied_embeddings, tmp_path, 0, {})
    assert (tmp_path / "map.png").exists()


def test_no_run_depth_writes_no_runs_and_the_same_scores(scored, collection, tied_embeddings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("short")
    again = score(loaded_task(TASK, collection), *tied_embeddings, folder, 0, {})
    assert again["settings"] == scored[0]["settings"]
    assert sorted(path.name for path in folder.iterdir()) == [
        "map.png",
        "multilingual.languages.png",
        "per_query.parquet",
        "scores.json",
    ]
    assert json.loads((folder / "scores.json").read_text())["settings"] == again["settings"]


def test_ranking_gets_on_with_each_block_of_queries(collection, tied_embeddings, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(whole_pool, "poll", lambda: calls.append(1))
    monkeypatch.setattr(whole_pool, "_BLOCK_BYTES", 8 * len(collection.documents))
    monkeypatch.setattr(whole_pool, "_FEWEST_QUERIES", 1)
    score(loaded_task(TASK, collection), *tied_embeddings, tmp_path, 0, {})
    assert len(calls) == len(collection.queries)


def test_documents_read_in_blocks_give_the_same_scores_as_documents_held_in_memory(
    scored, collection, tied_embeddings, tmp_path_factory, monkeypatch
):
    queries, documents = tied_embeddings
    read = []

    class Blocks:
        shape = documents.shape

        def __getitem__(self, wanted):
            read.append(len(wanted))
            return documents[wanted]

    monkeypatch.setattr(whole_pool, "_KEPT_BYTES", 0)
    monkeypatch.setattr(whole_pool, "_DOCUMENTS", 50)
    folder = tmp_path_factory.mktemp("blocks")
    again = score(loaded_task(TASK, collection), queries, Blocks(), folder, 1000, {})
    assert again == scored[0]
    assert max(read) == 50 < len(documents)
    for setting in THREE_SETTINGS:
        name = f"{setting.name}.run"
        assert sorted((folder / name).open()) == sorted((scored[1] / name).open())


def test_metric_names_sort_by_task_setting_and_measure(scored):
    names = flat("made", scored[0]["settings"])
    assert {"made/monolingual/map", "made/multilingual/rank_distance_share"} <= names.keys()
    assert all(set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789_/-. :") for name in names)


def test_a_perfect_encoder_scores_one_everywhere_and_has_no_bias(tmp_path):
    collection = passage_collection(made_paragraphs(("de", "en", "fi"), partial=False))
    answer = np.zeros(len(collection.documents), int)
    answer[collection.relevant[:, 1]] = collection.question[collection.relevant[:, 0]] + 1
    codes = np.eye(answer.max() + 1, dtype=np.float32)
    scores = score(loaded_task(TASK, collection), codes[collection.question + 1], codes[answer], tmp_path, 10, {})
    for setting in scores["settings"].values():
        assert setting["measures"]["map"]["mean"] == 1.0
    assert scores["settings"]["multilingual"]["measures"]["rank_distance"]["mean"] == 2.0
