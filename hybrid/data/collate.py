"""From the sampler's rows to a batch: the texts' tokens, their identities, hard negatives. No loop over rows.

Shapes: B rows, M hard negatives of all of them.
"""

from collections.abc import Sequence

import numpy as np
import torch

from hybrid.data.assembly import assembler
from hybrid.data.batch import Batch
from hybrid.data.config import DataConfig
from hybrid.data.corpus import ParallelCorpus
from hybrid.data.joining import joint_groups
from hybrid.data.store import TokenStore, ragged_range
from hybrid.runtime.ragged import Ragged
from hybrid.sampling.keyed import hash64, key


class Collator:
    """Makes this rank's batch of a step; what it draws depends on the seed, the step and the row, not on the rank.

    Args:
        corpora: the data sets, in the sampler's order.
        store: their tokens.
        config: lengths, hard negatives, seed.
        tokenizer: the encoder's.
        prefixes: texts before each "query" and each "passage".
    """

    def __init__(
        self,
        corpora: Sequence[ParallelCorpus],
        store: TokenStore,
        config: DataConfig,
        tokenizer,
        prefixes: dict[str, str],
    ):
        self.corpora, self.config = corpora, config
        self.assemble = assembler(tokenizer, store, corpora, prefixes)
        languages = sorted({language for corpus in corpora for language in corpus.languages})
        self.language_of = [_positions(languages, corpus.languages) for corpus in corpora]
        self.joint_group = joint_groups(corpora)

    def __call__(self, rows) -> Batch:
        """Return the batch of a sampler's Rows; its int64 [B, 4]: data set, item, query language, passage language."""
        corpus_B, count = rows.rows[:, 0], len(rows.rows)
        query_B, answer_B, group_B = (np.empty(count, np.int64) for _ in range(3))
        negatives = []
        for number in np.unique(corpus_B).tolist():
            own = np.flatnonzero(corpus_B == number)
            query_B[own], answer_B[own], group_B[own], owner, candidate = self._look_up(number, rows, own)
            negatives.append((np.full(len(owner), number), owner, candidate))
        corpus_M, owner_M, negative_M = (np.concatenate(column) for column in zip(*negatives, strict=True))
        by_row = np.argsort(owner_M, kind="stable")
        corpus_N = np.concatenate([corpus_B, corpus_M[by_row]])
        parts_N2, passage_groups = self._candidates(corpus_N, np.concatenate([answer_B, negative_M[by_row]]))
        lengths = self.config.query_max_length, self.config.passage_max_length
        return Batch(
            step=rows.step,
            kind=rows.kind,
            queries=_ragged(*self.assemble("query", corpus_B, query_B[:, None], lengths[0])),
            passages=_ragged(*self.assemble("passage", corpus_N, parts_N2, lengths[1])),
            query_groups=torch.from_numpy(group_B),
            passage_groups=torch.from_numpy(passage_groups),
            negative_owner=torch.from_numpy(owner_M[by_row]),
            rows=rows.rows,
            streams=rows.streams,
        )

    def _look_up(self, number: int, rows, own: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return text of the query, answer, group of each of a corpus's rows; and owner and candidate of negatives."""
        corpus, tables = self.corpora[number], self.corpora[number].tables
        _, item, query_language, passage_language = rows.rows[own].T
        language_of = self.language_of[number]
        query = corpus.query_rows(item, language_of[query_language])
        passage = corpus.passage_rows(item, language_of[passage_language])
        draw = hash64(key("negatives", self.config.seed, rows.step), query * len(tables.answer) + passage)
        owner, candidate = self._draw(corpus, passage, corpus.groups[item], draw)
        group = self.joint_group[number][corpus.groups[item]]
        return tables.query_text[query], tables.answer[passage], group, own[owner], candidate

    def _draw(
        self, corpus: ParallelCorpus, passage: np.ndarray, group: np.ndarray, draw: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw hard negatives without replacement: returns the row that owns each, and the candidate."""
        tables, most = corpus.tables, self.config.hard_negatives
        if not most:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        sizes = tables.pool_stop[passage] - tables.pool_start[passage]
        owner = np.repeat(np.arange(len(passage)), sizes)
        candidate = tables.pool[ragged_range(tables.pool_start[passage], sizes)].astype(np.int64)
        wrong = tables.candidate_group[candidate] != group[owner]
        owner, candidate = owner[wrong], candidate[wrong]
        order = np.lexsort((hash64(draw[owner], candidate), owner))
        owner, candidate = owner[order], candidate[order]
        kept = np.bincount(owner, minlength=len(passage))
        chosen = ragged_range(np.zeros(len(kept), np.int64), kept) < most
        return owner[chosen], candidate[chosen]

    def _candidates(self, corpus_N: np.ndarray, candidate_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the parts (sentence, paragraph) and the group of candidates."""
        parts_N2, groups = np.empty((len(candidate_N), 2), np.int64), np.empty(len(candidate_N), np.int64)
        for number in np.unique(corpus_N).tolist():
            own, tables = corpus_N == number, self.corpora[number].tables
            parts_N2[own, 0] = tables.candidate_sentence[candidate_N[own]]
            parts_N2[own, 1] = tables.candidate_passage[candidate_N[own]]
            groups[own] = self.joint_group[number][tables.candidate_group[candidate_N[own]]]
        return parts_N2, groups


def _positions(languages: list[str], own: tuple[str, ...]) -> np.ndarray:
    """Return, for each of all languages, its position in a corpus's own, -1 where it has none."""
    return np.array([own.index(language) if language in own else -1 for language in languages], np.int64)


def _ragged(ids: np.ndarray, lengths: np.ndarray) -> Ragged:
    return Ragged(torch.from_numpy(ids), torch.from_numpy(lengths))
