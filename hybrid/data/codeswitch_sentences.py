"""Replacing whole sentences by those of the item's own translations: code-switched text out of parallel text."""

from functools import lru_cache

import numpy as np

from hybrid.data.codeswitch_config import CodeSwitchConfig
from hybrid.data.codeswitch_words import CACHED, CHOICE, TARGET, Replacement
from hybrid.data.corpus import ParallelCorpus
from hybrid.data.sentences import split_sentences
from hybrid.data.words import Span
from hybrid.sampling.keyed import hash64, uniform

LINE_END = "\n"


class SentenceSwitch:
    """Finds the replacements of an item's text; what is drawn depends on its key alone."""

    def __init__(self, config: CodeSwitchConfig, corpora: list[ParallelCorpus]):
        self.config, self.corpora = config, corpora
        self._sentences = lru_cache(CACHED)(sentences_of)

    def __reduce__(self):
        return SentenceSwitch, (self.config, self.corpora)

    def __call__(self, corpus: int, item: int, side: str, language: str, text: str, key: int) -> list[Replacement]:
        """Return the replacements of the query or passage of an item in a language."""
        own = self._sentences(text, language)
        others = self.others(corpus, item, side, language, text)
        if not others:
            return []
        places = np.arange(len(own))
        chosen = hash64(hash64(key, TARGET), places if self.config.target == "word" else 0 * places)
        chosen = (chosen % np.uint64(len(others))).tolist()
        found = []
        drawn = uniform(hash64(key, CHOICE), places) < self.config.probability
        for place in np.flatnonzero(drawn).tolist():
            spans, translated = others[chosen[place]]
            start, stop = spans[place]
            found.append((*own[place], translated[start:stop]))
        return found

    def others(self, corpus: int, item: int, side: str, language: str, text: str) -> list[tuple[list[Span], str]]:
        """Return the translations of an item's text that have as many sentences, each with the places of these."""
        count = len(self._sentences(text, language))
        return [
            (found, translated)
            for code, translated in self._translations(self.corpora[corpus], item, side, language, text)
            if translated != text and len(found := self._sentences(translated, code)) == count
        ]

    def _translations(self, corpus: ParallelCorpus, item: int, side: str, own: str, text: str) -> list[tuple[str, str]]:
        """Return (language, translation) of an item's text; none where it is not the item's own but a given negative,
        whose place the item's translations, the answer itself, must not take."""
        tables, block = corpus.tables, corpus.block_of(item)
        wanted = self.config.languages or corpus.languages
        numbers = block.languages if side == "query" else block.passages
        here = np.array([n for n in numbers if corpus.languages[n] in wanted or corpus.languages[n] == own], np.int64)
        items = np.full(len(here), item)
        if side == "query":
            texts = tables.query_text[corpus.query_rows(items, here)]
        else:
            texts = tables.candidate_passage[tables.answer[corpus.passage_rows(items, here)]]
        names = [corpus.languages[number] for number in here.tolist()]
        found = {code: corpus.texts[number] for code, number in zip(names, texts.tolist(), strict=True)}
        return list(found.items()) if found.pop(own, None) == text else []


def sentences_of(text: str, language: str) -> list[Span]:
    """Return the sentences of a text: its lines where it has several (lines of aligned text), else by sentencex."""
    if LINE_END not in text:
        return split_sentences(text, language)
    ends = np.cumsum([len(line) + 1 for line in text.split(LINE_END)]).tolist()
    return list(zip([0, *ends[:-1]], [end - 1 for end in ends], strict=True))
