"""Unlabelled text and bitext: one text a line, joined by line where it is translated, and the same tokens twice."""

from dataclasses import replace

import numpy as np
import pytest

from hybrid.data import lines as lines_module
from hybrid.data.collate import Collator
from hybrid.data.config import DataConfig, DatasetConfig, DevConfig
from hybrid.data.load import load_corpora
from hybrid.data.report import Report
from hybrid.data.store import token_store
from hybrid.runtime.errors import InputError
from tests.data.test_collate import PREFIXES, every_row, split
from tests.data.toy import ARTICLES, TRANSLATED, make_config, names_of, write

ENGLISH = "Snow fell.\nIt was cold.\nNobody came.\nThe end.\n"
GERMAN = "Schnee fiel.\nEs war kalt.\nNiemand kam.\nDas Ende.\n"


def config(tmp_path, texts: dict[str, str], **entry) -> DataConfig:
    files = {code: write(tmp_path / f"own.{code}", text) for code, text in texts.items()}
    return DataConfig(sets={"own": DatasetConfig(files=files, **entry)}, cache=str(tmp_path / "cache"))


def texts_by_item(corpus) -> dict[str, dict[str, str]]:
    found = {name: {} for name in names_of(corpus)}
    for items, language, rows in corpus.each_query():
        for item, row in zip(items.tolist(), rows.tolist(), strict=True):
            text = corpus.texts[int(corpus.tables.query_text[row])]
            found[corpus.item_name(item)][corpus.languages[language]] = text
    return found


def test_lines_of_bitext_are_joined_by_their_number(tmp_path):
    corpus = load_corpora(config(tmp_path, {"en": ENGLISH, "de": GERMAN}, format="bitext")).train[0]
    assert texts_by_item(corpus)["line 2"] == {"en": "It was cold.", "de": "Es war kalt."}
    assert len(corpus) == 4
    assert not corpus.unlabelled


def test_lines_of_unlabelled_text_are_each_an_item_of_its_own(tmp_path):
    corpus = load_corpora(config(tmp_path, {"en": ENGLISH, "de": GERMAN}, format="lines")).train[0]
    assert len(corpus) == 8
    assert corpus.unlabelled
    assert all(len(texts) == 1 for texts in texts_by_item(corpus).values())


def test_empty_and_over_long_lines_are_left_out_counted_and_told(tmp_path, capsys):
    settings = config(tmp_path, {"en": "One line.\n\n   \n" + "x" * 50 + "\n"}, format="lines", max_characters=20)
    data = load_corpora(settings)
    assert len(data.train[0]) == 1
    assert data.counts["rows/own/empty line"] == 2
    told = capsys.readouterr().err
    assert "own.en, line 2; " in told
    assert "over-long line (more than max_characters, 20), such as" in told
    settings.strict = True
    with pytest.raises(InputError, match=r"own.en, line 2: empty line"):
        load_corpora(settings)


def test_text_of_nothing_but_such_lines_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"hold no usable row; .*over-long line"):
        load_corpora(config(tmp_path, {"en": "x" * 50 + "\n"}, format="lines", max_characters=20))
    with pytest.raises(InputError, match=r"hold no usable row; they are empty. Mend or replace them"):
        load_corpora(config(tmp_path, {"en": ""}, format="lines"))


def test_an_empty_line_of_bitext_leaves_the_item_without_that_language(tmp_path):
    german = GERMAN.replace("Es war kalt.", "")
    found = texts_by_item(load_corpora(config(tmp_path, {"en": ENGLISH, "de": german}, format="bitext")).train[0])
    assert found["line 2"] == {"en": "It was cold."}
    assert found["line 3"] == {"en": "Nobody came.", "de": "Niemand kam."}


def test_bitext_whose_files_differ_in_length_is_refused_with_both(tmp_path):
    with pytest.raises(InputError, match=r"own.de has 3 lines, but .*own.en has 4"):
        load_corpora(config(tmp_path, {"en": ENGLISH, "de": GERMAN[: GERMAN.index("Das")]}, format="bitext"))
    with pytest.raises(InputError, match="needs two languages"):
        load_corpora(config(tmp_path, {"en": ENGLISH}, format="bitext"))


def test_texts_of_several_lines_stay_within_their_document(tmp_path):
    documents = write(tmp_path / "documents", "a\na\na\nb\n")
    settings = {"format": "bitext", "documents": documents, "lines_per_text": 2}
    corpus = load_corpora(config(tmp_path, {"en": ENGLISH, "de": GERMAN}, **settings)).train[0]
    texts = {name: found["en"] for name, found in texts_by_item(corpus).items()}
    assert texts == {"line 1": "Snow fell.\nIt was cold.", "line 3": "Nobody came.", "line 4": "The end."}
    assert len(np.unique(corpus.tables.article)) == 2
    write(tmp_path / "documents", "a\n")
    with pytest.raises(InputError, match="documents has 1 lines"):
        load_corpora(config(tmp_path, {"en": ENGLISH, "de": GERMAN}, **settings))


