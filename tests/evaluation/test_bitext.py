"""Translation retrieval: each line's nearest neighbour in the other language, both ways, by groups of languages."""

import json

import ir_measures
import numpy as np
import pytest
from ir_measures import Success
from pyarrow import parquet

from hybrid.evaluation.bitext import Bitext, check_bitext, neighbours, score_bitext, script
from hybrid.evaluation.config import EncodingConfig, EvaluationConfig
from hybrid.evaluation.evaluator import evaluate_encoder
from hybrid.evaluation.languages import RESOURCES, XLMR, XTREME_36, group_of, xtreme_36
from hybrid.evaluation.loading import load_tasks
from hybrid.runtime.errors import InputError

SIDES = {"deu": ["eins", "zwei", "drei"], "rus": ["один", "два"], "xxx": ["a", "b", "c", "d"]}
ENGLISH = ["one", "two", "three", "four"]


@pytest.fixture
def bitext():
    pairs = {code: (lines, ENGLISH[: len(lines)]) for code, lines in SIDES.items()}
    return Bitext("eng", pairs, {"known": frozenset({"deu", "rus", "fra"})})


def test_ranks_are_those_of_a_plain_sort_with_the_smaller_line_first_in_ties():
    random = np.random.default_rng(0)
    queries, documents = (random.integers(-1, 2, (700, 4)).astype(np.float32) for _ in range(2))
    found = neighbours(queries, documents, 10)
    for row in range(0, 700, 7):
        order = sorted(range(700), key=lambda line: (-float(queries[row] @ documents[line]), line))
        assert found.rank[row] == order.index(row) + 1
        assert found.line[row].tolist() == order[:10]
        assert found.score[row].tolist() == (documents[order[:10]] @ queries[row]).tolist()


def test_accuracy_is_counted_both_ways_and_averaged_over_languages_and_groups(bitext, tmp_path):
    vectors = {line: np.eye(8)[number] for number, line in enumerate(ENGLISH)}
    for code, wrong in (("deu", 0), ("rus", 1), ("xxx", 2)):
        lines = SIDES[code]
        for number, line in enumerate(lines):
            # A wrong line points to the next one's translation: from English both lines of that pair are touched.
            target = (number + 1) % len(lines) if number < wrong else number
            vectors[line] = np.eye(8)[target] * (0.5 if number < wrong else 1.0)
    embeddings = np.array([vectors[line] for line in bitext.texts()], np.float32)
    scores = score_bitext("made", bitext, embeddings, tmp_path, 10, {})
    to = scores["settings"]["to_eng"]["measures"]
    assert to["accuracy"]["cells"] == {"deu>eng": 1.0, "rus>eng": 0.5, "xxx>eng": 0.5}
    assert to["accuracy"]["mean"] == pytest.approx(2 / 3)
    assert to["accuracy_known"] == {"mean": 0.75, "languages": 2, "missing": ["fra"]}
    back = scores["settings"]["from_eng"]["measures"]["accuracy"]["cells"]
    assert back["eng>deu"] == 1.0
    assert back["eng>xxx"] == 0.75  # all lines tie for "one", so line 0 is first; line 0 outdoes line 1 for "two"
    assert scores["settings"]["to_eng"]["by_script"]["cyrillic"] == {"accuracy": 0.5, "languages": 1}
    table = parquet.read_table(tmp_path / "per_query.parquet").to_pandas()
    again = (
        table[table["setting"] == "to_eng"].groupby("query_language")["rank"].apply(lambda r: (np.stack(r) == 1).mean())
    )
    assert again.to_dict() == {"deu": 1.0, "rus": 0.5, "xxx": 0.5}
    assert json.loads((tmp_path / "scores.json").read_text())["settings"] == scores["settings"]


@pytest.mark.parametrize("way", ["to", "from"])
def test_accuracy_is_success_at_1_of_run_and_qrels_with_equal_lines_too(bitext, way, tmp_path):
    random = np.random.default_rng(0)
    embeddings = random.integers(-1, 2, (len(bitext.texts()), 2)).astype(np.float32)
    (tmp_path / "pieces").mkdir()
    (tmp_path / "pieces" / "to_eng.000009.piece").write_text("of a killed job")
    measures = score_bitext("made", bitext, embeddings, tmp_path, 3, {})["settings"][f"{way}_eng"]["measures"]
    run = list(ir_measures.read_trec_run(str(tmp_path / f"{way}_eng.run")))
    qrels = list(ir_measures.read_trec_qrels(str(tmp_path / f"{way}_eng.qrels")))
    assert len(qrels) == sum(map(len, SIDES.values()))
    assert len(run) == 3 * 3 + 2 * 2 + 4 * 3
    found: dict[str, list[float]] = {}
    for value in ir_measures.iter_calc([Success @ 1], qrels, run):
        query, pool = value.query_id.split(">")
        found.setdefault(f"{query.split(':')[0]}>{pool}", []).append(value.value)
    cells = measures["accuracy"]["cells"]
    assert {cell: np.mean(values) for cell, values in found.items()} == pytest.approx(cells)
    assert 0 < measures["accuracy"]["mean"] < 1
    assert not (tmp_path / "pieces").exists()


