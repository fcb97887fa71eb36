"""From the sampler's rows to a batch: the texts' tokens, their identities, hard negatives. No loop over rows.

Shapes: B rows, M hard negatives of all of them.
"""

from collections.abc import Sequence

import numpy as np
import torch

from hybrid.data.assembly import assembler, tokenised
from hybrid.data.batch import Batch
from hybrid.data.codeswitch import CodeSwitch
from hybrid.data.config import DataConfig
from hybrid.data.corpus import ParallelCorpus, ragged_range
from hybrid.data.joining import joint_groups
from hybrid.data.store import TokenStore
from hybrid.runtime.errors import InputError
from hybrid.runtime.ragged import Ragged
from hybrid.sampling.keyed import hash64, key

Switched = tuple[np.ndarray, list[str]]
NOTHING: Switched = (np.empty(0, np.int64), [])


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
        if config.negative_language == "query":
            _check_passages_of_queries(corpora)
        self.assemble = assembler(tokenizer, store, corpora, prefixes)
        languages = sorted({language for corpus in corpora for language in corpus.languages})
        self.language_of = [_positions(languages, corpus.languages) for corpus in corpora]
        self.languages = np.array(languages)
        self.joint_group = joint_groups(corpora, config.cache)
        self.switch = CodeSwitch(config, corpora) if config.codeswitch else None
        self.tokenizer, self.prefixes = tokenizer, prefixes
        # Query and passage of unlabelled text are the same tokens: only dropout tells them apart (SimCSE).
        self.query_side = ["passage" if corpus.unlabelled else "query" for corpus in corpora]
        lengths = [config.sets[corpus.name].max_length if corpus.name in config.sets else None for corpus in corpora]
        self.max_length = {
            side: np.array([own or getattr(config, f"{side}_max_length") for own in lengths])
            for side in ("query", "passage")
        }

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
        switched = self._switched(rows, corpus_N, query_B, parts_N2, owner_M[by_row])
        return Batch(
            step=rows.step,
            kind=rows.kind,
            queries=self._texts("query", corpus_B, query_B[:, None], switched["query"]),
            passages=self._texts("passage", corpus_N, parts_N2, switched["passage"]),
            query_groups=torch.from_numpy(group_B),
            passage_groups=torch.from_numpy(passage_groups),
            negative_owner=torch.from_numpy(owner_M[by_row]),
            rows=rows.rows,
            streams=rows.streams,
        )

    def _switched(self, rows, corpus_N, query_B, parts_N2, owner_M: np.ndarray) -> dict[str, Switched]:
        """Return, by side, the numbers of the texts that code-switching changes, and these texts."""
        if not self.switch:
            return {"query": NOTHING, "passage": NOTHING}
        corpus_B, item_B, query_language, passage_language = rows.rows.T
        key_B = self.switch.row_keys(rows.rows, rows.passes)
        of_N = np.concatenate([np.arange(len(key_B)), owner_M])
        wrong = query_language if self.config.negative_language == "query" else passage_language
        language_N = self.languages[np.concatenate([passage_language, wrong[owner_M]])]
        queries = self.switch("query", corpus_B, item_B, self.languages[query_language], query_B[:, None], key_B)
        passages = self.switch("passage", corpus_N, item_B[of_N], language_N, parts_N2, key_B[of_N])
        return {"query": queries, "passage": passages}

    def _texts(self, side: str, corpus_N: np.ndarray, parts_NK: np.ndarray, switched: Switched) -> Ragged:
        """Return the tokens of queries or passages: what is changed is tokenised here, all others are from the store.

        Data sets differ in length, and in the side whose prefix they have.
        """
        changed, texts = switched
        kept = np.ones(len(corpus_N), bool)
        kept[changed] = False
        sides = np.array(self.query_side)[corpus_N] if side == "query" else np.full(len(corpus_N), side)
        length_N = np.where(sides == "query", *(self.max_length[name][corpus_N] for name in ("query", "passage")))
        pieces = []
        for name, length in sorted(set(zip(sides.tolist(), length_N.tolist(), strict=True))):
            here = (sides == name) & (length_N == length)
            if len(own := np.flatnonzero(here & kept)):
                pieces.append((own, *self.assemble(name, corpus_N[own], parts_NK[own], length)))
            if any(mask := here[changed]):
                chosen = [text for text, wanted in zip(texts, mask.tolist(), strict=True) if wanted]
                pieces.append((changed[mask], *tokenised(self.tokenizer, self.prefixes[name], chosen, length)))
        return _in_order(pieces)

    def _look_up(self, number: int, rows, own: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return text of the query, answer, group of each of a corpus's rows; and owner and candidate of negatives."""
        corpus, tables = self.corpora[number], self.corpora[number].tables
        _, item, query_language, passage_language = rows.rows[own].T
        language_of = self.language_of[number]
        query = corpus.query_rows(item, language_of[query_language])
        passage = corpus.passage_rows(item, language_of[passage_language])
        draw = hash64(key("negatives", self.config.seed, rows.step), query * len(tables.answer) + passage)
        in_query_language = self.config.negative_language == "query"
        source = corpus.passage_rows(item, language_of[query_language]) if in_query_language else passage
        owner, candidate = self._draw(corpus, source, corpus.groups[item], draw)
        group = self._joint(number, corpus.groups[item])
        return tables.query_text[query], tables.answer[passage], group, own[owner], candidate

    def _draw(
        self, corpus: ParallelCorpus, source: np.ndarray, group: np.ndarray, draw: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw hard negatives from the pools of `source`: returns the row that owns each, and the candidate."""
        tables, most = corpus.tables, self.config.hard_negatives
        if not most:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        sizes = tables.pool_stop[source] - tables.pool_start[source]
        owner = np.repeat(np.arange(len(source)), sizes)
        candidate = tables.pool[ragged_range(tables.pool_start[source], sizes)].astype(np.int64)
        wrong = tables.candidate_group[candidate] != group[owner]
        owner, candidate = owner[wrong], candidate[wrong]
        order = np.lexsort((hash64(draw[owner], candidate), owner))
        owner, candidate = owner[order], candidate[order]
        kept = np.bincount(owner, minlength=len(source))
        chosen = ragged_range(np.zeros(len(kept), np.int64), kept) < most
        return owner[chosen], candidate[chosen]

    def _candidates(self, corpus_N: np.ndarray, candidate_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the parts (sentence, paragraph) and the group of candidates."""
        parts_N2, groups = np.empty((len(candidate_N), 2), np.int64), np.empty(len(candidate_N), np.int64)
        for number in np.unique(corpus_N).tolist():
            own, tables = corpus_N == number, self.corpora[number].tables
            parts_N2[own, 0] = tables.candidate_sentence[candidate_N[own]]
            parts_N2[own, 1] = tables.candidate_passage[candidate_N[own]]
            groups[own] = self._joint(number, tables.candidate_group[candidate_N[own]])
        return parts_N2, groups

    def _joint(self, number: int, groups: np.ndarray) -> np.ndarray:
        """Return the numbers among all corpora of groups of one."""
        joint = self.joint_group[number]
        return groups if joint is None else joint[groups]


def _in_order(pieces: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> Ragged:
    """Return the texts of pieces (numbers of the texts, their tokens, their lengths) in the order of their numbers."""
    whole = _ragged(np.concatenate([ids for _, ids, _ in pieces]), np.concatenate([sizes for _, _, sizes in pieces]))
    if len(pieces) == 1:
        return whole
    return whole.select(torch.from_numpy(np.argsort(np.concatenate([own for own, _, _ in pieces]))))


def _check_passages_of_queries(corpora: Sequence[ParallelCorpus]) -> None:
    for corpus in corpora:
        for block in corpus.blocks:
            if missing := set(block.languages) - set(block.passages):
                code = corpus.languages[min(missing)]
                raise InputError(
                    f"data.negative_language is 'query', but {block.stop - block.start} items of "
                    f"data.sets.{corpus.name} have a query and no passage in '{code}'; set it to passage."
                )


def _positions(languages: list[str], own: tuple[str, ...]) -> np.ndarray:
    """Return, for each of all languages, its position in a corpus's own, -1 where it has none."""
    return np.array([own.index(language) if language in own else -1 for language in languages], np.int64)


def _ragged(ids: np.ndarray, lengths: np.ndarray) -> Ragged:
    return Ragged(torch.from_numpy(ids), torch.from_numpy(lengths))
