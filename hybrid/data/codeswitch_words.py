"""Replacing words and phrases by dictionary (arXiv 2305.05295: word by word, with probability p, in one target language
or in many)."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from hybrid.data.codeswitch_config import CodeSwitchConfig
from hybrid.data.lexicon import Lexicon
from hybrid.data.words import UNSPACED, Span, base, in_case_of, segmenter, spans
from hybrid.sampling.keyed import hash64, uniform

Replacement = tuple[int, int, str]
"""First character, the one after the last, and what stands there instead."""
Matches = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Start, end and unit of each place where a unit stands, int64 [n]; by start, longest first."""

CACHED = 1 << 14  # texts whose words and units a process remembers
BETWEEN = frozenset(" -\u2011\u00a0")  # what may stand between two words of a phrase
TARGET, CHOICE = np.array([1]), np.array([2])  # separate draws under one key


class WordSwitch:
    """Finds the replacements of a text; what is drawn depends on its key alone."""

    def __init__(self, config: CodeSwitchConfig, lexicons: dict[str, Lexicon]):
        self.config, self.lexicons = config, lexicons
        self._matches = lru_cache(CACHED)(self.matches)

    def __reduce__(self):
        return WordSwitch, (self.config, self.lexicons)

    def lexicon(self, language: str) -> Lexicon | None:
        """Return the dictionaries out of a language; of a code with script or region, those of the bare language."""
        return self.lexicons.get(language) or self.lexicons.get(base(language))

    def cutter(self, language: str) -> Callable[[str], list[Span]] | None:
        """Return what finds the words of a language's texts; None for one without spaces and without segmenter."""
        for code in (language, base(language)):
            if name := self.config.segmenters.get(code):
                return segmenter(name, f"data.codeswitch.segmenters.{code}")
        return None if base(language) in UNSPACED else spans

    def targets(self, lexicon: Lexicon, language: str) -> np.ndarray:
        """Return the numbers of the target languages that the recipe admits for texts in a language."""
        wanted = self.config.languages or lexicon.targets
        return np.array([i for i, code in enumerate(lexicon.targets) if code in wanted and code != language], np.int64)

    def matches(self, text: str, language: str) -> Matches:
        """Return all places of a text where a unit of its language's dictionaries stands."""
        lexicon, cut = self.lexicon(language), self.cutter(language)
        found: list[tuple[int, int, int]] = []
        places = cut(text) if lexicon and cut else []
        words = [text[start:end].casefold() for start, end in places]
        for first, (start, end) in enumerate(places):
            longer = lexicon.longest.get(words[first], 1)
            for last in range(self._reach(text, places, first, longer), first, -1):
                if (unit := lexicon.units.get(" ".join(words[first : last + 1]))) is not None:
                    found.append((start, places[last][1], unit))
            if (unit := lexicon.units.get(words[first])) is not None:
                found.append((start, end, unit))
        return tuple(np.array(found, np.int64).reshape(-1, 3).T)

    def __call__(self, text: str, language: str, key: int) -> list[Replacement]:
        """Return the replacements of a text in a language, in order, none of which overlap."""
        lexicon = self.lexicon(language)
        starts, ends, units = self._matches(text, language)
        if not len(units):
            return []
        begin, end = lexicon.ranges(self.targets(lexicon, language), units)
        known = end > begin
        if self.config.target == "text":
            able = np.flatnonzero(known.any(1))
            if not len(able):
                return []
            chosen = able[hash64(key, TARGET) % np.uint64(len(able))]
            begin, end, known = begin[chosen], end[chosen], known[chosen]
        drawn = uniform(key, starts) < self.config.probability
        texts = lexicon.numbers[_one_of(begin, end, known, hash64(hash64(key, CHOICE), starts))].tolist()
        found, after = [], 0
        for number in np.flatnonzero(known.any(0)).tolist():
            start = int(starts[number])
            if start < after:
                continue
            after = int(ends[number])
            if drawn[number]:
                new = lexicon.translations[texts[number]]
                found.append((start, after, in_case_of(text[start:after], new)))
        return found

    @staticmethod
    def _reach(text: str, places: list[Span], first: int, most: int) -> int:
        """Return the last word up to which only a space or hyphen stands between words, `most` words at the most."""
        last = first
        while last + 1 < min(len(places), first + most):
            gap = text[places[last][1] : places[last + 1][0]]
            if len(gap) > 1 or (gap and gap not in BETWEEN):
                break
            last += 1
        return last


def _one_of(begin_TN: np.ndarray, end_TN: np.ndarray, known_TN: np.ndarray, choice_N: np.ndarray) -> np.ndarray:
    """Draw one of the targets that know each unit, then one of its translations there; 0 where no target knows it."""
    count_N = np.maximum(known_TN.sum(0), 1).astype(np.uint64)
    rank_N = (choice_N % count_N).astype(np.int64) + 1
    target_N = (np.cumsum(known_TN, axis=0) == rank_N).argmax(0)[None]
    begin_N, end_N = (np.take_along_axis(side, target_N, 0)[0] for side in (begin_TN, end_TN))
    sizes_N = np.maximum(end_N - begin_N, 1)
    return np.where(end_N > begin_N, begin_N + (choice_N >> np.uint64(20)).astype(np.int64) % sizes_N, 0)