def test_a_run_depth_of_nothing_writes_no_run(bitext, tmp_path):
    score_bitext("made", bitext, np.eye(2, dtype=np.float32)[[0] * len(bitext.texts())], tmp_path, 0, {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["accuracy.png", "per_query.parquet", "scores.json"]


def test_script_is_that_of_most_letters():
    assert [script(lines) for lines in (["абв xy"], ["中文 字"], ["12 abc"])] == ["cyrillic", "cjk", "latin"]


def test_groups_know_macrolanguages_scripts_and_regions():
    assert group_of(["arb_Arab", "zho-TW", "swh", "fao_Latn"], XLMR) == {"arb_Arab", "zho-TW", "swh"}
    assert len(XTREME_36) == 36


def test_a_language_of_xlm_r_is_in_one_resource_group_and_others_are_in_none(hybrid_data):
    assert sum(map(len, RESOURCES.values())) == len(XLMR) == 92
    for task in load_tasks(["tatoeba", "flores", "ntrex"], hybrid_data):
        groups = task.collection.groups
        assert sum(len(groups[name]) for name in RESOURCES) == len(groups["xlmr_languages"])
        assert all(groups[name] for name in RESOURCES)
        assert not groups["other_languages"] & frozenset().union(*(groups[name] for name in RESOURCES))


@pytest.mark.parametrize(
    ("lines", "message"),
    [((["a"], ["b", "c"]), "xxx has 1 lines, eng has 2"), ((["a", " "], ["b", "c"]), "empty line")],
)
def test_sides_that_do_not_fit_are_refused(lines, message):
    with pytest.raises(InputError, match=message):
        check_bitext(Bitext("eng", {"xxx": lines}), "place")


def test_the_published_sets_are_read_whole(hybrid_data):
    tatoeba, flores, ntrex = (task.collection for task in load_tasks(["tatoeba", "flores", "ntrex"], hybrid_data))
    assert (len(tatoeba.pairs), len(flores.pairs), len(ntrex.pairs)) == (112, 203, 127)
    assert {len(pair[0]) for pair in flores.pairs.values()} == {1012}
    assert {len(pair[0]) for pair in ntrex.pairs.values()} == {1997}


def test_xtremes_languages_are_the_standard_variety_of_each_in_every_published_set(hybrid_data):
    tatoeba, flores, ntrex = (task.collection for task in load_tasks(["tatoeba", "flores", "ntrex"], hybrid_data))
    assert tatoeba.groups["xtreme_36"] == XTREME_36 <= set(tatoeba.pairs)
    in_flores, in_ntrex = flores.groups["xtreme_36"], ntrex.groups["xtreme_36"]
    assert (len(in_flores), in_flores - set(flores.pairs)) == (36, frozenset())
    assert (len(in_ntrex), in_ntrex - set(ntrex.pairs)) == (36, {"jav"})
    assert {code for code in in_flores if code[:3] not in XTREME_36} == {"arb_Arab", "zho_Hans"}
    assert {code[:3] for code in in_flores} & XTREME_36 == XTREME_36 - {"ara", "cmn"}
    assert in_ntrex - XTREME_36 == {"arb", "zho-CN", "fas", "swa", "fil"}
    assert XTREME_36 - in_ntrex == {"ara", "cmn", "pes", "swh", "tgl"}


def test_a_set_says_how_many_of_xtremes_languages_it_has(tmp_path):
    pairs = {code: (["a"], ["one"]) for code in ("arb", "fra", "fra-CA", "arz", "fao")}
    made = Bitext("eng", pairs, {"xtreme_36": xtreme_36(pairs)})
    embeddings = np.array([[1, 0]] * 10, np.float32)
    found = score_bitext("made", made, embeddings, tmp_path, 10, {})["settings"]["to_eng"]["measures"]
    mean = found["accuracy_xtreme_36"]
    assert (mean["languages"], len(mean["missing"])) == (2, 34)


def test_a_bitext_is_scored_like_any_task_and_taken_from_its_folder_the_second_time(encoder, tmp_path):
    data = tmp_path / "data" / "tatoeba"
    data.mkdir(parents=True)
    for code, lines in SIDES.items():
        (data / f"tatoeba.{code}-eng.{code}").write_text("\n".join(lines) + "\n")
        (data / f"tatoeba.{code}-eng.eng").write_text("\n".join(ENGLISH[: len(lines)]) + "\n")
    tasks = load_tasks(["tatoeba"], tmp_path / "data")
    config = EvaluationConfig(encoding=EncodingConfig(precision="fp32"))
    first = evaluate_encoder(encoder, tasks, tmp_path / "out", config, "digest")
    assert {"tatoeba/to_eng/accuracy", "tatoeba/from_eng/accuracy_xtreme_36"} <= first.keys()
    assert len((tmp_path / "out" / "tatoeba" / "to_eng.run").read_text().splitlines()) == 3 * 3 + 2 * 2 + 4 * 4
    assert evaluate_encoder(encoder, tasks, tmp_path / "out", config, "digest") == first
