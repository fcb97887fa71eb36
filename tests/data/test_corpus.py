"""The corpus: items ordered by their languages, groups across languages, nothing lost on the way."""

import pickle

import numpy as np
import pytest

from hybrid.data.config import DataConfig, DatasetConfig
from hybrid.data.load import load_corpora
from hybrid.runtime.errors import InputError
from tests.data.toy import ARTICLES, TRANSLATED, make_config, make_corpus, names_of, squad, write


def test_blocks_cover_all_items_and_tell_the_languages_of_each(toy):
    assert toy.languages == ("de", "en")
    assert [block.start for block in toy.blocks] == [0, *[block.stop for block in toy.blocks[:-1]]]
    assert toy.blocks[-1].stop == len(toy) == 5
    found = {names: block.languages for block in toy.blocks for names in names_of(toy, range(block.start, block.stop))}
    assert found == {"b1": (0, 1), "b2": (0, 1), "t1": (0, 1), "b3": (1,), "m1": (1,)}


def test_every_item_has_the_text_of_its_file_in_each_language(toy):
    expected = {
        (name, code): (question, context, answer)
        for code, articles in (("en", ARTICLES), ("de", TRANSLATED))
        for paragraphs in articles.values()
        for context, qas in paragraphs
        for name, question, answer in qas
    }
    seen = {}
    for items, language, rows in toy.each_query():
        for item, row in zip(items, rows, strict=True):
            candidate = toy.tables.answer[toy.passage_rows(np.array([item]), np.array([language]))[0]]
            key = toy.item_name(item), toy.languages[language]
            sentence = toy.texts[toy.tables.candidate_sentence[candidate]]
            assert expected[key][2] in sentence
            assert sentence in expected[key][1]
            paragraph = toy.texts[toy.tables.candidate_passage[candidate]]
            seen[key] = (toy.texts[toy.tables.query_text[row]], paragraph, expected[key][2])
    assert seen == expected


def test_an_item_is_not_to_be_had_in_a_language_that_it_lacks(toy):
    item = np.array([names_of(toy).index("m1")])
    with pytest.raises(IndexError, match="does not exist"):
        toy.query_rows(item, np.array([0]))


def test_groups_join_what_shares_a_scored_text_in_any_language(tmp_path):
    english = {
        "A": [("One is red. Two is blue.", [("1", "Red?", "red"), ("2", "Blue?", "blue"), ("3", "One?", "One")])]
    }
    german = {"A": [("Eins ist rot und zwei ist blau.", [("1", "Rot?", "rot"), ("2", "Blau?", "blau")])]}
    alone = make_corpus(tmp_path / "a", {"en": english})
    both = make_corpus(tmp_path / "b", {"en": english, "de": german})
    assert _partition(alone) == {frozenset("13"), frozenset("2")}
    assert _partition(both) == {frozenset("123")}
    paragraphs = make_corpus(tmp_path / "c", {"en": english}, passage="paragraph")
    assert _partition(paragraphs) == {frozenset("123")}


def test_group_numbers_are_dense_and_candidates_agree_with_items(toy):
    _check_groups(toy)
    _check_groups(toy.subset(np.array([name in ("t1", "m1") for name in names_of(toy)])))


def test_an_id_twice_with_different_text_is_reported_and_the_first_kept(tmp_path):
    other = ("Ice is cold.", [("1", "New?", "Ice"), ("2", "Cold?", "Ice")])
    twice = {"A": [("Tea is old.", [("1", "Old?", "Tea")]), other]}
    config = make_config(tmp_path, {"en": twice})
    data = load_corpora(config)
    assert data.counts["rows/toy/id twice with different text (the first is kept)"] == 1
    assert data.train[0].texts[data.train[0].tables.query_text[0]] == "Old?"
    assert _partition(data.train[0]) == {frozenset("1"), frozenset("2")}
    config.strict = True
    with pytest.raises(InputError, match=r"en\.json, id 1: id twice"):
        load_corpora(config)


def test_a_subset_keeps_texts_alignment_and_groups(toy):
    names = names_of(toy)
    keep = np.array([name in ("b1", "b3", "m1") for name in names])
    small = toy.subset(keep)
    assert names_of(small) == [name for name in names if name in ("b1", "b3", "m1")]
    for items, language, rows in small.each_query():
        for item, row in zip(items, rows, strict=True):
            before = toy.query_rows(np.array([names.index(small.item_name(item))]), np.array([language]))
            assert small.tables.query_text[row] == toy.tables.query_text[before[0]]
    assert len(np.unique(small.tables.candidate_group)) == len(np.unique(toy.tables.candidate_group))
    assert small.digest != toy.digest


