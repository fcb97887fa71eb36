"""Contract 6: nothing of an evaluation set is trained on, and choices are made on articles of their own."""

import json

import pytest

from hybrid.data.config import DataConfig, DatasetConfig, DevConfig, LeakageConfig
from hybrid.data.leakage import normalised
from hybrid.data.load import load_corpora
from hybrid.runtime.errors import InputError
from tests.data.toy import ARTICLES, TRANSLATED, make_config, make_corpus, names_of, squad, write

BENCHMARK = {
    "X": [
        ("Something else is here.", [("b3", "Which one?", "Something")]),
        ("Another text stands here.", [("x1", "WHERE is  tea from", "text")]),
        ("the moon has no air; It is cold, at night", [("x2", "Is it cold?", "cold")]),
    ]
}


def against(tmp_path, level="passage", action="drop", benchmark=BENCHMARK) -> LeakageConfig:
    (tmp_path / "bench").mkdir(exist_ok=True)
    write(tmp_path / "bench" / "en.json", squad(benchmark))
    return LeakageConfig(against={"bench": str(tmp_path / "bench")}, level=level, action=action)


@pytest.mark.parametrize(("level", "left"), [("question", {"b1", "b2", "m1"}), ("passage", {"b1", "b2"})])
def test_items_leak_by_id_by_question_or_by_passage(tmp_path, level, left):
    data = load_corpora(make_config(tmp_path, {"en": ARTICLES, "de": TRANSLATED}, leakage=against(tmp_path, level)))
    assert set(names_of(data.train[0])) == left
    counts = {key.split("/")[-1]: value for key, value in data.counts.items() if key.startswith("leakage/bench/toy")}
    assert counts == {"id": 1, "question": 1, "any": 5 - len(left)} | ({"passage": 1} if level == "passage" else {})


def test_leaks_can_be_refused(tmp_path):
    with pytest.raises(InputError, match="3 items occur in bench"):
        make_corpus(tmp_path, {"en": ARTICLES}, leakage=against(tmp_path, action="refuse"))


def test_an_evaluation_set_of_which_nothing_can_be_read_is_refused_and_bad_rows_are_told(tmp_path, capsys):
    rows = [{"q": "When was it built?", "passage": "In 1894."}, {"query": "Who?", "passage": ""}]
    bench = DatasetConfig(format="pairs", files={"en": write(tmp_path / "b.jsonl", "\n".join(map(json.dumps, rows)))})
    config = make_config(tmp_path, {"en": ARTICLES}, leakage=LeakageConfig(against={"bench": bench}))
    with pytest.raises(InputError, match=r"data\.leakage\.against\.bench: its files hold no usable row.* no query"):
        load_corpora(config)
    bench.columns = {"query": "q"}
    assert "b1" not in names_of(load_corpora(config).train[0])
    assert "data.leakage.against.bench: 1 rows: no query" in capsys.readouterr().err


def test_a_training_set_that_is_the_benchmark_is_refused(tmp_path):
    with pytest.raises(InputError, match="all 5 items occur in bench"):
        make_corpus(tmp_path, {"en": ARTICLES}, leakage=against(tmp_path, benchmark=ARTICLES))


def test_texts_are_compared_without_case_marks_and_width():
    assert normalised("\uff37here  is TEA from?") == normalised("where is tea, from") == "whereisteafrom"
    assert normalised("कि") != normalised("का")


def test_held_out_articles_share_nothing_with_the_training_corpus(tmp_path):
    data = load_corpora(make_config(tmp_path, {"en": ARTICLES, "de": TRANSLATED}, dev=DevConfig(articles=1, seed=1)))
    train, dev = set(names_of(data.train[0])), set(names_of(data.dev[0]))
    assert dev in ({"b1", "b2", "b3"}, {"t1"}, {"m1"})
    assert train == {"b1", "b2", "b3", "t1", "m1"} - dev


def test_a_paragraph_in_two_articles_is_never_on_both_sides(tmp_path):
    shared = {f"Article {n}": [("The same text.", [(str(n), f"Question {n}?", "same")])] for n in range(4)}
    other = {"Other": [("Another text.", [("o", "What?", "Another")])]}
    for seed in range(5):
        config = make_config(tmp_path, {"en": shared | other}, dev=DevConfig(articles=1, seed=seed))
        assert set(names_of(load_corpora(config).dev[0])) in ({"o"}, set("0123"))


