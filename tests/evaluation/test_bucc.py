"""Translations out of comparable corpora: the ratio margin, the threshold of another split, BUCC's files."""

import json

import numpy as np
import pytest
from pyarrow import parquet

from hybrid.evaluation.comparable import applied_scores, correct, f1_above, threshold
from hybrid.evaluation.config import EncodingConfig, EvaluationConfig, SearchConfig
from hybrid.evaluation.evaluator import evaluate_encoder
from hybrid.evaluation.loading import load_tasks
from hybrid.evaluation.margin import Pairs, Split, mined, neighbours, side
from hybrid.evaluation.vectors import Vectors
from hybrid.runtime.errors import InputError
from tests.evaluation.published import write_bucc

SEARCH = SearchConfig(device="cpu")


def made_split(name: str, pairs: int, alone: int = 4) -> Split:
    sources = [(f"de-{number:09d}", f"satz {number}") for number in range(pairs + alone)]
    targets = [(f"en-{number:09d}", f"sentence {number}") for number in range(pairs + alone)]
    gold = frozenset((f"de-{number:09d}", f"en-{number:09d}") for number in range(pairs))
    return Split(name, side(sources), side(targets), gold)


def vectors(tmp_path, array: np.ndarray) -> Vectors:
    np.save(tmp_path / "00000.npy", array.astype(np.float32))
    return Vectors(tmp_path, np.arange(len(array)))


def unit(random, rows: int) -> np.ndarray:
    array = random.normal(size=(rows, 6)) + 1.0
    return array / np.linalg.norm(array, axis=1, keepdims=True)


def test_the_margin_is_the_cosine_over_the_mean_of_both_neighbourhoods(tmp_path):
    random = np.random.default_rng(0)
    split = made_split("training", 8)
    x, y = unit(random, 12).astype(np.float32), unit(random, 12).astype(np.float32)
    found = mined(split, neighbours(split, vectors(tmp_path, np.concatenate([x, y])), SEARCH))
    cosines = x.astype(np.float64) @ y.astype(np.float64).T
    near_x, near_y = (-np.sort(-matrix, axis=1)[:, :4].mean(axis=1) for matrix in (cosines, cosines.T))
    margin = cosines / ((near_x[:, None] + near_y[None, :]) / 2)
    nearest = np.argsort(-cosines, axis=1)[:, :4]
    for source, target, score in zip(*vars(found["forward"]).values(), strict=True):
        assert target == max(nearest[source], key=lambda column: margin[source, column])
        assert score == pytest.approx(margin[source, target], rel=1e-6)
    both = found["both_directions"]
    assert len(set(both.source)) == len(both.source)
    assert len(set(both.target)) == len(both.target)
    assert (np.diff(both.score) <= 0).all()
    assert both.score[0] == pytest.approx(max(found["forward"].score.max(), found["backward"].score.max()))


def test_equal_sentences_are_one_and_take_no_part_in_what_is_extracted(tmp_path):
    rows = [("de-1", "a"), ("de-2", "b"), ("de-3", "a"), ("de-4", "c"), ("de-5", "d")]
    split = Split("training", side(rows), side([(f"en-{n}", f"t{n}") for n in range(4)]), frozenset([("de-2", "en-1")]))
    assert (split.source.ids, split.source.once.tolist()) == (
        ["de-1", "de-2", "de-4", "de-5"],
        [False, True, True, True],
    )
    found = mined(split, neighbours(split, vectors(tmp_path, unit(np.random.default_rng(1), 8)), SEARCH))
    assert all(0 not in pairs.source for pairs in found.values())


def test_the_threshold_has_the_best_f1_and_takes_equal_scores_together():
    split = made_split("sample", 4)
    rows = np.array([0, 1, 7, 2, 6])
    pairs = Pairs(rows, rows, np.array([1.5, 1.4, 1.2, 1.2, 1.0]))
    assert correct(split, pairs).tolist() == [True, True, False, True, False]
    least = threshold(split, pairs)
    assert least == pytest.approx((1.2 + 1.0) / 2)
    assert f1_above(split, pairs, least) == {"f1": 2 * 3 / (4 + 4), "precision": 0.75, "recall": 0.75}
    rows = np.array([0, 1, 2, 7, 6, 5])
    tied = Pairs(rows, rows, np.array([1.5, 1.4, 1.2, 1.2, 1.2, 1.2]))
    assert threshold(split, tied) == pytest.approx((1.4 + 1.2) / 2)  # with the third come three that are wrong


def test_the_threshold_of_one_split_is_applied_to_the_other():
    tuned, applied = made_split("sample", 2), made_split("training", 2)
    rows = np.array([0, 1, 3])
    found = {
        "sample": {"forward": Pairs(rows, rows, np.array([1.5, 1.4, 1.0]))},
        "training": {"forward": Pairs(rows, rows, np.array([1.3, 1.1, 0.9]))},
    }
    scores = applied_scores(found, tuned, applied, "forward")
    assert scores["threshold"] == pytest.approx(1.2)
    assert (scores["f1"], scores["recall"]) == (2 / 3, 0.5)
    assert scores["tuned_on"] == {"split": "sample", "f1": 1.0, "precision": 1.0, "recall": 1.0}


