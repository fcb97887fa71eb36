"""How rows hang together: which give an item two texts, which items answer the same, which languages each exists in.

I items, C candidates, R rows. A row names an item, the language and text of its query, and the candidate that answers.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from hybrid.data.cache import FORM, built_once, cache_folder
from hybrid.data.corpus import Block, ParallelCorpus, ragged_range, renumber
from hybrid.runtime.files import digest

RULES = 2  # of what makes groups of several corpora one
MANY = 1 << 16  # more languages than there are


def key_of(item_R: np.ndarray, language_R: np.ndarray) -> np.ndarray:
    """Return one number per (item, language), rising in both."""
    return item_R.astype(np.int64) * MANY + language_R


def conflicts(key_R: np.ndarray, value_R: np.ndarray) -> np.ndarray:
    """Return bool [R], whether a row's value differs from that of the first row of the same key."""
    order = np.argsort(key_R, kind="stable")
    begins = np.diff(key_R[order], prepend=-1) != 0
    value_R = value_R[order]
    found = np.empty(len(order), bool)
    found[order] = value_R != value_R[begins][np.cumsum(begins) - 1]
    return found


def blocks_of(rows: dict[str, np.ndarray], n_items: int, n_languages: int) -> tuple[list[Block], np.ndarray]:
    """Return the blocks of items with equal sets of query and passage languages, and the items in that order."""
    present = np.zeros((n_items, 2, n_languages), bool)
    present[rows["item"], 0, rows["query_language"]] = True
    present[rows["item"], 1, rows["passage_language"]] = True
    packed = np.packbits(present.reshape(n_items, -1), axis=1)
    sets, first, number = np.unique(packed, axis=0, return_index=True, return_inverse=True)
    stops = np.cumsum(np.bincount(number.ravel(), minlength=len(sets))).tolist()
    blocks = []
    for start, stop, item in zip([0, *stops[:-1]], stops, first.tolist(), strict=True):
        queries, passages = (tuple(np.flatnonzero(side).tolist()) for side in present[item])
        blocks.append(Block(start, stop, queries, None if passages == queries else passages))
    return blocks, np.argsort(number.ravel(), kind="stable")


class Pools(NamedTuple):
    """Hard negatives: the ranges of each passage in one array of candidates."""

    start: np.ndarray
    stop: np.ndarray
    candidates: np.ndarray


def pools_of(key_R: np.ndarray, pool_R: np.ndarray, ends: np.ndarray, candidates: np.ndarray) -> Pools:
    """Return the pool of each key, rising; rows of one key that have different ones share all that is in them.

    Args:
        pool_R: number of each row's pool.
        ends: int64, where each pool ends in `candidates`; it begins where the one before it ends.
    """
    _, first, number_R = np.unique(key_R, return_index=True, return_inverse=True)
    pool = pool_R[first]
    start, stop = ends[np.maximum(pool - 1, 0)], ends[pool]
    several = np.zeros(len(first), bool)
    several[number_R[pool_R != pool[number_R]]] = True
    rows = np.flatnonzero(several[number_R])
    begins = ends[np.maximum(pool_R[rows] - 1, 0)]
    sizes = ends[pool_R[rows]] - begins
    found = np.stack([np.repeat(number_R[rows], sizes), candidates[ragged_range(begins, sizes)]])
    owner, candidate = np.unique(found, axis=1)
    stops = len(candidates) + np.cumsum(np.bincount(owner, minlength=len(first)))
    start[several] = np.concatenate([[len(candidates)], stops[:-1]])[several]
    stop[several] = stops[several]
    return Pools(start, stop, np.concatenate([candidates, candidate.astype(candidates.dtype)]))


