"""Hard negatives: none is lost where rows share an answer, and none is missing without a word."""

import json

import pytest

from hybrid.data.config import DataConfig, DatasetConfig
from hybrid.data.joining import joint_groups
from hybrid.data.load import load_corpora
from hybrid.runtime.errors import InputError
from tests.data.toy import ARTICLES, make_config, write

GIVEN = {"negatives": "given", "hard_negatives": 1}


def load(tmp_path, *sets: list[dict], **settings):
    """Load a data set of pairs for each list of rows, named p0, p1 ..."""
    files = [write(tmp_path / f"{n}.jsonl", "\n".join(map(json.dumps, rows))) for n, rows in enumerate(sets)]
    entries = {f"p{n}": DatasetConfig(format="pairs", files=path) for n, path in enumerate(files)}
    return load_corpora(DataConfig(**{"sets": entries, "cache": str(tmp_path / "cache")} | settings))


def row(name: str, negatives=None, **more) -> dict:
    return {
        "id": name,
        "query": f"What {name}?",
        "passage": f"It is {name}.",
        "lang": "en",
        "negatives": negatives,
    } | more


def pools(corpus) -> dict[tuple[str, str], list[str]]:
    """Return the texts of the hard negatives of each item and passage language."""
    tables, found = corpus.tables, {}
    for items, language, rows in corpus.each_passage():
        for item, place in zip(items.tolist(), rows.tolist(), strict=True):
            pool = tables.pool[tables.pool_start[place] : tables.pool_stop[place]]
            texts = sorted(corpus.texts[text] for text in tables.candidate_passage[pool])
            found[corpus.item_name(item), corpus.languages[language]] = texts
    return found


def test_rows_of_one_id_and_passage_language_share_all_their_negatives(tmp_path):
    rows = [
        row("a", ["a1"]),
        row("b", ["b1"]),
        row("a", ["a2", "a1"]),  # triples: one negative a line
        row("a", ["a3"], query="Was a?", query_lang="de"),  # mined for a question in another language
        row("a", ["a4"], query="Was a?", passage="Es ist a.", lang="de"),
        row("c"),
        row("c", ["c1"]),
    ]
    expected = {("a", "en"): ["a1", "a2", "a3"], ("a", "de"): ["a4"], ("b", "en"): ["b1"], ("c", "en"): ["c1"]}
    assert pools(load(tmp_path, rows, **GIVEN).train[0]) == expected


def test_hard_negatives_that_no_passage_has_are_refused_and_the_part_that_has_some_is_told(tmp_path, capsys):
    rows = [row("a", ["n"]), row("b", ["n"]), row("c", []), row("d", ["It is d."])]
    with pytest.raises(InputError, match=r"data.hard_negatives is set, but no passage of p0 has any"):
        load(tmp_path, rows, hard_negatives=1)
    load(tmp_path, rows, [row("x")], **GIVEN)
    told = capsys.readouterr()
    assert "data: 50.0% of the passages of p0 have hard negatives" in told.out
    assert "warning: data: 0.0% of the passages of p1 have hard negatives" in told.err
    load(tmp_path, rows, [row("x")], **GIVEN)  # a warm start tells it too
    assert "warning: data: 0.0% of the passages of p1" in capsys.readouterr().err
    load_corpora(make_config(tmp_path / "toy", {"en": ARTICLES}, hard_negatives=1))
    assert "100.0% of the passages of toy have hard negatives" in capsys.readouterr().out


def test_negatives_of_a_file_that_are_not_used_are_told(tmp_path, capsys):
    load(tmp_path, [row("a", ["n"]), row("b")])
    assert "data.sets.p0: 1 rows have negatives, which are not used" in capsys.readouterr().err
    load(tmp_path, [row("a", ["n"]), row("b")], **GIVEN)
    assert "not used" not in capsys.readouterr().err
    with pytest.raises(InputError, match=r"data.negatives is 'given', but data.hard_negatives is 0"):
        DataConfig(sets={"a": DatasetConfig(files={"en": "x"})}, negatives="given")


@pytest.mark.parametrize("negatives", [3, {"text": "n"}, [{"docid": "1", "text": "n"}], ["n", 3]])
def test_negatives_that_are_no_texts_are_left_out_and_counted(tmp_path, negatives):
    data = load(tmp_path, [row("a", ["n", None, " "]), row("b", negatives)], **GIVEN)
    assert data.counts["rows/p0/negatives that are not texts, left out"] == 1
    assert pools(data.train[0]) == {("a", "en"): ["n"], ("b", "en"): []}


def test_a_sentence_as_positive_beside_paragraphs_as_negatives_is_told(tmp_path, capsys):
    placed = row("a", ["n"], passage="It is a. So it is.", answers={"text": ["a"], "answer_start": [6]})
    load(tmp_path, [placed, row("b")], **GIVEN)
    assert "of 1 rows the positive is a sentence with its paragraph, the negatives are paragraphs alone" in (
        capsys.readouterr().err
    )
    load(tmp_path, [placed, row("b")], **GIVEN, passage="paragraph")
    assert "paragraphs alone" not in capsys.readouterr().err


def test_a_paragraph_alone_is_no_negative_of_what_its_sentences_answer(tmp_path):
    passage = "It is an apple. So it is. Nothing more."
    placed = [
        row("a", passage=passage, answers={"text": ["apple"], "answer_start": [9]}),
        row("c", passage=passage, answers={"text": ["So"], "answer_start": [16]}),
    ]
    whole = [row("b", passage=passage), row("d")]

    def groups(*sets) -> list[int]:
        corpora = load(tmp_path, *sets).train
        joint = joint_groups(corpora, tmp_path / "cache")
        names = {}
        for corpus, of in zip(corpora, joint, strict=True):
            for item, group in enumerate(corpus.groups.tolist()):
                names[corpus.item_name(item)] = group if of is None else int(of[group])
        return [names[name] for name in sorted(names)]

    for sets in ([placed + whole], [placed, whole], [whole, placed]):
        a, b, c, d = groups(*sets)
        assert a == b == c != d
    a, c = groups(placed)
    assert a != c  # without the paragraph alone the sentences are each other's negatives
    a, c, d = groups(placed, [row("d")])
    assert len({a, c, d}) == 3
