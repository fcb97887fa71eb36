"""Answers are compared as MLQA compares them, and found in passages as BGE-M3 finds them."""

import numpy as np
import pytest

from hybrid.evaluation.answers import answer_key, exact_match, f1, first_hits, normalised, passage_key


@pytest.mark.parametrize(
    ("answer", "language", "tokens"),
    [
        ("The Lord's  a-Ring!", "en", ["lords", "aring"]),
        ("La casa de las flores", "es", ["casa", "de", "flores"]),
        ("Der Anfang des Endes", "de", ["anfang", "endes"]),
        ("những cái bàn là đây", "vi", ["bàn", "đây"]),
        ("الكتاب المقال", "ar", ["كتاب", "مق"]),  # the two letters go wherever they stand, inside words too
        ("एक घर।", "hi", ["एक", "घर"]),
        ("在1998年\uff0cBill Gates说", "zh", ["在", "1998", "年", "bill", "gates", "说"]),
        ("the house", "fi", ["the", "house"]),
    ],
)
def test_an_answer_becomes_the_tokens_of_its_language(answer, language, tokens):
    assert normalised(answer, language) == tokens


def test_f1_counts_each_token_as_often_as_it_stands_there_and_takes_the_best_true_answer():
    assert f1("big big dog", ["big dog", "cat"], "en") == pytest.approx(2 * 2 / 5)
    assert f1("北京大学", ["北京"], "zh") == pytest.approx(2 * 2 / 6)
    assert f1("bird", ["dog", "cat"], "en") == 0.0
    assert f1("the", ["a"], "en") == 0.0


def test_exact_match_looks_past_case_articles_and_punctuation_only():
    assert exact_match("The Dog.", ["cat", "dog"], "en") == 1.0
    assert exact_match("The Dogs", ["dog"], "en") == 0.0
    assert exact_match("la casa", ["casa"], "en") == 0.0


@pytest.mark.parametrize(
    ("answer", "passage", "held"),
    [
        ("art", "He made art.", True),
        ("art", "The party", False),
        ("Café", "title\nthe CAFE\u0301 is open", True),
        ("1990-91", "in 1990\u201391, they", True),
        ("U.S.", "the U . S . army", True),
        ("New York", "new\nyork", True),
        ("York New", "New York New Jersey", True),
        ("don't", "I don\u2019t know", True),
        ("dont", "I don't", False),
    ],
)
def test_a_passage_holds_an_answer_as_a_sequence_of_tokens(answer, passage, held):
    assert (answer_key(answer) in passage_key(passage)) is held


def test_an_answer_without_a_token_is_found_nowhere():
    passages = ["a", "b c", "d"]
    found = np.array([[2, 1, 0], [1, 0, -1], [0, 2, -1]])
    assert first_hits(found, passages, [["C", "x"], [" "], ["D"]]).tolist() == [2, 0, 2]