def test_passages_alone_are_each_taken_once_without_their_questions(tmp_path):
    settings = make_config(tmp_path, {"en": ARTICLES, "de": TRANSLATED})
    settings.sets["plain"] = replace(settings.sets["toy"], passages_alone=True)
    questions, plain = load_corpora(settings).train
    assert plain.unlabelled
    assert not questions.unlabelled
    texts = [text for found in texts_by_item(plain).values() for text in found.values()]
    expected = [context for side in (ARTICLES, TRANSLATED) for content in side.values() for context, _ in content]
    assert sorted(texts) == sorted(expected)


def test_query_and_passage_of_unlabelled_text_are_the_same_tokens_within_the_sets_length(tmp_path, tokenizer):
    settings = make_config(tmp_path, {"en": ARTICLES, "de": TRANSLATED})
    settings.sets["plain"] = replace(settings.sets["toy"], passages_alone=True, max_length=9)
    corpora = load_corpora(settings).train
    rows = every_row(corpora)
    collator = Collator(corpora, token_store(corpora, tokenizer, tmp_path), settings, tokenizer, PREFIXES)
    batch = collator(rows)
    plain = np.flatnonzero(rows.rows[:, 0] == 1).tolist()
    queries, passages = split(batch.queries), split(batch.passages)
    assert plain
    assert all(queries[row] == passages[row] and len(queries[row]) == 9 for row in plain)
    alone = Collator(corpora, token_store(corpora, tokenizer, tmp_path), replace(settings), tokenizer, PREFIXES)
    others = np.flatnonzero(rows.rows[:, 0] == 0)
    rest = alone(replace(rows, rows=rows.rows[others]))
    assert [queries[row] for row in others.tolist()] == split(rest.queries)
    assert [passages[row] for row in others.tolist()] == split(rest.passages)


def test_max_items_takes_so_many_the_same_ones_each_time(tmp_path):
    first = load_corpora(config(tmp_path, {"en": ENGLISH, "de": GERMAN}, format="bitext", max_items=2)).train[0]
    again = load_corpora(config(tmp_path, {"en": ENGLISH, "de": GERMAN}, format="bitext", max_items=2)).train[0]
    assert len(first) == 2
    assert names_of(first) == names_of(again)
    assert set(texts_by_item(first)[names_of(first)[0]]) == {"en", "de"}


def test_what_is_held_out_of_questions_is_not_trained_on_as_plain_text(tmp_path):
    settings = make_config(tmp_path, {"en": ARTICLES}, dev=DevConfig(articles=1.0))
    settings.sets = {"plain": replace(settings.sets["toy"], passages_alone=True)} | settings.sets
    data = load_corpora(settings)
    held = {data.dev[0].texts[int(n)] for n in data.dev[0].tables.candidate_passage[data.dev[0].tables.answer]}
    plain = {text for found in texts_by_item(data.train[0]).values() for text in found.values()}
    assert held
    assert [corpus.name for corpus in data.train] == ["plain", "toy"]
    assert not held & plain


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"documents": "x"}, "belong to formats 'lines' and 'bitext'"),
        ({"max_items": 0}, "max_items is 0"),
        ({"max_length": 3}, "max_length is 3; give at least 4"),
    ],
)
def test_settings_of_a_set_that_make_no_sense_are_refused(entry, told):
    with pytest.raises(InputError, match=told):
        DataConfig(sets={"own": DatasetConfig(files="x", **entry)})


def test_a_file_of_lines_is_never_in_memory_as_a_whole(tmp_path, monkeypatch):
    """The first text is there when no more than its lines were read."""
    read = []

    def lines(path: str):
        for number in range(9):
            read.append(number)
            yield f"Line {number}."

    monkeypatch.setattr(lines_module, "read_all_lines", lines)
    config = DatasetConfig(format="lines", files={"en": "x"}, lines_per_text=2)
    rows = lines_module.line_rows("x", "en", config, None, Report("x"))
    assert next(rows).query == "Line 0.\nLine 1."
    assert len(read) <= 3
    assert [row.query for row in rows][-1] == "Line 8."


def test_translations_of_a_passage_alone_are_of_one_group(tmp_path):
    settings = make_config(tmp_path, {"en": ARTICLES, "de": TRANSLATED})
    settings.sets = {"plain": replace(settings.sets["toy"], passages_alone=True)}
    plain = load_corpora(settings).train[0]
    group = dict(zip(names_of(plain), plain.groups.tolist(), strict=True))
    assert group["en b1"] == group["de b1"] != group["en t1"] == group["de t1"]
    assert len(set(group.values())) == 4


def test_translations_of_a_passage_alone_are_found_by_any_question_in_common(tmp_path):
    context, (steel, engineers) = ARTICLES["Bridge"][1]
    files = {"en": {"Bridge": [(context, [engineers, steel])]}, "de": TRANSLATED}  # in German there is but the second
    settings = make_config(tmp_path, files)
    settings.sets = {"plain": replace(settings.sets["toy"], passages_alone=True)}
    plain = load_corpora(settings).train[0]
    group = dict(zip(names_of(plain), plain.groups.tolist(), strict=True))
    assert group["en b3"] == group["de b2"] != group["de b1"]
