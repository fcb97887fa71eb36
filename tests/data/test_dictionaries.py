"""Dictionaries in their published forms, phrases out of word alignments, and what is refused with file and line."""

import gzip

import numpy as np
import pytest

from hybrid.data.alignments import phrases
from hybrid.data.codeswitch_config import AlignedText, CodeSwitchConfig
from hybrid.data.dictionaries import read_dictionary
from hybrid.data.lexicon import load_lexicons
from hybrid.runtime.errors import InputError
from tests.data.toy import write

TEI = """<?xml version="1.0" encoding="UTF-8"?>
<TEI xmlns="http://www.tei-c.org/ns/1.0"><text><body>
<entry><form><orth>house</orth><pron>haUs</pron></form><gramGrp><pos>n</pos></gramGrp>
 <sense n="1"><cit type="trans"><quote>Haus</quote></cit>
  <cit type="example"><quote>an old house</quote><cit type="trans"><quote>ein altes Haus</quote></cit></cit></sense>
 <sense n="2"><sense><cit type="trans"><quote>Gebäude</quote></cit></sense></sense></entry>
<entry><form><orth>amuse</orth></form><sense><def>belustigen</def></sense></entry>
<entry><form><orth>ash</orth></form><trans><tr>Asche</tr></trans></entry>
<entry><form><orth>New York</orth></form><sense><cit type="trans"><quote>New York</quote></cit></sense></entry>
</body></text></TEI>"""


def translations(lexicon, unit: str, target: str) -> list[str]:
    place = np.array([lexicon.targets.index(target)])
    begin, end = lexicon.ranges(place, np.array([lexicon.units[unit]]))
    return sorted(
        lexicon.translations[number] for number in lexicon.numbers[int(begin[0, 0]) : int(end[0, 0])].tolist()
    )


def lexicons(tmp_path, **settings):
    return load_lexicons(CodeSwitchConfig(**settings), str(tmp_path / "cache"))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("muse.txt", "house Haus\nhouse Heim\n"),
        ("tabs.tsv", "house\tHaus\nhouse\tHeim\n"),
        ("packed.txt.gz", "house Haus\nhouse Heim\n"),
    ],
)
def test_two_columns_are_a_word_and_its_translation(tmp_path, name, content):
    found = read_dictionary(write(tmp_path / name, content))
    assert found.pairs == [("house", "Haus"), ("house", "Heim")]
    assert "line 1: 'house', 'Haus'" in found.first


def test_tabs_admit_phrases(tmp_path):
    path = write(tmp_path / "en-de.tsv", "swimming pool\tFreies Bad\npool\tBecken\n")
    lexicon = lexicons(tmp_path, dictionaries={"en-de": path})["en"]
    assert translations(lexicon, "swimming pool", "de") == ["Freies Bad"]
    assert lexicon.longest == {"swimming": 2}


@pytest.mark.parametrize("name", ["eng-deu.tei", "eng-deu.tei.gz"])
def test_freedict_gives_translations_and_no_examples(tmp_path, name):
    found = read_dictionary(write(tmp_path / name, TEI))
    assert found.pairs == [
        *(("house", "Haus"), ("house", "Gebäude")),
        *(("amuse", "belustigen"), ("ash", "Asche"), ("New York", "New York")),
    ]


def test_a_few_broken_lines_are_left_out_and_told_with_their_number(tmp_path, capsys):
    lines = [f"word{n} Wort{n}" for n in range(300)]
    lines[6] = "seven words that are no pair at all"
    path = write(tmp_path / "en-de.txt", "\n".join(lines))
    lexicon = lexicons(tmp_path, dictionaries={"en-de": path})["en"]
    assert len(lexicon.units) == 299
    assert "en-de.txt, line 7: 'seven words" in capsys.readouterr().err


def test_a_file_that_is_no_dictionary_is_refused_with_its_line(tmp_path):
    path = write(tmp_path / "en-de.txt", "house Haus\nthis is a sentence\n")
    with pytest.raises(InputError, match=r"en-de.txt, line 2: 'this is a sentence' is no pair.*, of \d+; expected"):
        read_dictionary(path)
    with pytest.raises(InputError, match=r"broken XML"):
        read_dictionary(write(tmp_path / "broken.tei", TEI[:300]))
    with pytest.raises(InputError, match="holds no entry with a translation"):
        read_dictionary(write(tmp_path / "empty.tei", "<TEI><entry/></TEI>"))


def test_pairs_of_a_word_with_itself_are_left_out_unless_wanted(tmp_path):
    path = write(tmp_path / "en-de.txt", "taxi Taxi\nhouse Haus\n")
    assert sorted(lexicons(tmp_path, dictionaries={"en-de": path})["en"].units) == ["house"]
    assert sorted(lexicons(tmp_path, dictionaries={"en-de": path}, identity=True)["en"].units) == ["house", "taxi"]


