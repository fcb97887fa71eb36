"""Sentences: of every language, with nothing but white space left out."""

import pytest

from hybrid.data.lareqa import read_lareqa
from hybrid.data.sentences import candidate_text, sentence_of, split_sentences


@pytest.mark.parametrize(
    ("language", "text", "count"),
    [
        ("en", "Dr. Smith came. He left.", 2),
        ("zh", "他来了。他走了。", 2),
        ("hi", "वह आया। वह गया।", 2),
        ("ar", "هل جاء؟ نعم جاء.", 2),
        ("zh-Hant", "他來了。他走了。", 2),
        ("xx", "One came. Two left.", 2),
        ("en", "  One came.\n\nTwo left.  ", 2),
        ("en", "no mark at all", 1),
        ("en", "   ", 0),
    ],
)
def test_sentences_are_found_and_cover_the_text(language, text, count):
    spans = split_sentences(text, language)
    assert len(spans) == count
    assert "".join("".join(text[start:stop] for start, stop in spans).split()) == "".join(text.split())
    assert all(text[start:stop] == text[start:stop].strip() for start, stop in spans)


def test_white_space_and_what_stands_before_belongs_to_the_sentence_before():
    spans = [(0, 4), (6, 9)]
    assert [sentence_of(spans, position) for position in (0, 3, 5, 6, 20)] == [0, 0, 0, 1, 1]


def test_a_candidate_is_the_sentence_a_space_and_the_paragraph():
    assert candidate_text(" Two. ", "One. Two.\n") == "Two. One. Two."


@pytest.mark.parametrize("language", ["ar", "de", "el", "en", "es", "hi", "ru", "tr", "vi", "zh"])
def test_sentences_are_those_of_xquad_r_mostly(hybrid_data, language):
    paragraphs = read_lareqa(str(hybrid_data / f"xquad-r/{language}.json"))[:60]
    theirs = {(n, *span) for n, paragraph in enumerate(paragraphs) for span in paragraph.sentences}
    ours = {
        (n, *span) for n, paragraph in enumerate(paragraphs) for span in split_sentences(paragraph.context, language)
    }
    assert len(ours & theirs) > (0.75 if language == "tr" else 0.85) * len(theirs)
