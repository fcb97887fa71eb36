"""Code-switching: what is replaced, by what, how often; the same for a row's key, another in each pass."""

import pickle
from dataclasses import replace

import numpy as np
import pytest

from hybrid.data.codeswitch import CodeSwitch, joined, switched
from hybrid.data.codeswitch_config import CodeSwitchConfig
from hybrid.data.codeswitch_words import WordSwitch
from hybrid.data.collate import Collator
from hybrid.data.lexicon import load_lexicons
from hybrid.data.load import load_corpora
from hybrid.data.store import token_store
from hybrid.data.words import in_case_of, spans
from hybrid.runtime.errors import InputError
from tests.data.test_collate import PREFIXES, Rows, every_row, split
from tests.data.toy import ARTICLES, TRANSLATED, make_config, write

ENGLISH_GERMAN = {
    **{"the": "das", "bridge": "Brücke", "was": "war", "built": "gebaut", "river": "Fluss", "tea": "Tee"},
    **{"engineers": "Ingenieure", "chose": "wählten", "steel": "Stahl", "wood": "Holz", "weak": "schwach", "in": "im"},
    **{"when": "wann", "it": "es", "what": "was", "moon": "Mond", "air": "Luft", "no": "keine", "cold": "kalt"},
}


def dictionary(tmp_path, name: str, words: dict[str, str]) -> str:
    return write(tmp_path / name, "".join(f"{word}\t{other}\n" for word, other in words.items()))


def word_switch(tmp_path, dictionaries: dict[str, dict[str, str]], **settings) -> WordSwitch:
    paths = {pair: dictionary(tmp_path, f"{pair}.tsv", words) for pair, words in dictionaries.items()}
    config = CodeSwitchConfig(**{"dictionaries": paths, "probability": 1.0} | settings)
    return WordSwitch(config, load_lexicons(config, str(tmp_path / "cache")))


def apply(switch: WordSwitch, text: str, language: str = "en", key: int = 7) -> str:
    return switched(text, switch(text, language, key))


def rows_of(corpora, turn: int = 0) -> Rows:
    rows = every_row(corpora)
    rows.passes = np.full(len(rows.rows), turn)
    return rows


def collator(tmp_path, tokenizer, corpora, config) -> Collator:
    return Collator(corpora, token_store(corpora, tokenizer, tmp_path), config, tokenizer, PREFIXES)


def english(corpora, config, tmp_path, **settings):
    path = dictionary(tmp_path, "en-de.tsv", ENGLISH_GERMAN)
    return replace(config, codeswitch=CodeSwitchConfig(**{"dictionaries": {"en-de": path}} | settings))


@pytest.fixture
def data(tmp_path):
    config = make_config(tmp_path, {"en": ARTICLES, "de": TRANSLATED}, hard_negatives=1)
    return load_corpora(config).train, config


def test_casing_and_punctuation_stay(tmp_path):
    switch = word_switch(tmp_path, {"en-de": {"house": "haus", "red": "rot", "nato": "otan"}})
    assert apply(switch, "House, RED house (red)... NATO!") == "Haus, ROT haus (rot)... OTAN!"
    assert in_case_of("the", "Das") == "Das"
    assert [text[a:b] for text in ["हिन्दी में, it\u2019s l'eau."] for a, b in spans(text)] == [
        "हिन्दी",
        "में",
        "it\u2019s",
        "l'eau",
    ]


def test_the_longest_phrase_comes_first_and_none_reaches_over_a_mark(tmp_path):
    words = {"new": "neu", "york": "eboracum", "new york": "Neuamsterdam", "new york city": "Großstadt"}
    switch = word_switch(tmp_path, {"en-de": words})
    assert apply(switch, "In New York City, New York, new, York.") == "In Großstadt, Neuamsterdam, neu, Eboracum."
    assert apply(switch, "new-york") == "Neuamsterdam"
    shorter = word_switch(tmp_path, {"en-de": words}, phrase_words=2)
    assert apply(shorter, "New York City") == "Neuamsterdam City"