def groups_of(
    item_R: np.ndarray, answer_R: np.ndarray, group_item: np.ndarray, group_name: np.ndarray, n_candidates: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the group of each item, dense from 0, and of each candidate: those that answer nothing have their own.

    Items that share a candidate in any language are of one group, and so are candidates that share an item.

    Args:
        item_R, answer_R: item and candidate of each row.
        group_item, group_name: items that a file puts into a named group, and the number of the name.
        n_candidates: C.
    """
    n_items = int(item_R.max()) + 1
    ends = np.concatenate([n_items + answer_R, n_items + n_candidates + group_name])
    label = components(np.concatenate([item_R, group_item]), ends, n_items + n_candidates)
    number = renumber(label[:n_items], int(label.max()) + 1)
    return number[label[:n_items]], number[label[n_items : n_items + n_candidates]]


def articles_of(item_R: np.ndarray, article_R: np.ndarray, passage_R: np.ndarray) -> np.ndarray:
    """Return the article of each item: what shares a title (-1 is none), a paragraph or an id is one article."""
    n_items = int(item_R.max()) + 1
    titled = article_R >= 0
    first_title = n_items + int(passage_R.max()) + 1
    starts = np.concatenate([item_R, item_R[titled]])
    ends = np.concatenate([n_items + passage_R, first_title + article_R[titled]])
    label = components(starts, ends, first_title)
    return np.unique(label[:n_items], return_inverse=True)[1].astype(np.int32)


def joint_groups(corpora: Sequence[ParallelCorpus], cache: str | Path | None = None) -> list[np.ndarray | None]:
    """Return, for each corpus, int64 [its groups], the group's number among all corpora; None is a group's own number.

    Groups of different corpora are one where they hold an equal candidate, or where a paragraph of one, by itself, is
    that of a sentence which answers in the other. Computed once for the same corpora and read through memory maps
    afterwards, so that a start does not grow with them.

    Args:
        cache: folder of what is built, unset the user's.
    """
    if len(corpora) == 1:
        return [None]
    folder = cache_folder(cache) / "groups" / digest([FORM, RULES, *(corpus.digest for corpus in corpora)])

    def build(inside: Path) -> None:
        for number, groups in enumerate(_joint_groups(corpora)):
            np.save(inside / f"{number}.npy", groups)

    built_once(folder, build)
    # Plain views of the maps, as in Texts.
    return [np.asarray(np.load(folder / f"{number}.npy", mmap_mode="r")) for number in range(len(corpora))]


def _joint_groups(corpora: Sequence[ParallelCorpus]) -> list[np.ndarray]:
    sizes = [corpus.n_groups for corpus in corpora]
    first = np.cumsum(sizes) - sizes
    groups = [corpus.tables.candidate_group + start for corpus, start in zip(corpora, first, strict=True)]
    names = [_candidate_digests(corpus) for corpus in corpora]
    count = sum(map(len, names))
    for place, corpus in enumerate(corpora):
        answers = np.unique(corpus.tables.answer)
        answers = answers[corpus.tables.candidate_sentence[answers] >= 0]
        groups.append(groups[place][answers])
        names.append(names[place][answers] * np.array([0, 0, 1, 1], np.uint64))  # the paragraph by itself
    number = np.unique(np.concatenate(names), axis=0, return_inverse=True)[1].ravel()
    # A paragraph that is no candidate anywhere would only join the sentences that answer in it.
    there = np.concatenate([np.ones(count, bool), np.isin(number[count:], number[:count])])
    label = components(np.concatenate(groups)[there], sum(sizes) + number[there], sum(sizes))
    return np.split(label[: sum(sizes)].astype(np.int64), first[1:])


def _candidate_digests(corpus: ParallelCorpus) -> np.ndarray:
    """Return uint64 [C, 4], the digests of each candidate's sentence (0 where it has none) and paragraph."""
    tables, digests = corpus.tables, corpus.texts.digests
    sentences = digests[tables.candidate_sentence] * (tables.candidate_sentence >= 0)[:, None]
    return np.concatenate([sentences, digests[tables.candidate_passage]], axis=1)


def components(starts: np.ndarray, ends: np.ndarray, at_least: int) -> np.ndarray:
    """Return the connected component of each node of an undirected graph, of `at_least` so many nodes."""
    n = max(at_least, int(ends.max(initial=-1)) + 1)
    graph = coo_array((np.ones(len(starts), np.int8), (starts, ends)), shape=(n, n))
    return connected_components(graph, directed=False)[1]
