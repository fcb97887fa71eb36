"""Words of a text: where they are, and how one is written in the case of another."""

import re
import sys
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from itertools import accumulate, groupby, pairwise

from hybrid.runtime.errors import InputError

Span = tuple[int, int]

UNSPACED = frozenset(("zh", "ja", "th", "lo", "km", "my", "bo", "dz", "yue", "wuu", "cmn"))
"""Languages that write no space between words, by two letters (three where they have no two)."""

THREE_LETTERS = {"zho": "zh", "jpn": "ja", "tha": "th", "lao": "lo", "khm": "km", "mya": "my", "bod": "bo", "dzo": "dz"}


def base(language: str) -> str:
    """Return the language of a code such as zh-Hant, zh_cn or deu_Latn."""
    code = re.split("[-_]", language)[0].lower()
    return THREE_LETTERS.get(code, code)


def spans(text: str) -> list[Span]:
    """Return first character and the one after the last of each word between spaces and marks."""
    return [match.span() for match in _word().finditer(text)]


def segmenter(name: str, place: str) -> Callable[[str], list[Span]]:
    """Return what finds words by the function MODULE:FUNCTION, given under the key `place`."""
    module, _, function = name.partition(":")
    try:
        cut = getattr(import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise InputError(f"{place} is {name!r}, which cannot be imported ({error}); install it or mend it.") from error

    def found(text: str) -> list[Span]:
        words = list(cut(text))
        if "".join(words) != text:
            raise InputError(f"{place} = {name}: the words of {text[:40]!r} do not join to the text; take another one.")
        ends = list(accumulate(map(len, words), initial=0))
        return [(start, end) for start, end in pairwise(ends) if _word().search(text, start, end)]

    return found


def in_case_of(word: str, translation: str) -> str:
    """Return a translation with the capitals of the word that it replaces; its own capitals stay."""
    if len(word) > 1 and word.isupper():
        return translation.upper()
    if word[:1].isupper():
        return translation[:1].upper() + translation[1:]
    return translation


@lru_cache
def _word() -> re.Pattern:
    r"""Return what matches a word: `\w` lacks the vowel signs of Indic scripts and of Thai, which are marks."""
    points = (point for point in range(sys.maxunicode) if unicodedata.category(chr(point))[0] == "M")
    runs = [[point for _, point in run] for _, run in groupby(enumerate(points), lambda pair: pair[1] - pair[0])]
    letter = r"[\w" + "".join(f"{chr(run[0])}-{chr(run[-1])}" for run in runs) + "]"
    return re.compile(f"{letter}+(?:['\u2019]{letter}+)*")