def test_bilingual_has_one_target_a_text_and_multilingual_many(tmp_path):
    words = [f"w{n}" for n in range(40)]
    dictionaries = {f"en-{code}": {word: f"{code}{word}" for word in words} for code in ("de", "fr", "sw")}
    text = " ".join(words)
    for target, expected in (("text", {1}), ("word", {3})):
        switch = word_switch(tmp_path, dictionaries, target=target)
        found = [{new[:2] for _, _, new in switch(text, "en", key)} for key in range(20)]
        assert {len(codes) for codes in found} == expected
        assert set.union(*found) == {"de", "fr", "sw"}
    one = word_switch(tmp_path, dictionaries, languages=["sw"])
    assert {new[:2] for key in range(20) for _, _, new in one(text, "en", key)} == {"sw"}


def test_a_phrase_of_another_target_language_does_not_hide_its_words(tmp_path):
    switch = word_switch(tmp_path, {"en-de": {"new york": "Neuamsterdam"}, "en-fr": {"new": "neuf"}})
    assert {apply(switch, "new york", key=key) for key in range(30)} == {"Neuamsterdam", "neuf york"}


def test_words_are_replaced_with_probability_p_independently_for_each_key(tmp_path):
    words = {f"w{n}": f"x{n}" for n in range(50)}
    text, counts = " ".join(words), []
    switch = word_switch(tmp_path, {"en-de": words}, probability=0.25)
    places = np.zeros(50)
    for key in range(400):
        replaced = switch(text, "en", key)
        counts.append(len(replaced))
        for start, end, _ in replaced:
            places[int(text[start + 1 : end])] += 1
    assert abs(np.mean(counts) - 12.5) < 0.6  # 4 standard errors
    assert places.min() > 60 < 100 < places.max() < 145
    assert switch(text, "en", 3) == switch(text, "en", 3)


def test_several_translations_of_a_word_are_all_drawn(tmp_path):
    path = write(tmp_path / "d.txt", "house Haus\nhouse Heim\nhouse Hütte\n")
    config = CodeSwitchConfig(dictionaries={"en-de": path}, probability=1.0)
    switch = WordSwitch(config, load_lexicons(config, str(tmp_path / "cache")))
    assert {apply(switch, "house", key=key) for key in range(60)} == {"Haus", "Heim", "Hütte"}


def cut(text: str) -> list[str]:
    """A segmenter for the tests: two characters a word."""
    return [text[at : at + 2] for at in range(0, len(text), 2)]


def test_languages_without_spaces_are_targets_and_with_a_segmenter_sources(tmp_path):
    pairs = {"en-zh": {"tea": "茶"}, "zh-en": {"中国": "China", "喝茶": "drink tea"}}
    assert apply(word_switch(tmp_path, pairs), "Tea!") == "茶!"
    assert apply(word_switch(tmp_path, pairs), "中国喝茶", "zh") == "中国喝茶"
    named = word_switch(tmp_path, pairs, segmenters={"zh": "tests.data.test_codeswitch:cut"})
    assert apply(named, "中国喝茶。", "zh-Hans") == "Chinadrink tea。"
    broken = word_switch(tmp_path, pairs, segmenters={"zh": "tests.data.test_codeswitch:nothing"})
    with pytest.raises(InputError, match=r"segmenters.zh is .*cannot be imported"):
        apply(broken, "中国", "zh")


def test_the_sentence_before_its_paragraph_has_the_same_replacements():
    whole, sentence = "One two. Three two four.", "Three two four."
    replaced = [(0, 3, "Eins"), (9, 14, "Drei"), (15, 18, "zwei")]
    assert joined(whole, sentence, replaced) == "Drei zwei four. Eins two. Drei zwei four."
    assert joined(whole, None, replaced) == "Eins two. Drei zwei four."


