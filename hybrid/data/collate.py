"""From the sampler's rows to a batch of tokens, without a Python loop over rows.

B rows, M hard negatives, n texts.
"""

from collections.abc import Sequence

import numpy as np
import torch

from hybrid.data.batch import Batch
from hybrid.data.config import DataConfig
from hybrid.data.corpus import ParallelCorpus
from hybrid.data.store import TokenStore, gather_index
from hybrid.runtime.errors import InputError
from hybrid.runtime.ragged import Ragged


class Collator:
    """Callable that turns a sampler's `Rows` into a `Batch`."""

    def __init__(
        self,
        corpora: Sequence[ParallelCorpus],
        store: TokenStore,
        config: DataConfig,
        tokenizer,
        prefixes: dict[str, str],
    ):
        """Raises InputError where the tokenizer joins a prefix and a text into other tokens than those of the two."""
        self.corpora, self.store, self.config = corpora, store, config
        self.sentences = config.passage == "sentence_in_paragraph"
        codes = sorted({code for corpus in corpora for code in corpus.languages})
        self.local = [np.array([_index(corpus.languages, code) for code in codes]) for corpus in corpora]
        sizes = [len(corpus.place_group if self.sentences else corpus.node_group) for corpus in corpora]
        self.group_base = np.cumsum([0, *sizes])
        self.parts = {
            side: tokenizer(prefix.rstrip(), add_special_tokens=False)["input_ids"] for side, prefix in prefixes.items()
        }
        self.head, self.tail = special_tokens(tokenizer)
        _check_joins(corpora, tokenizer, prefixes, self.sentences)

    def __call__(self, rows) -> Batch:
        """Return the batch of a `Rows`: deterministic, and the same whatever rank or worker makes it."""
        table = rows.rows
        found = [self._resolve(number, table[:, 0] == number, table, rows.step) for number in np.unique(table[:, 0])]
        where = np.concatenate([part["row"] for part in found])
        back = np.argsort(where)
        owner = np.concatenate(
            [where[offset + part["owner"]] for part, offset in zip(found, _offsets(found), strict=True)]
        )
        order = np.argsort(owner, kind="stable")
        both = {key: np.concatenate([part[key] for part in found]) for key in found[0] if key not in ("row", "owner")}
        positive, negative = both["positive"][back], both["negative"][order]
        groups = both["group"][back]
        return Batch(
            step=rows.step,
            kind=rows.kind,
            queries=self._ragged("query", both["query"][back][:, None], self.config.query_max_length),
            passages=self._ragged("passage", np.concatenate([positive, negative]), self.config.passage_max_length),
            query_groups=torch.from_numpy(groups),
            passage_groups=torch.from_numpy(np.concatenate([groups, both["negative_group"][order]])),
            negative_owner=torch.from_numpy(owner[order]),
            rows=table,
        )

    def _resolve(self, number: int, mask: np.ndarray, table: np.ndarray, step: int) -> dict[str, np.ndarray]:
        """Return text numbers and groups of one data set's rows and of their hard negatives."""
        corpus, first = self.corpora[number], self.store.first[number]
        row = np.flatnonzero(mask)
        item = table[row, 1]
        query, passage = self.local[number][table[row, 2]], self.local[number][table[row, 3]]
        place, node = corpus.place[item, passage], corpus.node[item, passage]
        group = corpus.place_group[place] if self.sentences else corpus.node_group[node]
        owner, chosen = self._negatives(corpus, place, node, step)
        texts = corpus.node_text[node][:, None]
        hard = corpus.node_text[node[owner]][:, None]
        if self.sentences:
            texts = np.concatenate([corpus.place_text[place][:, None], texts], 1)
            hard = np.concatenate([corpus.place_text[chosen][:, None], hard], 1)
        base = self.group_base[number]
        return {
            "row": row,
            "owner": owner,
            "query": corpus.query[item, query] + first,
            "positive": texts + first,
            "negative": hard + first,
            "group": group + base,
            "negative_group": corpus.place_group[chosen] + base,
        }

    def _negatives(self, corpus, place: np.ndarray, node: np.ndarray, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the owner (row) and the place of each hard negative: other sentences of the row's paragraph.

        They follow the answer's sentence cyclically, from a start that changes with the step.
        """
        first = corpus.node_places[node]
        others = corpus.node_places[node + 1] - first - 1
        count = np.minimum(others, self.config.hard_negatives if self.sentences else 0)
        owner = np.repeat(np.arange(len(place)), count)
        turn = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)
        shift = (step * 7919 + place * 104729) % np.maximum(others, 1)
        jump = 1 + (shift[owner] + turn) % np.maximum(others, 1)[owner]
        chosen = first[owner] + (place[owner] - first[owner] + jump) % (others[owner] + 1)
        return owner, chosen

    def _ragged(self, side: str, texts: np.ndarray, max_length: int) -> Ragged:
        """Lay out special token, prefix, the texts of each row of int64 [n, parts], special token; cut at the end."""
        n, parts = texts.shape
        ids, lengths = self.store.tokens(texts.ravel())
        inner = lengths.reshape(n, parts).sum(1)
        before = np.array([*self.head, *self.parts[side]], np.int64)
        kept = np.minimum(inner, max_length - len(before) - len(self.tail))
        total = len(before) + kept + len(self.tail)
        starts = np.cumsum(total) - total
        flat = np.empty(int(total.sum()), np.int64)
        flat[starts[:, None] + np.arange(len(before))] = before
        flat[(starts + total - len(self.tail))[:, None] + np.arange(len(self.tail))] = self.tail
        flat[gather_index(starts + len(before), kept)] = ids[gather_index(np.cumsum(inner) - inner, kept)]
        return Ragged(torch.from_numpy(flat), torch.from_numpy(total))


def special_tokens(tokenizer) -> tuple[list[int], list[int]]:
    """Return the ids that the tokenizer puts before and after a text."""
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    whole = tokenizer("a")["input_ids"]
    at = next(i for i in range(len(whole)) if whole[i : i + len(bare)] == bare)
    return whole[:at], whole[at + len(bare) :]


def _index(languages: Sequence[str], code: str) -> int:
    return languages.index(code) if code in languages else -1


def _offsets(found: list[dict]) -> list[int]:
    return [0, *np.cumsum([len(part["row"]) for part in found])[:-1].tolist()]


def _check_joins(corpora: Sequence[ParallelCorpus], tokenizer, prefixes: dict[str, str], sentences: bool) -> None:
    """The store holds texts without prefix: their tokens behind a prefix, or another text, have to be the same."""

    def ids(text: str) -> list[int]:
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    for corpus in corpora:
        some = range(0, len(corpus.texts), max(1, len(corpus.texts) // 200))
        for text in (corpus.texts[i] for i in some):
            for prefix in prefixes.values():
                if ids(prefix + text) != ids(prefix.rstrip()) + ids(text) or (
                    sentences and ids(f"{text} {text}") != ids(text) * 2
                ):
                    raise InputError(
                        f"the tokenizer of model.name joins the prefix {prefix!r} and the text {text[:40]!r} into other "
                        "tokens than it gives each alone; end the prefix with a space, or take a tokenizer that splits at "
                        "white space (SentencePiece with a leading mark, WordPiece)."
                    )