@pytest.fixture
def bucc(tmp_path):
    write_bucc(tmp_path / "data")
    return tmp_path / "data"


def test_the_threshold_comes_from_one_split_and_the_scores_from_the_other(encoder, bucc, tmp_path):
    config = EvaluationConfig(encoding=EncodingConfig(precision="fp32"), search=SEARCH)
    metrics = evaluate_encoder(encoder, load_tasks(["bucc"], bucc), tmp_path / "out", config)
    folder = tmp_path / "out" / "bucc"
    setting = json.loads((folder / "scores.json").read_text())["settings"]["both_directions"]
    assert setting["tuned_on"]["de>en"]["split"] == "sample"
    assert setting["scored"]["de>en"] == {"split": "training", "gold": 10}
    table = parquet.read_table(folder / "candidates.parquet").to_pandas()
    table = table[(table["split"] == "training") & (table["setting"] == "both_directions")]
    taken = table[table["score"] >= setting["threshold"]["de>en"]]
    assert metrics["bucc/both_directions/f1"] == pytest.approx(2 * taken["gold"].sum() / (len(taken) + 10))
    assert not {"de-000000000", "en-000000000"} & {*table["source"], *table["target"]}
    assert {"bucc/forward/f1", "bucc/backward/f1"} <= metrics.keys()


def test_an_approximate_index_reports_its_recall_of_both_splits(encoder, bucc, tmp_path):
    pytest.importorskip("faiss")
    recalls = {}
    for parameters in ("nprobe=1", "nprobe=2"):
        search = SearchConfig(backend="faiss", factory="IVF2,Flat", parameters=parameters, device="cpu")
        config = EvaluationConfig(encoding=EncodingConfig(precision="fp32"), search=search)
        folder = tmp_path / parameters
        evaluate_encoder(encoder, load_tasks(["bucc"], bucc), folder, config)
        settings = json.loads((folder / "bucc" / "scores.json").read_text())["settings"]
        recalls[parameters] = {way: one["recall_of_search"]["de>en"] for way, one in settings.items()}
    assert {recall for one in recalls["nprobe=2"].values() for recall in one.values()} == {1.0}
    for split in ("sample", "training"):
        there, back, both = (recalls["nprobe=1"][way][split] for way in ("forward", "backward", "both_directions"))
        assert both == pytest.approx((there + back) / 2)
        assert 0.25 < both < 1


def test_an_index_that_finds_too_few_neighbours_for_the_margin_is_refused(tmp_path):
    pytest.importorskip("faiss")
    split, array = made_split("training", 8), np.eye(6)[[0] * 11 + [1] + [0] * 11 + [1]]
    search = SearchConfig(backend="faiss", factory="IVF2,Flat", parameters="nprobe=1", device="cpu")
    with pytest.raises(
        InputError, match=r"IVF2,Flat \(nprobe=1\) finds fewer than 4 neighbours of 1 sentences of training"
    ):
        neighbours(split, vectors(tmp_path, array), search)


def test_without_a_split_to_tune_on_nothing_is_scored(bucc):
    (bucc / "bucc2018" / "de-en" / "de-en.sample.gold").unlink()
    with pytest.raises(InputError, match=r"de>en has a gold list for training only.*add de-en.sample.gold"):
        load_tasks(["bucc"], bucc)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("de-en.training.de", "de-1 no tab\n", r"training.de, line 1: is 'de-1 no tab'; expected an id, a tab"),
        ("de-en.training.de", "de-1\ta\nde-1\tb\n", r"1 document ids occur twice \(first: 'de-1'\)"),
        ("de-en.training.de", "de-1\ta\nde-2\tb\n", r"holds 2 sentences; the margin needs 4"),
        ("de-en.training.gold", "de-000000001\ten-777777777\n", "1 of 1 judgments name an unknown query or document"),
        ("de-en.training.gold", "", "training.gold: is empty"),
    ],
)
def test_files_that_do_not_fit_are_refused(bucc, name, text, message):
    (bucc / "bucc2018" / "de-en" / name).write_text(text)
    with pytest.raises(InputError, match=message):
        load_tasks(["bucc"], bucc)


def test_a_folder_without_a_gold_list_or_with_one_text_only_is_told(bucc):
    folder = bucc / "bucc2018" / "de-en"
    (folder / "de-en.training.en").unlink()
    with pytest.raises(InputError, match=r"de-en.training.en: is missing beside de-en.training.gold"):
        load_tasks(["bucc"], bucc)
    for path in folder.glob("*.gold"):
        path.unlink()
    with pytest.raises(InputError, match=r"holds no file such as de-en.training.gold; get them from https"):
        load_tasks(["bucc"], bucc)


def test_pairs_of_languages_that_are_missing_are_told(bucc, capsys):
    load_tasks(["bucc"], bucc)
    assert r"3 of 4 published languages are missing (fr>en, ru>en, zh>en)" in capsys.readouterr().err