@pytest.mark.parametrize("action", ["drop", "refuse"])
def test_what_one_data_set_holds_out_is_not_trained_on_through_another(tmp_path, action):
    """The second data set has questions or passages of the first, under other ids; a third has the passages alone."""
    first = {f"A{n}": [(f"Fact {n} is here.", [(f"a{n}", f"Which is {n}?", "Fact")])] for n in range(8)}
    second = {f"B{n}": [(f"Fact {n} is here.", [(f"b{n}", f"What of {n}?", "Fact")])] for n in range(0, 8, 2)}
    second |= {f"B{n}": [(f"Something else {n}.", [(f"b{n}", f"Which is {n}?", "else")])] for n in range(1, 8, 2)}
    files = [{"en": write(tmp_path / name, squad(of))} for name, of in (("a.json", first), ("b.json", second))]
    sets = {
        "plain": DatasetConfig(files=files[0], passages_alone=True),
        "first": DatasetConfig(files=files[0]),
        "second": DatasetConfig(files=files[1]),
    }
    leakage = against(tmp_path, "question", action, {"X": [("Nothing.", [("x", "Nothing?", "Nothing")])]})
    for seed in range(3):
        dev = DevConfig(articles=1, seed=seed)  # compared at its own level, whatever that of the evaluation sets
        data = load_corpora(make_config(tmp_path, {}, sets=sets, dev=dev, leakage=leakage))
        held, trained = ([_texts_of(corpus) for corpus in side] for side in (data.dev, data.train))
        assert [corpus.name for corpus in data.train] == list(sets)
        assert all(not a & b for a in held for b in trained), seed


def _texts_of(corpus) -> set[str]:
    """Return the questions and passages of a corpus's items."""
    tables = corpus.tables
    texts = [tables.query_text, tables.candidate_passage[tables.answer]]
    return {corpus.texts[text] for part in texts for text in part.tolist()}


def test_all_articles_cannot_be_held_out(tmp_path):
    with pytest.raises(InputError, match=r"data\.dev\.articles is 3, but data\.sets\.toy has 3 articles"):
        make_corpus(tmp_path, {"en": ARTICLES}, dev=DevConfig(articles=3))


def test_a_development_file_that_overlaps_training_or_an_evaluation_set_is_refused(tmp_path):
    fresh = {"F": [("Snow fell all day.", [("f1", "What fell?", "Snow")])]}
    for content, message in (
        (fresh, None),
        (fresh | {"Moon": ARTICLES["Moon"]}, "in the training corpus too"),
        ({"X": BENCHMARK["X"][1:2]}, "in bench too"),
    ):
        dev = DevConfig(sets={"own": DatasetConfig(files={"en": write(tmp_path / "dev.json", squad(content))})})
        english = {"Bridge": ARTICLES["Bridge"], "Moon": ARTICLES["Moon"]}
        config = make_config(tmp_path, {"en": english}, dev=dev, leakage=against(tmp_path, "question"))
        if message:
            with pytest.raises(InputError, match=message):
                load_corpora(config)
        else:
            assert names_of(load_corpora(config).dev[0]) == ["f1"]


@pytest.mark.parametrize(("most", "own", "kept"), [(1000, None, 9), (4, None, 4), (4, 3, 3), (4, 6, 4)])
def test_a_development_set_is_no_larger_than_the_recipe_says(tmp_path, most, own, kept):
    content = {f"F{n}": [(f"Snow {n} fell.", [(f"f{n}", f"Snow {n}?", "fell")])] for n in range(9)}
    entry = DatasetConfig(files={"en": write(tmp_path / "dev.json", squad(content))}, max_items=own)
    dev = DevConfig(sets={"own": entry}, max_items=most)
    assert len(load_corpora(make_config(tmp_path, {"en": ARTICLES}, dev=dev)).dev[0]) == kept
    with pytest.raises(InputError, match=r"data\.dev\.max_items is 0"):
        DevConfig(articles=1, max_items=0)


def test_squad_dev_holds_exactly_the_questions_of_xquad(hybrid_data, tmp_path):
    config = DataConfig(
        sets={"squad": DatasetConfig(files=str(hybrid_data / "squad/dev.{language}.json.gz"))},
        passage="paragraph",
        leakage=LeakageConfig(against={"xquad-r": str(hybrid_data / "xquad-r")}),
        cache=str(tmp_path),
    )
    data = load_corpora(config)
    assert [data.counts[f"leakage/xquad-r/squad/{how}"] for how in ("id", "question", "passage", "any")] == [1190] * 4
    in_four = sum(block.stop - block.start for block in data.train[0].blocks if len(block.languages) == 4)
    assert in_four == 3187
