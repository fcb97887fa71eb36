"""Code-switching of the texts of a batch, in the loader's workers.

A text is switched by its row's key (seed, data set, item, languages, pass), so it is another in each pass and the same
on every rank and after a resume. The passage and the hard negatives of a row share a key: they get the same target
language, and where they are sentences of one paragraph, the same paragraph. Groups stay those of the original texts.

``python -m hybrid.data.codeswitch [DESCRIPTION] --show 20`` prints examples.
"""

from collections.abc import Sequence

import numpy as np

from hybrid.data.codeswitch_check import check_sentences, check_words
from hybrid.data.codeswitch_config import check_sets
from hybrid.data.codeswitch_sentences import SentenceSwitch
from hybrid.data.codeswitch_words import Replacement, WordSwitch
from hybrid.data.config import DataConfig
from hybrid.data.corpus import ParallelCorpus
from hybrid.data.lexicon import load_lexicons
from hybrid.runtime.errors import InputError, nearest
from hybrid.sampling.keyed import hash64, key

MANY = 1 << 16  # more languages than there are
SIDES = {"query": 1, "passage": 2}


class CodeSwitch:
    """Switches texts as the recipe's data.codeswitch says."""

    def __init__(self, config: DataConfig, corpora: Sequence[ParallelCorpus]):
        settings = config.codeswitch
        self.corpora = list(corpora)
        self.on = np.array([_is_switched(settings.sets, corpus) for corpus in corpora])
        check_sets(settings.sets, {corpus.name: corpus for corpus in corpora})
        self.sides = {"queries": ["query"], "passages": ["passage"], "both": list(SIDES)}[settings.sides]
        if settings.sentences:
            _check_translations(settings.languages, self.corpora)
            self.sentences, self.words = SentenceSwitch(settings, self.corpora), None
            check_sentences(self.sentences, np.flatnonzero(self.on).tolist(), self.sides)
        else:
            self.sentences, self.words = None, WordSwitch(settings, load_lexicons(settings, config.cache))
            check_words(self.words, [corpus for corpus, on in zip(corpora, self.on, strict=True) if on])
        self.keys = np.array([key("codeswitch", config.seed, corpus.name) for corpus in corpora], np.uint64)

    def row_keys(self, rows: np.ndarray, passes: np.ndarray) -> np.ndarray:
        """Return uint64 [B], what the draws of each row depend on, from its int64 [B, 4] and its pass, int64 [B]."""
        corpus, item, query, passage = rows.T
        return hash64(hash64(hash64(self.keys[corpus], item), query * MANY + passage), passes)

    def __call__(
        self, side: str, corpus_N: np.ndarray, item_N: np.ndarray, language_N: np.ndarray, parts_NK, key_N: np.ndarray
    ) -> tuple[np.ndarray, list[str]]:
        """Switch the queries or passages of a batch.

        Args:
            side: "query" or "passage".
            corpus_N, item_N: where each text is from.
            language_N: language code of each text.
            parts_NK: text numbers of its parts: a query, or sentence (-1 for none) and paragraph.
            key_N: of each text's row.

        Returns the numbers of the texts that are changed, int64 [n], and these texts.
        """
        if side not in self.sides:
            return np.empty(0, np.int64), []
        changed, texts = [], []
        keys = hash64(key_N, np.array([SIDES[side]])).tolist()
        for number in np.flatnonzero(self.on[corpus_N]).tolist():
            corpus, item, parts = int(corpus_N[number]), int(item_N[number]), parts_NK[number].tolist()
            whole = self.corpora[corpus].texts[parts[-1]]
            language = str(language_N[number])
            if replaced := self.replacements(corpus, item, side, language, whole, keys[number]):
                changed.append(number)
                sentence = self.corpora[corpus].texts[parts[0]] if len(parts) > 1 and parts[0] >= 0 else None
                texts.append(joined(whole, sentence, replaced))
        return np.array(changed, np.int64), texts

    def replacements(self, corpus: int, item: int, side: str, language: str, text: str, draw: int) -> list[Replacement]:
        """Return what is replaced in one text."""
        if self.words:
            return self.words(text, language, draw)
        return self.sentences(corpus, item, side, language, text, draw)


def joined(whole: str, sentence: str | None, replaced: list[Replacement]) -> str:
    """Return a paragraph with its replacements, after its sentence with the same ones where there is a sentence."""
    text = switched(whole, replaced)
    if sentence is None:
        return text
    start = max(0, whole.find(sentence))
    inside = [(a - start, b - start, new) for a, b, new in replaced if start <= a and b <= start + len(sentence)]
    return f"{switched(sentence, inside)} {text}"


def switched(text: str, replaced: list[Replacement]) -> str:
    """Return a text with its replacements."""
    pieces, at = [], 0
    for start, end, new in replaced:
        pieces += [text[at:start], new]
        at = end
    return "".join([*pieces, text[at:]])


def _is_switched(sets: list[str] | None, corpus: ParallelCorpus) -> bool:
    return corpus.name in sets if sets else not corpus.unlabelled


def _check_translations(languages: list[str] | None, corpora: list[ParallelCorpus]) -> None:
    known = {code for corpus in corpora for code in corpus.languages}
    for code in languages or []:
        if code not in known:
            raise InputError(f"data.codeswitch.languages names {code!r}{nearest(code, known)}; no data set has it.")
    if not any(len(block.passages) > 1 for corpus in corpora for block in corpus.blocks):
        raise InputError(
            "data.codeswitch.sentences is true, but no data set has an item with passages in two languages; give "
            "aligned data, or dictionaries."
        )


if __name__ == "__main__":
    from hybrid.data.codeswitch_show import run

    run()