def test_a_dictionary_can_be_read_both_ways_and_several_meet_in_one_lexicon(tmp_path):
    paths = {"en-de": write(tmp_path / "a", "house Haus\n"), "en-fr": write(tmp_path / "b", "house maison\n")}
    found = lexicons(tmp_path, dictionaries=paths, both_ways=True)
    assert sorted(found) == ["de", "en", "fr"]
    assert found["en"].targets == ["de", "fr"]
    assert translations(found["en"], "house", "fr") == ["maison"]
    assert translations(found["de"], "haus", "en") == ["house"]


def test_changed_files_are_read_again(tmp_path):
    path = write(tmp_path / "en-de.txt", "house Haus\n")
    lexicons(tmp_path, dictionaries={"en-de": path})
    write(tmp_path / "en-de.txt", "house Gebäude\n")
    assert translations(lexicons(tmp_path, dictionaries={"en-de": path})["en"], "house", "de") == ["Gebäude"]


@pytest.mark.parametrize("name", ["ende", "en-zh-Hant", "en-en"])
def test_a_pair_that_is_none_is_refused(tmp_path, name):
    with pytest.raises(InputError, match="expected a pair such as en-de"):
        lexicons(tmp_path, dictionaries={name: write(tmp_path / "d.txt", "house Haus\n")})


def test_phrases_are_those_whose_words_link_to_each_other_alone():
    links = [(0, 1), (1, 0), (2, 2)]
    assert set(phrases(links, 4)) == {(0, 0, 1, 1), (1, 1, 0, 0), (2, 2, 2, 2), (0, 1, 0, 1), (0, 2, 0, 2)}
    assert (0, 2, 0, 2) not in set(phrases(links, 2))
    assert set(phrases([(0, 0), (0, 2)], 4)) == {(0, 0, 0, 2)}


def test_aligned_text_gives_phrases_and_their_translations(tmp_path):
    text = AlignedText(
        source=write(tmp_path / "a.en", "the house is old .\nthe house burns\n"),
        target=write(tmp_path / "a.de", "das Haus ist alt .\ndas Haus brennt\n"),
        links=write(tmp_path / "links", "0-0 1-1 2-2 3-3 4-4\n0-0 1-1 2-2\n"),
    )
    lexicon = lexicons(tmp_path, aligned={"en-de": text})["en"]
    assert translations(lexicon, "the house", "de") == ["das Haus"]
    assert translations(lexicon, "is old", "de") == ["ist alt"]
    twice = lexicons(tmp_path, aligned={"en-de": text}, phrase_count=2)["en"]
    assert sorted(twice.units) == ["house", "the", "the house"]


def test_translations_much_rarer_than_the_commonest_are_left_out(tmp_path):
    text = AlignedText(
        source=write(tmp_path / "a.en", "house\n" * 8),
        target=write(tmp_path / "a.de", "Haus\n" * 5 + "Heim\n" * 2 + "Minute\n"),
        links=write(tmp_path / "links", "0-0\n" * 8),
    )
    assert translations(lexicons(tmp_path, aligned={"en-de": text})["en"], "house", "de") == ["Haus", "Heim"]


@pytest.mark.parametrize(
    ("links", "told"),
    [("0-0\n", "ends before line 2"), ("0-0\n0:1\n", "line 2: has '0:1'"), ("0-0\n0-9\n", "line 2: links 0-9")],
)
def test_links_that_do_not_fit_their_text_are_refused_with_their_line(tmp_path, links, told):
    text = AlignedText(
        source=write(tmp_path / "a.en", "one\ntwo\n"),
        target=write(tmp_path / "a.de", "eins\nzwei\n"),
        links=write(tmp_path / "links", links),
    )
    with pytest.raises(InputError, match=told):
        lexicons(tmp_path, aligned={"en-de": text})


@pytest.mark.parametrize(
    ("content", "told"),
    [(gzip.compress(b"0-0\n" * 999, mtime=0)[:-9], "broken gzip"), (b"0-0\n\xff\n", "is not UTF-8")],
)
def test_a_broken_file_of_links_is_told(tmp_path, content, told):
    (tmp_path / "links").write_bytes(content)
    text = AlignedText(
        source=write(tmp_path / "a.en", "one\n" * 999),
        target=write(tmp_path / "a.de", "eins\n" * 999),
        links=str(tmp_path / "links"),
    )
    with pytest.raises(InputError, match=f"links: .*{told}"):
        lexicons(tmp_path, aligned={"en-de": text})


def test_packed_and_plain_files_are_the_same(tmp_path):
    (tmp_path / "p.tei.gz").write_bytes(gzip.compress(TEI.encode()))
    assert read_dictionary(str(tmp_path / "p.tei.gz")).pairs == read_dictionary(write(tmp_path / "p.tei", TEI)).pairs
