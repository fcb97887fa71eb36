"""Mined negatives: never an answer, never its translation, inside the window and the margin, readable for training."""

import json

import numpy as np
import pytest
import torch

from hybrid.data.config import DatasetConfig
from hybrid.data.records import Paragraph, Question
from hybrid.evaluation.asked import from_paragraphs
from hybrid.evaluation.config import EncodingConfig, SearchConfig
from hybrid.evaluation.mine import mine
from hybrid.evaluation.negatives import MiningConfig, choose, document_groups, normalised
from hybrid.evaluation.passages import passage_collection
from hybrid.evaluation.search import Found
from hybrid.runtime.errors import InputError
from tests.evaluation.test_crossing import cross_encoder


def paragraphs():
    """Six paragraphs in two languages; the third also names the answer of the first."""
    made: dict[str, list[Paragraph]] = {"de": [], "en": []}
    for code, texts in made.items():
        for number in range(6):
            answer = f"ANSWER{number}"
            context = f"{code} text {number} says {answer}" + (" and Answer0" if number == 2 else "")
            question = Question(f"q{number}", f"{code} what {number}?", context.index(answer), answer)
            texts.append(Paragraph("a", context, [(0, len(context))], [question]))
    return made


@pytest.fixture
def pool():
    collection = passage_collection(paragraphs(), "paragraph")
    answers = [{normalised(f"ANSWER{number}")} for number in range(6)]
    rows = np.tile(np.arange(12), (12, 1))
    own = {query: doc for query, doc in collection.relevant.tolist() if (query < 6) == (doc < 6)}
    for query in range(12):  # the own positive third, all others in order
        rest = [row for row in range(12) if row != own[query]]
        rows[query] = [*rest[:2], own[query], *rest[2:]]
    scores = np.tile(np.linspace(0.9, 0.35, 12, dtype=np.float32), (12, 1))
    return collection, answers, Found(rows, scores), scores[:, 2]


def test_translations_of_a_paragraph_are_one_group(pool):
    group = document_groups(pool[0])
    assert group[:6].tolist() == group[6:].tolist()
    assert len(set(group)) == 6


def test_no_negative_answers_the_question_is_its_positive_or_nearer_than_that(pool):
    collection, _, found, _ = pool
    mined = choose(*pool, MiningConfig(last_rank=12))
    group = document_groups(collection)
    for query, kept in enumerate(mined.negatives):
        assert kept
        for row in kept:
            assert group[row] != group[query % 6]
            assert f"answer{query % 6}" not in collection.documents.texts[row].casefold()
            assert list(found.rows[query]).index(row) > 2
    assert {"same group", "contains the answer", "too near to the positive", "kept"} <= mined.counts.keys()


def test_a_passage_with_the_answer_in_any_language_is_no_negative():
    made = paragraphs()
    for code, answer in (("de", "Wien"), ("en", "Vienna")):
        first, other = made[code][0], made[code][3]
        first.questions[0] = Question("q0", f"{code} what 0?", 0, answer)
        others = {"de": "Vienna", "en": "Wien"}
        made[code][3] = Paragraph("a", f"{other.context} {others[code].upper()}", other.sentences, other.questions)
    collection = passage_collection(made, "paragraph")
    answers = from_paragraphs(made).answers
    assert answers[0] == {"wien", "vienna"}
    found = Found(np.tile(np.arange(12), (12, 1)), np.tile(np.linspace(0.9, 0.35, 12, dtype=np.float32), (12, 1)))
    positive = np.full(12, 0.9, np.float32)
    kept = choose(collection, answers, found, positive, MiningConfig(last_rank=12, margin=-1)).negatives[0]
    assert 4 in kept
    assert not {3, 9} & set(kept)


def test_every_candidate_is_counted_once(pool):
    mined = choose(*pool, MiningConfig(last_rank=10, count=2))
    assert sum(mined.counts.values()) == pool[2].rows.size
    assert mined.counts["kept"] == sum(mined.ranks.values()) == sum(map(len, mined.negatives))
    assert mined.counts["outside the window"] == 2 * 12


def test_the_cross_encoder_removes_what_it_takes_for_answers_and_the_next_take_their_place(pool):
    rows = pool[2].rows
    config = MiningConfig(last_rank=12, margin=-1, ratio=3, count=2, filter="x", filter_depth=4)
    free = choose(*pool, MiningConfig(last_rank=12, margin=-1, ratio=3, count=12)).negatives
    asked = []

    def relevance(pairs):
        asked.extend(pairs.tolist())
        return np.where(pairs[:, 1] == rows[pairs[:, 0], 0], 0.5, 0.49)  # the first candidate is an answer

    mined = choose(*pool, config, relevance)
    for query, kept in enumerate(mined.negatives):
        assert [row for number, row in asked if number == query] == free[query][:4]
        assert kept == [row for row in free[query][:4] if row != rows[query, 0]][:2]
    assert sum(mined.counts.values()) == rows.size
    assert mined.counts["an answer to the cross-encoder"] > 0


