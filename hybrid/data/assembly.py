"""Tokens of whole texts out of their stored parts: special tokens, prefix, sentence, paragraph, cut to a length.

N texts; a text is a prefix and one or two parts, joined by spaces.
"""

import numpy as np

from hybrid.data.store import TokenStore, ragged_range
from hybrid.runtime.errors import InputError

PROBE = "a"  # any text; shows which special tokens stand before and after it


class Assembler:
    """Puts texts together from a token store, exactly as the tokenizer would have cut the joined text."""

    def __init__(self, tokenizer, store: TokenStore):
        self.store = store
        self.before, self.after = special_tokens(tokenizer)

    def __call__(
        self, prefix: np.ndarray, corpus_N: np.ndarray, parts_NK: np.ndarray, max_length: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return ids int64 [T] and lengths int64 [N].

        Args:
            prefix: tokens of the prefix.
            corpus_N: the corpus of each text.
            parts_NK: text numbers of the parts, in order; -1 where there is none.
            max_length: tokens of a text, special tokens included; what is longer is cut at its end.
        """
        room = max_length - len(self.before) - len(self.after)
        starts, lengths = self._spans(corpus_N, parts_NK)
        ends = np.minimum(np.cumsum(lengths, axis=1) + len(prefix), room)
        begins = np.concatenate([np.full((len(ends), 1), min(len(prefix), room)), ends[:, :-1]], axis=1)
        total = ends[:, -1] + len(self.before) + len(self.after)
        first = np.cumsum(total) - total
        ids = np.empty(int(total.sum()), np.int64)
        body = first + len(self.before)
        for constant, place in ((self.before, first), (prefix[:room], body), (self.after, body + ends[:, -1])):
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
