"""Mined negatives: never an answer, never its translation, inside the window and the margin, readable for training."""

import json

import numpy as np
import pytest

from hybrid.data.config import DatasetConfig
from hybrid.data.records import Paragraph, Question
from hybrid.evaluation.config import EncodingConfig, SearchConfig
from hybrid.evaluation.mine import MiningConfig, choose, document_groups, mine, normalised
from hybrid.evaluation.passages import passage_collection
from hybrid.evaluation.search import Found
from hybrid.runtime.errors import InputError


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
    return collection, answers, Found(rows, scores)


def test_translations_of_a_paragraph_are_one_group(pool):
    group = document_groups(pool[0])
    assert group[:6].tolist() == group[6:].tolist()
    assert len(set(group)) == 6


def test_no_negative_answers_the_question_is_its_positive_or_nearer_than_that(pool):
    collection, _, found = pool
    mined = choose(*pool, MiningConfig(last_rank=12))
    group = document_groups(collection)
    for query, kept in enumerate(mined.negatives):
        assert kept
        for row in kept:
            assert group[row] != group[query % 6]
            assert f"answer{query % 6}" not in collection.documents.texts[row].casefold()
            assert list(found.rows[query]).index(row) > 2
    assert {"same group", "contains the answer", "too near to the positive", "kept"} <= mined.counts.keys()


@pytest.mark.parametrize("languages", ["own", "others", "both"])
def test_negatives_are_in_the_languages_asked_for(pool, languages):
    mined = choose(*pool, MiningConfig(last_rank=12, languages=languages, count=12))
    same = {(row < 6) == (query < 6) for query, kept in enumerate(mined.negatives) for row in kept}
    assert same == {"own": {True}, "others": {False}, "both": {True, False}}[languages]


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


def test_a_question_whose_positive_was_not_found_keeps_none(pool):
    collection, answers, found = pool
    without = Found(np.array([[row for row in line if row % 6 != 4] for line in found.rows]), found.scores[:, :10])
    assert choose(collection, answers, without, MiningConfig(last_rank=12)).negatives[4] == []


def test_a_window_that_is_none_is_refused():
    with pytest.raises(InputError, match="first_rank is 9, last_rank 3"):
        MiningConfig(first_rank=9, last_rank=3)


def test_what_is_written_trains(encoder, tmp_path):
    config = MiningConfig(last_rank=12, count=3, ratio=2.0, margin=-2.0)
    out = tmp_path / "pairs.jsonl"
    mined = mine(encoder, paragraphs(), out, config, EncodingConfig(precision="fp32"), SearchConfig(device="cpu"))
    lines = [json.loads(line) for line in out.open()]
    assert len(lines) == 12
    assert sum(len(line["negatives"]) for line in lines) == sum(mined.ranks.values()) > 12
    assert (tmp_path / "pairs.png").exists()
    from hybrid.data.columns import Columns, pair_rows
    from hybrid.data.report import Report

    rows = list(pair_rows(str(out), None, Columns(DatasetConfig(files=str(out)), "data"), Report("mined")))
    assert [row.negatives for row in rows] == [line["negatives"] for line in lines]
    assert len({row.group for row in rows}) == 6