@pytest.mark.parametrize("languages", ["own", "others", "both"])
def test_ranks_are_counted_among_the_languages_asked_for(encoder, tmp_path, languages):
    asked = from_paragraphs(paragraphs())
    config = MiningConfig(last_rank=6, languages=languages, count=6, margin=-2, ratio=9)
    settings = [EncodingConfig(precision="fp32"), SearchConfig(device="cpu")]
    mined = mine(encoder, asked, tmp_path / "pairs.jsonl", config, *settings)
    assert sum(mined.counts.values()) == 12 * 6
    assert not {"beyond the pool", "no positive"} & mined.counts.keys()
    same = {(row < 6) == (query < 6) for query, kept in enumerate(mined.negatives) for row in kept}
    assert same == {"own": {True}, "others": {False}, "both": {True, False}}[languages]
    if languages != "both":  # All six of a language but the question's own, and the third, which has its answer.
        assert {len(kept) for query, kept in enumerate(mined.negatives) if query % 6} == {5}


def test_an_approximate_index_reports_its_recall_of_the_exact_candidates(encoder, tmp_path):
    pytest.importorskip("faiss")
    asked, config = from_paragraphs(paragraphs()), MiningConfig(last_rank=6, languages="own")
    told = {}
    for name, search in (
        ("exact", {}),
        ("whole", {"backend": "faiss", "factory": "IVF2,Flat", "parameters": "nprobe=2"}),
        ("part", {"backend": "faiss", "factory": "IVF2,Flat", "parameters": "nprobe=1"}),
    ):
        mine(
            encoder,
            asked,
            tmp_path / f"{name}.jsonl",
            config,
            EncodingConfig(precision="fp32"),
            SearchConfig(device="cpu", **search),
        )
        told[name] = json.loads((tmp_path / f"{name}.mined.json").read_text()).get("recall of search")
    assert (told["exact"], told["whole"]) == (None, 1.0)
    assert 0 < told["part"] < 1


def test_languages_that_no_passage_is_in_are_refused_before_encoding(tmp_path):
    asked = from_paragraphs({"de": paragraphs()["de"]})
    with pytest.raises(InputError, match=r"languages is 'others', but no question \(languages: de\) has passages"):
        mine(None, asked, tmp_path / "x", MiningConfig(languages="others"), EncodingConfig(), SearchConfig())


def test_window_margin_ratio_and_count_bound_what_is_kept(pool):
    found = pool[2]
    for config in (
        MiningConfig(first_rank=5, last_rank=8),
        MiningConfig(last_rank=12, margin=0.2),
        MiningConfig(last_rank=12, ratio=0.7),
        MiningConfig(last_rank=12, count=2),
    ):
        for query, kept in enumerate(choose(*pool, config).negatives):
            ranks = [list(found.rows[query]).index(row) + 1 for row in kept]
            scores = found.scores[query][np.array(ranks, int) - 1]
            assert all(config.first_rank <= rank <= config.last_rank for rank in ranks)
            assert (scores < found.scores[query][2] - config.margin).all()
            assert (scores < found.scores[query][2] * config.ratio).all()
            assert len(kept) <= config.count


def test_a_positive_outside_the_window_is_held_against_its_own_score(pool):
    collection, answers, found, scores = pool
    without = Found(np.array([[row for row in line if row % 6 != 4] for line in found.rows]), found.scores[:, :10])
    for positive in (0.95, 0.6):
        scores[4] = positive
        kept = choose(collection, answers, without, scores, MiningConfig(last_rank=12, count=12)).negatives[4]
        assert kept == without.rows[4][without.scores[4] < np.float32(positive)].tolist()
        assert kept


def test_a_question_whose_passage_ranks_below_the_window_has_no_negative_unless_the_margin_lets_it_and_is_counted(pool):
    collection, answers, found, scores = pool
    without = Found(np.array([[row for row in line if row % 6 != 4] for line in found.rows]), found.scores[:, :10])
    scores[4] = 0.3
    mined = choose(collection, answers, without, scores, MiningConfig(last_rank=10, count=10))
    assert (mined.negatives[4], mined.beneath) == ([], 1)
    assert choose(collection, answers, without, scores, MiningConfig(last_rank=4, margin=0.1)).beneath == 12
    assert choose(collection, answers, without, scores, MiningConfig(last_rank=6, margin=0.1)).beneath == 1
    free = choose(collection, answers, without, scores, MiningConfig(last_rank=10, count=10, margin=-2, ratio=9))
    assert len(free.negatives[4]) == 10
    assert free.beneath == 0