def test_the_digest_follows_the_content_not_the_place(tmp_path):
    one, same = (make_corpus(tmp_path / name, {"en": ARTICLES, "de": TRANSLATED}) for name in ("a", "b"))
    other = make_corpus(tmp_path / "c", {"en": ARTICLES})
    assert one.digest == same.digest != other.digest
    assert pickle.loads(pickle.dumps(one)).digest == one.digest
    assert one.subset(np.ones(len(one), bool)).digest == one.digest


def test_a_warm_start_does_not_read_the_corpus_and_a_changed_file_does(tmp_path, monkeypatch):
    config = make_config(tmp_path, {"en": ARTICLES})
    first = load_corpora(config)
    monkeypatch.setattr("hybrid.data.load.read_files", _never)
    again = load_corpora(config)
    assert again.counts == first.counts
    assert again.train[0].digest == first.train[0].digest
    write(tmp_path / "en.json", squad(TRANSLATED))
    with pytest.raises(AssertionError, match="read"):
        load_corpora(config)


def test_the_most_tokens_of_a_text_are_those_of_all_data_sets_or_of_those_with_questions():
    sets = {"a": DatasetConfig(files={"en": "x"}, max_length=300), "b": DatasetConfig(files={"en": "x"})}
    sets["plain"] = DatasetConfig(files={"en": "x"}, format="lines", max_length=512)
    config, both = DataConfig(sets=sets), {"data.query_max_length": 64, "data.passage_max_length": 256}
    assert config.lengths(questions=True) == both | {"data.sets.a.max_length": 300}
    assert config.lengths() == config.lengths(questions=True) | {"data.sets.plain.max_length": 512}


def test_settings_that_contradict_each_other_are_refused_by_key():
    sets = {"a": DatasetConfig(files={"en": "x"})}
    for settings, key in (
        ({"sets": {}}, "data.sets"),
        ({"sets": sets, "hard_negatives": -1}, "data.hard_negatives"),
        ({"sets": sets, "hard_negatives": 1, "passage": "paragraph"}, "data.negatives"),
        ({"sets": sets, "query_max_length": 2}, "data.query_max_length"),
        ({"sets": {"a": DatasetConfig()}}, "data.sets.a.files"),
        ({"sets": {"a": DatasetConfig(files="x", columns={"query": "q"})}}, "data.sets.a.columns"),
        ({"sets": {"a": DatasetConfig(format="trec", files="x")}}, "data.sets.a"),
    ):
        with pytest.raises(InputError, match=key):
            DataConfig(**settings)


def _partition(corpus) -> set[frozenset[str]]:
    names = np.array(names_of(corpus))
    return {frozenset(names[corpus.groups == group].tolist()) for group in set(corpus.groups.tolist())}


def _check_groups(corpus) -> None:
    """Items' groups are 0..n-1, answers have their items' groups, and each other candidate one of its own."""
    assert sorted(set(corpus.groups.tolist())) == list(range(corpus.groups.max() + 1))
    for items, _, rows in corpus.each_passage():
        assert (corpus.tables.candidate_group[corpus.tables.answer[rows]] == corpus.groups[items]).all()
    others = corpus.tables.candidate_group[corpus.tables.candidate_group > corpus.groups.max()]
    assert others.max() < corpus.n_groups
    assert len(set(others.tolist())) > len(corpus.tables.candidate_group) // 3


def _never(*_):
    raise AssertionError("the source files were read")


@pytest.mark.parametrize(("codes", "names"), [("en de", "a b"), ("de en", "a b"), ("en de", "b a")])
def test_a_corpus_is_that_of_the_recipe_as_written_whatever_the_cache_holds(tmp_path, codes, names):
    """The order of files numbers the texts, that of data sets the streams."""
    make_corpus(tmp_path, {"en": ARTICLES, "de": TRANSLATED})

    def digests(codes: str, names: str, cache: str) -> list[tuple[str, str]]:
        files = {code: str(tmp_path / f"{code}.json") for code in codes.split()}
        sets = {name: DatasetConfig(files=files) for name in names.split()}
        return [(c.name, c.digest) for c in load_corpora(DataConfig(sets=sets, cache=str(tmp_path / cache))).train]

    digests("en de", "a b", "shared")
    assert digests(codes, names, "shared") == digests(codes, names, "own")
