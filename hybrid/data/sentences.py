"""Sentences of a paragraph, and the text that is scored when a sentence is the candidate."""

import re
from functools import lru_cache

import numpy as np

_NOT_SPACE = re.compile(r"\S(?:.*\S)?", re.DOTALL)


def split_sentences(text: str, language: str) -> list[tuple[int, int]]:
    """Return the span of each sentence: first character and the one after the last, white space at the ends left out.

    Rules of sentencex for the language, or of the language that it falls back to; a language that it cannot segment
    (Thai writes no mark between sentences) gives one sentence. A text without letters gives none.
    """
    import sentencex

    spans, place = [], 0
    for piece in sentencex.segment(_segmenter_code(language), text):
        found = text.find(piece, place)
        if found < 0:
            return _whole(text)
        place = found + len(piece)
        if match := _NOT_SPACE.search(text, found, place):
            spans.append(match.span())
    return spans


def sentence_of(sentences: list[tuple[int, int]], position: int) -> int:
    """Return the number of the last sentence that begins at or before a character: white space belongs to none."""
    starts = [start for start, _ in sentences]
    return max(0, int(np.searchsorted(starts, position, side="right")) - 1)


def candidate_text(sentence: str, paragraph: str) -> str:
    """Return what is encoded for one sentence of a paragraph: the sentence, a space, the paragraph (LAReQA)."""
    return f"{sentence.strip()} {paragraph.strip()}"


def _whole(text: str) -> list[tuple[int, int]]:
    match = _NOT_SPACE.search(text)
    return [match.span()] if match else []


@lru_cache
def _segmenter_code(language: str) -> str:
    """Return the language part of a code such as zh-Hant, zh_cn or deu_Latn."""
    return re.split("[-_]", language)[0].lower()
