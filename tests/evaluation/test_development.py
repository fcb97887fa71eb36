"""The development split as a task: its queries, candidates and judgments are what training holds them to be."""

import json

import pytest

from hybrid.data.config import DataConfig, DatasetConfig
from hybrid.data.load import load_corpora
from hybrid.evaluation.development import corpus_collection, development_tasks
from tests.data.toy import ARTICLES, TRANSLATED, make_corpus, write

KEYS = ("id", "query_lang", "query", "passage_lang", "passage", "group")
ROWS = [
    ("1", "en", "What is tea?", "en", "Tea is a drink.", "tea"),
    ("1", "de", "Was ist Tee?", "en", "Tea is a drink.", "tea"),
    ("2", "en", "What is tea?", "en", "Tea comes from China.", "tea"),
    ("2", "en", "What is tea?", "de", "Tee kommt aus China.", "tea"),
    ("3", "fr", "Qui ?", "en", "She is cold. It was she.", None),
]


def pairs(tmp_path, passage: str) -> DataConfig:
    rows = [dict(zip(KEYS, row, strict=True)) for row in ROWS]
    files = write(tmp_path / "rows.jsonl", "\n".join(map(json.dumps, rows)))
    sets = {"p": DatasetConfig(format="pairs", files=files)}
    return DataConfig(sets=sets, passage=passage, cache=str(tmp_path / "cache"))


def judged(collection) -> dict[str, set[str]]:
    """Return the relevant texts of each query, by its language and text."""
    side, found = collection.queries, {}
    names = [f"{collection.languages[code]} {text}" for code, text in zip(side.language, side.texts, strict=True)]
    assert len(set(names)) == len(names)
    for query, document in collection.relevant.tolist():
        found.setdefault(names[query], set()).add(collection.documents.texts[document])
    return found


@pytest.mark.parametrize("passage", ["paragraph", "sentence_in_paragraph"])
def test_whole_passages_are_encoded_once_and_all_of_a_group_are_relevant(tmp_path, passage):
    config = pairs(tmp_path, passage)
    (task,) = development_tasks(load_corpora(config).train, config)
    tea = {"Tea is a drink.", "Tea comes from China.", "Tee kommt aus China."}
    expected = {"en What is tea?": tea, "de Was ist Tee?": tea, "fr Qui ?": {"She is cold. It was she."}}
    assert judged(task.collection) == expected
    assert sorted(task.collection.documents.texts) == sorted({*tea, "She is cold. It was she."})
    asked = dict(zip(task.collection.queries.texts, task.collection.question.tolist(), strict=True))
    assert asked["What is tea?"] == asked["Was ist Tee?"] != asked["Qui ?"]


def test_a_data_set_is_scored_with_the_lengths_that_it_is_trained_with(tmp_path):
    config = pairs(tmp_path, "paragraph")
    config.sets["p"].max_length = 17
    task = development_tasks(load_corpora(config).train, config)[0].task
    assert (task.query_max_length, task.passage_max_length) == (17, 17)


def test_a_sentence_stands_beside_all_of_its_paragraph_and_answers_its_item_alone(tmp_path):
    collection = corpus_collection(make_corpus(tmp_path, {"en": ARTICLES, "de": TRANSLATED}))
    context = ARTICLES["Bridge"][1][0]
    assert {f"Engineers chose steel. {context}", f"Wood was too weak. {context}"} <= set(collection.documents.texts)
    assert len(collection.documents) == len(set(collection.documents.texts)) == 9 + 7
    german = TRANSLATED["Tea"][0][0]
    answers = {f"Tea came from China. {ARTICLES['Tea'][0][0]}", f"Tee kam aus China. {german}"}
    assert judged(collection)["de Woher kommt Tee?"] == judged(collection)["en Where is tea from?"] == answers
    assert sorted(len(texts) for texts in judged(collection).values()) == [1, 1, 2, 2, 2, 2, 2, 2]


def test_white_space_before_a_paragraph_moves_no_sentence(tmp_path):
    paragraph = "One is red. Two is blue."
    corpus = make_corpus(tmp_path, {"en": {"A": [(f"\n  {paragraph} ", [("1", "Blue?", "blue")])]}})
    collection = corpus_collection(corpus)
    assert collection.documents.texts == [f"One is red. {paragraph}", f"Two is blue. {paragraph}"]
    assert judged(collection) == {"en Blue?": {f"Two is blue. {paragraph}"}}