def test_without_the_setting_and_in_texts_that_do_not_change_the_tokens_are_those_of_the_store(
    tmp_path, data, tokenizer
):
    corpora, config = data
    rows = rows_of(corpora)
    plain = collator(tmp_path, tokenizer, corpora, config)(rows)
    batch = collator(tmp_path, tokenizer, corpora, english(corpora, config, tmp_path))(rows)
    assert batch.query_groups.equal(plain.query_groups)
    assert batch.passage_groups.equal(plain.passage_groups)
    assert batch.negative_owner.equal(plain.negative_owner)
    german = np.array(["de", "en"])[rows.rows[:, 2]] == "de"
    own, before = split(batch.queries), split(plain.queries)
    assert [own[row] for row in np.flatnonzero(german)] == [before[row] for row in np.flatnonzero(german)]
    assert [own[row] for row in np.flatnonzero(~german)] != [before[row] for row in np.flatnonzero(~german)]


def test_switching_is_the_same_for_a_pass_another_in_the_next_and_no_matter_of_ranks_and_workers(
    tmp_path, data, tokenizer
):
    corpora, config = data
    settings = english(corpora, config, tmp_path)
    rows = rows_of(corpora)
    first, again = (collator(tmp_path, tokenizer, corpora, settings)(rows) for _ in range(2))
    assert first.queries.ids.equal(again.queries.ids)
    assert first.passages.ids.equal(again.passages.ids)
    # As a worker that is not forked gets it.
    make, count = pickle.loads(pickle.dumps(collator(tmp_path, tokenizer, corpora, settings))), len(rows.rows)
    halves = [np.arange(count // 2), np.arange(count // 2, count)]
    parts = [make(replace_rows(rows, half)) for half in halves]
    assert split(first.queries) == [ids for part in parts for ids in split(part.queries)]
    assert split(first.passages)[:count] == [
        ids for part, half in zip(parts, halves, strict=True) for ids in split(part.passages)[: len(half)]
    ]
    for other in (make(rows_of(corpora, 1)), collator(tmp_path, tokenizer, corpora, replace(settings, seed=1))(rows)):
        assert split(other.queries) != split(first.queries)
        assert split(other.passages)[:count] != split(first.passages)[:count]


def replace_rows(rows: Rows, chosen: np.ndarray) -> Rows:
    part = replace(rows, rows=rows.rows[chosen])
    part.passes = rows.passes[chosen]
    return part


def test_hard_negatives_are_switched_as_their_row_s_passage(tmp_path, data, tokenizer):
    corpora, config = data
    settings = english(corpora, replace(config, hard_negatives=9), tmp_path)
    rows = rows_of(corpora)
    batch = collator(tmp_path, tokenizer, corpora, settings)(rows)
    texts = [tokenizer.decode(ids, skip_special_tokens=True) for ids in split(batch.passages)]
    for owner, negative in zip(batch.negative_owner.tolist(), texts[len(rows.rows) :], strict=True):
        paragraph = texts[owner][-20:]  # one paragraph, with one set of replacements
        assert negative.endswith(paragraph), (texts[owner], negative)


@pytest.mark.parametrize(("sides", "queries", "passages"), [("queries", True, False), ("passages", False, True)])
def test_one_side_alone_can_be_switched(tmp_path, data, tokenizer, sides, queries, passages):
    corpora, config = data
    rows = rows_of(corpora)
    plain = collator(tmp_path, tokenizer, corpora, config)(rows)
    settings = english(corpora, config, tmp_path, sides=sides, probability=1.0)
    batch = collator(tmp_path, tokenizer, corpora, settings)(rows)
    assert (split(batch.queries) != split(plain.queries)) == queries
    assert (split(batch.passages) != split(plain.passages)) == passages


def test_a_dictionary_in_the_wrong_direction_is_refused_with_its_line_and_languages(tmp_path, tokenizer):
    facts = " ".join(f"The bridge was built in {n} and the river was cold." for n in range(40))
    config = make_config(tmp_path, {"de": {"A": [(facts, [("1", "When was it built?", "cold")])]}})
    corpora = load_corpora(config).train
    wrong = {german: word for word, german in ENGLISH_GERMAN.items()}
    path = dictionary(tmp_path, "x.tsv", wrong)
    settings = replace(config, codeswitch=CodeSwitchConfig(dictionaries={"de-en": path}))
    with pytest.raises(InputError, match=r"x.tsv, line 1: 'das', 'the': the dictionary is named de-en, but"):
        collator(tmp_path, tokenizer, corpora, settings)
    settings.codeswitch.dictionaries = {"fr-en": path}
    with pytest.raises(InputError, match=r"dictionaries are for texts in fr, but the texts are in de"):
        collator(tmp_path, tokenizer, corpora, settings)


def test_a_dictionary_that_knows_the_texts_in_neither_direction_is_told_and_not_said_to_be_turned_around(
    tmp_path, tokenizer, capsys
):
    facts = " ".join(f"The bridge was built in {n} and the river was cold." for n in range(40))
    config = make_config(tmp_path, {"fr": {"A": [(facts, [("1", "When was it built?", "cold")])]}})
    corpora = load_corpora(config).train
    path = dictionary(tmp_path, "x.tsv", {"zwei": "cold"})  # one word in twelve, as chance has it
    collator(tmp_path, tokenizer, corpora, replace(config, codeswitch=CodeSwitchConfig({"fr-sv": path})))
    told = capsys.readouterr().err
    assert "x.tsv, line 1: 'zwei', 'cold': the dictionary is named fr-sv" in told
    assert "replaces next to nothing" in told


def test_coverage_is_told_for_each_pair_of_languages(tmp_path, data, tokenizer, capsys):
    corpora, config = data
    collator(tmp_path, tokenizer, corpora, english(corpora, config, tmp_path))
    told = capsys.readouterr().out
    contexts = [context for content in ARTICLES.values() for context, _ in content]
    questions = [question for content in ARTICLES.values() for _, qas in content for _, question, _ in qas]
    # Two questions share the second paragraph, and the passage of each counts.
    words = [word.strip(".?").lower() for text in [*contexts, contexts[1], *questions] for word in text.split()]
    part = sum(word in ENGLISH_GERMAN for word in words) / len(words)
    assert f"words that have a translation: en > de {100 * part:.0f}%" in told


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, "takes either dictionaries or aligned text, or sentences"),
        ({"sentences": True, "dictionaries": {"en-de": "x"}}, "set one of the two"),
        ({"sentences": True, "identity": True}, "identity belongs to dictionaries"),
        ({"sentences": True, "probability": 0.0}, "probability is 0.0"),
        ({"dictionaries": {"zh-en": "x"}, "segmenters": {"zh": "jieba"}}, "expected MODULE:FUNCTION"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, told):
    with pytest.raises(InputError, match=told):
        CodeSwitchConfig(**settings)


@pytest.mark.parametrize(
    ("settings", "told"),
    [({"languages": ["fx"]}, "names 'fx'; the dictionaries lead to de"), ({"sets": ["tyo"]}, "did you mean 'toy'")],
)
def test_names_that_nothing_has_are_refused(tmp_path, data, tokenizer, settings, told):
    corpora, config = data
    with pytest.raises(InputError, match=told):
        collator(tmp_path, tokenizer, corpora, english(corpora, config, tmp_path, **settings))


def test_unlabelled_text_is_left_alone(tmp_path, data):
    _, config = data
    config.sets["plain"] = replace(config.sets["toy"], passages_alone=True)
    settings = replace(config, codeswitch=CodeSwitchConfig(sentences=True))
    assert CodeSwitch(settings, load_corpora(settings).train).on.tolist() == [True, False]
    settings.codeswitch.sets = ["plain"]
    with pytest.raises(InputError, match="names 'plain', which is unlabelled"):
        CodeSwitch(settings, load_corpora(settings).train)