@pytest.mark.parametrize("positive", [0.5, -0.5])
def test_the_relative_margin_is_a_part_of_the_scores_size_whatever_its_sign(pool, positive):
    collection, answers, _, scores = pool
    line = np.full(12, positive, np.float32) - np.linspace(0.005, 0.115, 12, dtype=np.float32)
    found = Found(np.tile(np.arange(12), (12, 1)), np.tile(line, (12, 1)))
    scores[:] = positive
    for query, kept in enumerate(
        choose(collection, answers, found, scores, MiningConfig(ratio=0.9, count=12)).negatives
    ):
        # Those more than a tenth of 0.5 below, less the question's own and one with its answer.
        own = {query % 6, query % 6 + 6} | ({2, 8} if query % 6 == 0 else set())
        assert kept == [row for row in range(5, 12) if row not in own]


def test_questions_with_fewer_negatives_than_asked_for_are_told(encoder, tmp_path, capsys):
    settings = [EncodingConfig(precision="fp32"), SearchConfig(device="cpu")]
    mined = mine(encoder, from_paragraphs(paragraphs()), tmp_path / "pairs.jsonl", MiningConfig(last_rank=2), *settings)
    none = sum(not kept for kept in mined.negatives)
    assert f"12 of 12 questions have fewer than 8 negatives, {none} have none" in capsys.readouterr().err
    told = json.loads((tmp_path / "pairs.mined.json").read_text())["questions"]
    assert told == {"all": 12, "fewer negatives than asked for": 12, "no negative": none} | {
        "nothing in the window far enough below the positive": mined.beneath
    }


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"first_rank": 9, "last_rank": 3}, "first_rank is 9, last_rank 3"),
        ({"filter": "x", "filter_depth": 5}, r"filter_depth is 5, less than mining.count \(8\)"),
        ({"count": 0}, "mining.count is 0; give a whole number of at least 1"),
        ({"margin": float("nan")}, "mining.margin is nan; give a number"),
        ({"filter_below": 0.3}, "mining.filter_below is set, but mining.filter names no cross-encoder"),
    ],
)
def test_mining_settings_that_cannot_be_or_would_have_no_effect_are_refused(settings, sentence):
    with pytest.raises(InputError, match=sentence):
        MiningConfig(**settings)


def test_a_killed_job_goes_on_with_embeddings_and_judgments_and_writes_the_same(encoder, tmp_path, monkeypatch):
    cross = cross_encoder(tmp_path / "cross", 1)
    made = paragraphs()
    with torch.no_grad():
        asked, read = made["de"][0].questions[0].question, [p.context for code in made for p in made[code]]
        below = float(np.median(cross.probabilities([asked] * len(read), read, 320)))
    config = MiningConfig(last_rank=12, count=3, margin=-2.0, ratio=2.0, filter="cross", filter_below=below)
    settings = [config, EncodingConfig(precision="fp32"), SearchConfig(device="cpu")]
    monkeypatch.setattr("hybrid.evaluation.mine.write_pairs", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        mine(encoder, from_paragraphs(paragraphs()), tmp_path / "pairs.jsonl", *settings, cross)
    monkeypatch.undo()
    with monkeypatch.context() as patch:
        patch.setattr(encoder, "forward", None)
        patch.setattr(cross, "probabilities", None)
        mined = mine(encoder, from_paragraphs(paragraphs()), tmp_path / "pairs.jsonl", *settings, cross)
    fresh = mine(encoder, from_paragraphs(paragraphs()), tmp_path / "fresh.jsonl", *settings, cross)
    assert mined == fresh
    assert (tmp_path / "pairs.jsonl").read_text() == (tmp_path / "fresh.jsonl").read_text()
    counts = json.loads((tmp_path / "pairs.mined.json").read_text())
    assert counts["candidates"]["an answer to the cross-encoder"] > 0
    assert sum(counts["kept by rank"]) == counts["candidates"]["kept"] == sum(map(len, mined.negatives))


def test_what_is_written_trains(encoder, tmp_path):
    config = MiningConfig(last_rank=12, count=3, ratio=2.0, margin=-2.0)
    out = tmp_path / "pairs.jsonl"
    mined = mine(
        encoder,
        from_paragraphs(paragraphs()),
        out,
        config,
        EncodingConfig(precision="fp32"),
        SearchConfig(device="cpu"),
    )
    lines = [json.loads(line) for line in out.open()]
    assert len(lines) == 12
    assert sum(len(line["negatives"]) for line in lines) == sum(mined.ranks.values()) > 12
    texts = passage_collection(paragraphs(), "paragraph").documents.texts
    assert [line["negatives"] for line in lines] == [[texts[row] for row in rows] for rows in mined.negatives]
    assert [line["passage"] for line in lines] == list(texts)
    assert (tmp_path / "pairs.png").exists()
    from hybrid.data.columns import Columns, pair_rows
    from hybrid.data.report import Report

    rows = list(pair_rows(str(out), None, Columns(DatasetConfig(files=str(out)), "data"), Report("mined")))
    assert [row.negatives for row in rows] == [line["negatives"] for line in lines]
    assert len({row.group for row in rows}) == 6
