"""Code-switching by sentence: each is the text's own, or that of the item's own translation at its place."""

import json
from dataclasses import replace

import pytest

from hybrid.data.codeswitch import CodeSwitch, switched
from hybrid.data.codeswitch_config import CodeSwitchConfig
from hybrid.data.codeswitch_show import show
from hybrid.data.config import DatasetConfig
from hybrid.data.load import load_corpora
from tests.data.toy import ARTICLES, TRANSLATED, make_config, write


def test_sentences_are_those_of_the_item_s_own_translation(tmp_path):
    config = make_config(tmp_path, {"en": ARTICLES, "de": TRANSLATED})
    corpora = load_corpora(config).train
    settings = replace(config, codeswitch=CodeSwitchConfig(sentences=True, probability=0.5))
    switch, corpus = CodeSwitch(settings, corpora), corpora[0]
    item = [corpus.item_name(item) for item in range(len(corpus))].index("b1")
    english, german = ARTICLES["Bridge"][0][0], TRANSLATED["Bridge"][0][0]
    ours, theirs = english.split(". "), german.split(". ")
    seen = set()
    for key in range(60):
        text = switched(english, switch.replacements(0, item, "passage", "en", english, key))
        pieces = text.split(". ")
        assert all(piece in (a, b) for piece, a, b in zip(pieces, ours, theirs, strict=True))
        seen.add(tuple(piece == b for piece, b in zip(pieces, theirs, strict=True)))
    assert len(seen) == 8
    alone = [corpus.item_name(item) for item in range(len(corpus))].index("m1")
    assert switch.replacements(0, alone, "passage", "en", ARTICLES["Moon"][0][0], 1) == []


def test_the_part_of_each_language_s_texts_that_can_be_switched_is_told(tmp_path, capsys):
    lines = {"en": "A.\nB.\nC.\nD.\n", "de": "A!\nB!\n\n\n", "fr": "\nB?\nC.\n\n"}
    files = {code: write(tmp_path / f"own.{code}", text) for code, text in lines.items()}
    config = make_config(tmp_path, {"en": ARTICLES}, codeswitch=CodeSwitchConfig(sentences=True))
    config.sets = {"own": DatasetConfig(format="bitext", files=files)}
    CodeSwitch(config, load_corpora(config).train)
    # C is the same in French, D has no translation.
    assert "translation of as many sentences: de 100%, en 50%, fr 50%" in capsys.readouterr().out


def test_lines_of_aligned_documents_are_switched_one_by_one(tmp_path):
    lines = {"en": "Good day.\nSnow fell. It was cold.\n", "de": "Guten Tag.\nSchnee fiel. Es war kalt.\n"}
    files = {code: write(tmp_path / f"own.{code}", text) for code, text in lines.items()}
    config = make_config(tmp_path, {"en": ARTICLES}, codeswitch=CodeSwitchConfig(sentences=True, probability=0.5))
    config.sets = {"own": DatasetConfig(format="bitext", files=files, lines_per_text=2)}
    switch, whole = CodeSwitch(config, load_corpora(config).train), lines["en"].strip()
    found = {switched(whole, switch.replacements(0, 0, "passage", "en", whole, key)) for key in range(40)}
    assert found == {
        f"{a}\n{b}"
        for a in ("Good day.", "Guten Tag.")
        for b in ("Snow fell. It was cold.", "Schnee fiel. Es war kalt.")
    }


def test_a_translation_with_another_number_of_sentences_is_left_alone(tmp_path):
    english, german = "Snow fell. It was cold.", "Schnee fiel. Es war kalt. Niemand kam."
    files = {
        "en": {"A": [(english, [("1", "What fell?", "Snow")])]},
        "de": {"A": [(german, [("1", "Was?", "Schnee")])]},
    }
    config = make_config(tmp_path, files, codeswitch=CodeSwitchConfig(sentences=True, probability=1.0))
    switch = CodeSwitch(config, load_corpora(config).train)
    assert switch.replacements(0, 0, "passage", "en", english, 1) == []
    assert switched("What fell?", switch.replacements(0, 0, "query", "en", "What fell?", 1)) == "Was?"


@pytest.mark.parametrize("languages", [None, ["de"]])
def test_a_given_negative_never_becomes_the_answer_in_another_language(tmp_path, languages):
    passages = {
        "en": ("The answer is Paris. It lies on the Seine.", "Wrong is London. Other thing."),
        "de": ("Die Antwort ist Paris. Es liegt an der Seine.", "Falsch ist London. Andere Sache."),
    }
    rows = [
        {"id": "1", "query": f"Where, {code}?", "passage": right, "lang": code, "negatives": [wrong]}
        for code, (right, wrong) in passages.items()
    ]
    path = write(tmp_path / "rows.jsonl", "\n".join(map(json.dumps, rows)))
    settings = CodeSwitchConfig(sentences=True, probability=1.0, languages=languages)
    sets = {"own": DatasetConfig(format="pairs", files=path)}
    more = {"negatives": "given", "hard_negatives": 1, "passage": "paragraph"}
    config = make_config(tmp_path, {}, sets=sets, codeswitch=settings, **more)
    switch = CodeSwitch(config, load_corpora(config).train)
    right, wrong = passages["en"]
    assert switched(right, switch.replacements(0, 0, "passage", "en", right, 5)) == passages["de"][0]
    assert switch.replacements(0, 0, "passage", "en", wrong, 5) == []


def test_the_help_of_the_examples_is_their_own(capsys):
    with pytest.raises(SystemExit):
        show(["--help"])
    assert "hybrid.data.codeswitch [--show N]" in capsys.readouterr().out
