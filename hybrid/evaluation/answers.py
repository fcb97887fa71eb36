"""Answer strings: MLQA's F1 and exact match of extracted answers, and whether a passage holds an answer.

F1 and exact match are those of MLQA's evaluation (Lewis et al. 2020, arXiv 1910.07475, section 4 and its published
script, version 1.0): lower case, then no punctuation, then no articles of the language, then tokens.
"""

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import cache

import numpy as np
import regex

# Articles by language. Arabic's is written onto its word, and MLQA takes these two letters out wherever they stand.
_ARTICLES = {
    "en": r"\b(?:a|an|the)\b",
    "es": r"\b(?:un|una|unos|unas|el|la|los|las)\b",
    "de": r"\b(?:ein|eine|einen|einem|eines|einer|der|die|das|den|dem|des)\b",
    "vi": r"\b(?:của|là|cái|chiếc|những)\b",
    "ar": "ال",
}
MLQA_LANGUAGES = ("ar", "de", "en", "es", "hi", "vi", "zh")
_HAN = re.compile("([\u4e00-\u9fa5])")

# What BGE-M3 writes alike in passages before it looks for answers (its definition, not a choice of ours).
_ALIKE = {
    **dict.fromkeys(map(chr, (*range(1, 9), 14, 15, *range(17, 28), 0xAD)), ""),
    **dict.fromkeys("\x0b\x0c\x85", " "),
    **dict.fromkeys("\u2010\u2011\u2043\u2012\u2013\u2014\u2015\u2212\uff0d\u207b", "-"),  # dashes and minus signs
    **dict.fromkeys("\u201c\u201d\u201e\u201f", '"'),  # double quotes
    # Single quotes, apostrophes, accents, primes.
    **dict.fromkeys("\u2018\u2019\u201a\u201b\u055a\ua78b\ua78c\uff07`\u00b4\u2032\u2035", "'"),
    **dict.fromkeys("\u2033\u2036", "''"),  # double primes
    **dict.fromkeys("\u2034\u2037", "'''"),  # triple primes
    "\u2057": "''''",  # quadruple prime
    "\u2026": "...",  # ellipsis
    **dict.fromkeys("\u2044\u2215", "/"),  # slashes
}
_TRANSLATION = str.maketrans(_ALIKE)
_TOKEN = regex.compile(r"[\p{L}\p{N}\p{M}]+|[^\p{Z}\p{C}]")


def normalised(answer: str, language: str) -> list[str]:
    """Return the tokens of an answer by MLQA's definition.

    Chinese is cut into its characters, all else at white space. A language that MLQA does not have (it has those of
    `MLQA_LANGUAGES`) is taken to have no articles.
    """
    text = "".join(letter for letter in answer.lower() if not _is_punctuation(letter))
    if language in _ARTICLES:
        text = re.sub(_ARTICLES[language], " ", text)
    return (_HAN.sub(r" \1 ", text) if language == "zh" else text).split()


@cache
def _is_punctuation(letter: str) -> bool:
    return letter in string.punctuation or unicodedata.category(letter).startswith("P")


def exact_match(answer: str, truths: Sequence[str], language: str) -> float:
    """Return 1 where an answer equals one of the true ones after normalisation, else 0."""
    return float(any(normalised(answer, language) == normalised(truth, language) for truth in truths))


def f1(answer: str, truths: Sequence[str], language: str) -> float:
    """Return the largest F1 of the answer's tokens against a true answer's, each token as often as it stands there."""
    return max(_overlap(normalised(answer, language), normalised(truth, language)) for truth in truths)


def _overlap(found: list[str], true: list[str]) -> float:
    common = sum((Counter(found) & Counter(true)).values())
    return 2 * common / (len(found) + len(true)) if common else 0.0


def answer_key(answer: str) -> str:
    """Return an answer as lower-case tokens between spaces: NFD, then runs of letters, digits and marks, or signs.

    This is DPR's tokeniser as Contriever and BGE-M3 use it (arXiv 2004.04906, 2402.03216). Empty without a token.
    """
    tokens = _TOKEN.findall(unicodedata.normalize("NFD", answer))
    return f" {' '.join(tokens).lower()} " if tokens else ""


def passage_key(passage: str) -> str:
    """Return a passage as `answer_key` does, with BGE-M3's equal signs (dashes, quotes) written alike first.

    A passage holds an answer exactly where its key holds the answer's key: tokens have no spaces in them.
    """
    return answer_key(passage.lower().translate(_TRANSLATION).replace(" . . . ", " ... "))


def first_hits(found_BK: np.ndarray, passages: Sequence[str], answers: Sequence[Sequence[str]]) -> np.ndarray:
    """Return int64 [B], the rank of each query's first passage that holds one of its answers; 0 where none does.

    Args:
        found_BK: int64, rows of `passages` in the order of each query's ranking, -1 beyond the corpus.
        answers: the answer strings of each query.
    """
    keys: dict[int, str] = {}
    ranks = np.zeros(len(found_BK), np.int64)
    for query, rows in enumerate(found_BK.tolist()):
        wanted = [key for key in map(answer_key, answers[query]) if key]
        for place, row in enumerate(row for row in rows if row >= 0):
            if row not in keys:
                keys[row] = passage_key(passages[row])
            if any(key in keys[row] for key in wanted):
                ranks[query] = place + 1
                break
    return ranks
