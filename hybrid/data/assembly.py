"""Tokens of whole texts out of their stored parts: special tokens, prefix, sentence, paragraph, cut to a length.

N texts; a text is a prefix and one or two parts, joined by spaces.
"""

from collections.abc import Sequence

import numpy as np

from hybrid.data.corpus import ParallelCorpus
from hybrid.data.store import TokenStore, ragged_range
from hybrid.runtime.errors import InputError
from hybrid.runtime.logs import warn

PROBE = "a"  # any text; shows which special tokens stand before and after it
CHECKED, CHARACTERS = 1000, 64  # texts of a corpus whose joins are tried, and how much of each


class Assembler:
    """Puts texts together from a token store, exactly as the tokenizer would have cut the joined text."""

    def __init__(self, tokenizer, store: TokenStore, prefixes: dict[str, str]):
        self.store = store
        self.before, self.after = special_tokens(tokenizer)
        self.prefixes = {side: prefix_tokens(tokenizer, prefix) for side, prefix in prefixes.items()}

    def __call__(
        self, side: str, corpus_N: np.ndarray, parts_NK: np.ndarray, max_length: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return ids int64 [T] and lengths int64 [N].

        Args:
            side: "query" or "passage".
            corpus_N: the corpus of each text.
            parts_NK: text numbers of the parts, in order; -1 where there is none.
            max_length: tokens of a text, special tokens included; what is longer is cut at its end.
        """
        room = max_length - len(self.before) - len(self.after)
        prefix = self.prefixes[side][:room]
        starts, lengths = self._spans(corpus_N, parts_NK)
        ends = np.minimum(np.cumsum(lengths, axis=1) + len(prefix), room)
        begins = np.concatenate([np.full((len(ends), 1), len(prefix)), ends[:, :-1]], axis=1)
        total = ends[:, -1] + len(self.before) + len(self.after)
        first = np.cumsum(total) - total
        ids = np.empty(int(total.sum()), np.int64)
        body = first + len(self.before)
        for constant, place in ((self.before, first), (prefix, body), (self.after, body + ends[:, -1])):
            ids[place[:, None] + np.arange(len(constant))] = constant
        for corpus in np.unique(corpus_N).tolist():
            own = np.flatnonzero(corpus_N == corpus)
            for part in range(parts_NK.shape[1]):
                size = ends[own, part] - begins[own, part]
                source = self.store.ids[corpus][ragged_range(starts[own, part], size)]
                ids[ragged_range(body[own] + begins[own, part], size)] = source
        return ids, total

    def _spans(self, corpus_N: np.ndarray, parts_NK: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        starts, lengths = np.empty(parts_NK.shape, np.int64), np.empty(parts_NK.shape, np.int64)
        for corpus in np.unique(corpus_N).tolist():
            own = corpus_N == corpus
            starts[own], lengths[own] = self.store.spans(corpus, parts_NK[own])
        return starts, lengths


class WorkerAssembler:
    """Tokenises joined texts when they are asked for: for tokenizers under which stored parts cannot be joined."""

    def __init__(self, tokenizer, corpora: Sequence[ParallelCorpus], prefixes: dict[str, str]):
        self.tokenizer, self.corpora, self.prefixes = tokenizer, corpora, prefixes

    def __call__(
        self, side: str, corpus_N: np.ndarray, parts_NK: np.ndarray, max_length: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return ids and lengths as `Assembler` does."""
        texts = []
        for corpus, parts in zip(corpus_N.tolist(), parts_NK.tolist(), strict=True):
            joined = " ".join(self.corpora[corpus].texts[part] for part in parts if part >= 0)
            texts.append(joined)
        return tokenised(self.tokenizer, self.prefixes[side], texts, max_length)


def tokenised(tokenizer, prefix: str, texts: list[str], max_length: int) -> tuple[np.ndarray, np.ndarray]:
    """Return ids int64 [T] and lengths int64 [N] of texts with their prefix and special tokens, cut at their end."""
    rows = tokenizer([prefix + text for text in texts], truncation=True, max_length=max_length)["input_ids"]
    return np.concatenate([np.array(row, np.int64) for row in rows]), np.array([len(row) for row in rows], np.int64)


def assembler(
    tokenizer, store: TokenStore, corpora: Sequence[ParallelCorpus], prefixes: dict[str, str]
) -> Assembler | WorkerAssembler:
    """Return what puts texts together: from the store, if the joined text has the tokens of its parts.

    That is tried on texts with as many different first tokens as there are, up to CHECKED a corpus. It holds where a
    tokenizer splits at white space (SentencePiece with a mark before each word, WordPiece), not for byte-level BPE.
    """
    for number, corpus in enumerate(corpora):
        starts = _with_different_starts(store, number, corpus)
        joins = [(prefix.rstrip(), starts, prefix[len(prefix.rstrip()) :]) for prefix in prefixes.values() if prefix]
        for left, right, between in [*joins, (*_sentences(corpus), " ")]:
            if text := _differs(tokenizer, left, right, between):
                return _fall_back(tokenizer, corpora, prefixes, text)
    if tokenizer.truncation_side != "right":
        return _fall_back(tokenizer, corpora, prefixes, "its end, as it cuts texts at their start: a long text")
    return Assembler(tokenizer, store, prefixes)


def _differs(tokenizer, left: str | list[str], right: list[str], between: str) -> str | None:
    """Return the first joined text that has other tokens than its parts."""
    left = [left] * len(right) if isinstance(left, str) else left
    joined = [first + between + last for first, last in zip(left, right, strict=True)]
    if not joined:
        return None
    whole, first, last = (tokenizer(texts, add_special_tokens=False)["input_ids"] for texts in (joined, left, right))
    return next((text for text, w, a, b in zip(joined, whole, first, last, strict=True) if w != a + b), None)


def _fall_back(tokenizer, corpora, prefixes: dict[str, str], text: str) -> WorkerAssembler:
    warn(
        f"the tokenizer gives {text[:40]!r}... other tokens than its parts have, so the token store cannot serve: "
        "texts are tokenised in the loader's workers, which is slower; set training.workers to the number of cores."
    )
    return WorkerAssembler(tokenizer, corpora, prefixes)


def _with_different_starts(store: TokenStore, number: int, corpus: ParallelCorpus) -> list[str]:
    starts, lengths = store.spans(number, np.arange(min(len(corpus.texts), 100 * CHECKED)))
    first = store.ids[number][np.minimum(starts, len(store.ids[number]) - 1)]
    texts = np.unique(np.where(lengths, first, -1), return_index=True)[1][:CHECKED]
    return [corpus.texts[text][:CHARACTERS] for text in texts.tolist()]


def _sentences(corpus: ParallelCorpus) -> tuple[list[str], list[str]]:
    """Return sentences, and the beginnings of their paragraphs, from all over the corpus."""
    tables = corpus.tables
    count = len(tables.candidate_sentence)
    spread = np.linspace(0, count - 1, min(count, 100 * CHECKED)).astype(np.int64)
    own = spread[tables.candidate_sentence[spread] >= 0]
    chosen = own[:: max(1, len(own) // CHECKED)]
    sentences = [corpus.texts[text] for text in tables.candidate_sentence[chosen].tolist()]
    return sentences, [corpus.texts[text][:CHARACTERS] for text in tables.candidate_passage[chosen].tolist()]


def special_tokens(tokenizer) -> tuple[np.ndarray, np.ndarray]:
    """Return the special tokens that a tokenizer puts before and after a single text."""
    bare, whole = bare_tokens(tokenizer, PROBE), tokenizer(PROBE)["input_ids"]
    for start in range(len(whole) - len(bare) + 1):
        if whole[start : start + len(bare)] == bare:
            return np.array(whole[:start], np.int64), np.array(whole[start + len(bare) :], np.int64)
    raise InputError(f"{tokenizer.name_or_path}: its special tokens change the text's own tokens; take another model.")


def bare_tokens(tokenizer, text: str) -> list[int]:
    """Return the tokens of a text without special tokens."""
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def prefix_tokens(tokenizer, prefix: str) -> np.ndarray:
    """Return the tokens of a prefix; its last space belongs to the text's first word."""
    return np.array(bare_tokens(tokenizer, prefix.rstrip()), np.int64)
