"""The margin of pairs of sentences (Artetxe and Schwenk 2019, arXiv 1811.01136), and the pairs that it gives.

The score of a pair is its cosine over the mean of both sentences' mean cosines with their `NEIGHBOURS` nearest ones of
the other side (ratio margin). Equal sentences are one, and one that occurs under several ids takes no part in what is
extracted. Legend: N and M sentences of the two sides, K neighbours.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hybrid.evaluation.config import SearchConfig
from hybrid.evaluation.search import Found, sampled_recall, search
from hybrid.evaluation.vectors import Vectors
from hybrid.runtime.errors import InputError

NEIGHBOURS = 4


@dataclass(frozen=True)
class Side:
    """The sentences of one language of a split.

    Attributes:
        ids, texts: of the distinct sentences, the id that of the first of equal ones.
        once: whether a sentence has one id only.
    """

    ids: list[str]
    texts: list[str]
    once: np.ndarray


@dataclass(frozen=True)
class Split:
    """Two sides and the pairs of ids that are translations."""

    name: str
    source: Side
    target: Side
    gold: frozenset[tuple[str, str]]


@dataclass(frozen=True)
class Pairs:
    """Candidate pairs in descending order of their scores: rows of the two sides, int64 [P], and float64 [P]."""

    source: np.ndarray
    target: np.ndarray
    score: np.ndarray


def side(rows: Sequence[tuple[str, str]]) -> Side:
    """Return the distinct sentences of (id, sentence) rows, in the order of their first occurrence."""
    ids: dict[str, str] = {}
    for name, text in rows:
        ids.setdefault(text, name)
    often = Counter(text for _, text in rows)
    return Side(list(ids.values()), list(ids), np.array([often[text] == 1 for text in ids], bool))


@dataclass(frozen=True)
class Nearest:
    """The `NEIGHBOURS` nearest sentences of the other side, of each source sentence (there) and each target sentence
    (back); and of an approximate search the share of the exact ones by way, else nothing."""

    there: Found
    back: Found
    recall: Mapping[str, float]


def neighbours(split: Split, vectors: Vectors, config: SearchConfig) -> Nearest:
    """Search both directions; every rank has to call it.

    Args:
        vectors: of the source side's sentences, then of the target side's.

    Raises InputError where an approximate index finds fewer neighbours of a sentence, so that it has no margin.
    """
    count = len(split.source.ids)
    source, target = (Vectors(vectors.folder, rows) for rows in (vectors.rows[:count], vectors.rows[count:]))
    recall, both = {}, []
    for way, queries, documents, ids in (
        ("forward", source[:], target, split.target.ids),
        ("backward", target[:], source, split.source.ids),
    ):
        found = search(queries, documents, ids, NEIGHBOURS, config)
        if few := int((found.rows < 0).any(axis=1).sum()):
            raise InputError(
                f"search.factory {config.factory} ({config.parameters or 'no parameters'}) finds fewer than "
                f"{NEIGHBOURS} neighbours of {few} sentences of {split.name}, which the margin needs; give "
                "search.parameters with a larger nprobe or efSearch, or search exactly (search.factory Flat)."
            )
        if not config.exact:
            recall[way] = sampled_recall(queries, documents, ids, found, config.device)
        both.append(found)
    if recall:
        recall["both_directions"] = float(np.mean(list(recall.values())))
    return Nearest(*both, recall)


def mined(split: Split, nearest: Nearest) -> dict[str, Pairs]:
    """Return the candidates of a split by the way they were found."""
    there, back = nearest.there, nearest.back
    means = [found.scores.astype(np.float64).mean(axis=1) for found in (there, back)]
    forward = _best(there.rows, there.scores, means[0], means[1])
    backward = _best(back.rows, back.scores, means[1], means[0])
    rows = [np.arange(len(split.source.ids)), np.arange(len(split.target.ids))]
    candidates = {
        "forward": Pairs(rows[0], *forward),
        "backward": Pairs(backward[0], rows[1], backward[1]),
    }
    candidates["both_directions"] = _joined(candidates["forward"], candidates["backward"])
    in_order = {way: _sorted(found) for way, found in candidates.items()}
    in_order["both_directions"] = _one_to_one(in_order["both_directions"])
    # A sentence that occurs under several ids names no pair of ids.
    return {way: _known(found, split) for way, found in in_order.items()}


def _best(rows_NK: np.ndarray, cosines_NK: np.ndarray, mean_N: np.ndarray, mean_M: np.ndarray):
    """Return the neighbour with the largest margin of each sentence, int64 [N], and the margin, float64 [N]."""
    margin_NK = cosines_NK.astype(np.float64) / ((mean_N[:, None] + mean_M[rows_NK]) / 2)
    best = margin_NK.argmax(axis=1)[:, None]
    return np.take_along_axis(rows_NK, best, 1)[:, 0], np.take_along_axis(margin_NK, best, 1)[:, 0]


def _joined(one: Pairs, other: Pairs) -> Pairs:
    return Pairs(*(np.concatenate([getattr(one, name), getattr(other, name)]) for name in vars(one)))


def _sorted(pairs: Pairs) -> Pairs:
    return picked(pairs, np.argsort(-pairs.score, kind="stable"))


def picked(pairs: Pairs, rows: np.ndarray) -> Pairs:
    """Return the pairs of these rows, in their order."""
    return Pairs(pairs.source[rows], pairs.target[rows], pairs.score[rows])


def _one_to_one(pairs: Pairs) -> Pairs:
    """Return the pairs of which neither sentence is in a pair before them: the strategy "max" of the paper."""
    sources: set[int] = set()
    targets: set[int] = set()
    kept = []
    for row, (source, target) in enumerate(zip(pairs.source.tolist(), pairs.target.tolist(), strict=True)):
        if source not in sources and target not in targets:
            sources.add(source)
            targets.add(target)
            kept.append(row)
    return picked(pairs, np.array(kept, np.int64))


def _known(pairs: Pairs, split: Split) -> Pairs:
    return picked(pairs, np.flatnonzero(split.source.once[pairs.source] & split.target.once[pairs.target]))
