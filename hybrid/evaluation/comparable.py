"""Translations mined out of comparable corpora: margin-based retrieval (Artetxe and Schwenk 2019, arXiv 1811.01136).

The score of a pair is its cosine over the mean of both sentences' mean cosines with their `NEIGHBOURS` nearest ones of
the other side (ratio margin). What scores above a threshold is taken for a translation; the threshold is the one that
is best on another split. As in LASER and XTREME, equal sentences are one, and one that occurs under several ids takes
no part in what is extracted. Legend: N and M sentences of the two sides, K neighbours.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from hybrid.evaluation.config import SearchConfig
from hybrid.evaluation.faiss_index import check_index
from hybrid.evaluation.search import describe, search
from hybrid.evaluation.vectors import Vectors
from hybrid.runtime.files import atomic_file, digest, write_json
from hybrid.runtime.logs import log
from hybrid.runtime.processes import barrier, is_main

NEIGHBOURS = 4
WAYS = ("both_directions", "forward", "backward")


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
class Comparable:
    """For each pair of languages, ``de>en``, the split that the threshold is tuned on and the one that is scored."""

    pairs: Mapping[str, tuple[Split, Split]]
    counts: Mapping[str, Mapping[str, int]]

    @cached_property
    def content(self) -> str:
        """Digest of all that is scored."""
        sides = {
            f"{code} {split.name}": [split.source.ids, split.source.texts, split.target.ids, split.target.texts]
            for code, splits in self.pairs.items()
            for split in splits
        }
        gold = {code: [sorted(split.gold) for split in splits] for code, splits in self.pairs.items()}
        return digest([sides, gold])

    @property
    def languages(self) -> list[str]:
        """The codes of the pairs."""
        return sorted(self.pairs)

    @property
    def smallest_pool(self) -> int:
        """Sentences of the smallest side."""
        return min(len(side.ids) for splits in self.pairs.values() for s in splits for side in (s.source, s.target))

    def text_ids(self) -> Mapping[str, Iterable[str]]:
        """See `hybrid.evaluation.task.Scored`: pair, split, and id of the sentence."""
        splits = ((code, split) for code, pair in self.pairs.items() for split in pair)
        return {
            "query": (
                f"{code} {split.name} {name}"
                for code, split in splits
                for side in (split.source, split.target)
                for name in side.ids
            )
        }

    def score(self, task, embed: Callable, folder: Path, config, about: Mapping[str, Any]) -> dict[str, Any]:
        """See `hybrid.evaluation.task.Scored`."""
        start = time.monotonic()
        check_index(config.search, self.smallest_pool)
        splits = [split for pair in self.pairs.values() for split in pair]
        texts = [text for split in splits for side in (split.source, split.target) for text in side.texts]
        embeddings = embed(texts, task.prefixes[0], "query")
        tables, scored, first = [], {}, 0
        for code, (tuned, applied) in self.pairs.items():
            found = {}
            for split in (tuned, applied):
                stop = first + len(split.source.ids) + len(split.target.ids)
                found[split.name] = mined(split, Vectors(embeddings.folder, embeddings.rows[first:stop]), config.search)
                first = stop
            scored[code] = {way: applied_scores(found, tuned, applied, way) for way in WAYS}
            tables += [_table(code, split, found[split.name]) for split in (tuned, applied)]
        scores = {
            "task": task.name,
            "languages": self.languages,
            "left_out_in_reading": {code: dict(counts) for code, counts in self.counts.items()},
            "tie_rule": "equal scores: pairs of the forward direction first, then in the order of the file",
            "search": describe(config.search),
            "settings": {setting.name: _setting(setting, scored) for setting in task.settings},
            **about,
        }
        if is_main():
            with atomic_file(folder / "candidates.parquet", "wb") as file:
                parquet.write_table(pa.concat_tables(tables), file)
            write_json(folder / "scores.json", scores)
        barrier()
        log(f"{task.name}: {len(self.pairs)} pairs scored in {time.monotonic() - start:.1f} s: {folder}")
        return scores


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


def mined(split: Split, vectors: Vectors, config: SearchConfig) -> dict[str, Pairs]:
    """Return the candidates of a split by the way they were found; every rank has to call it.

    Args:
        vectors: of the source side's sentences, then of the target side's.
    """
    count = len(split.source.ids)
    source, target = (Vectors(vectors.folder, rows) for rows in (vectors.rows[:count], vectors.rows[count:]))
    there = search(source[:], target, split.target.ids, NEIGHBOURS, config)
    back = search(target[:], source, split.source.ids, NEIGHBOURS, config)
    means = [found.scores.astype(np.float64).mean(axis=1) for found in (there, back)]
    forward = _best(there.rows, there.scores, means[0], means[1])
    backward = _best(back.rows, back.scores, means[1], means[0])
    rows = [np.arange(count), np.arange(len(split.target.ids))]
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
    return _picked(pairs, np.argsort(-pairs.score, kind="stable"))


def _picked(pairs: Pairs, rows: np.ndarray) -> Pairs:
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
    return _picked(pairs, np.array(kept, np.int64))


def _known(pairs: Pairs, split: Split) -> Pairs:
    return _picked(pairs, np.flatnonzero(split.source.once[pairs.source] & split.target.once[pairs.target]))


def correct(split: Split, pairs: Pairs) -> np.ndarray:
    """Return bool [P], which candidates are in the gold list."""
    names = zip(pairs.source.tolist(), pairs.target.tolist(), strict=True)
    return np.array([(split.source.ids[s], split.target.ids[t]) in split.gold for s, t in names], bool)


def threshold(split: Split, pairs: Pairs) -> float:
    """Return the score with the best F1 of all pairs at or above it: midway between two candidates' scores."""
    right = np.cumsum(correct(split, pairs))
    taken = np.arange(1, len(right) + 1)
    f1 = 2 * right / (taken + len(split.gold))
    following = np.append(pairs.score[1:], pairs.score[-1:] - 1.0)
    f1[following == pairs.score] = -1.0  # pairs of one score are taken together
    best = int(np.argmax(f1))
    last = best + 1 == len(right)
    return float(pairs.score[best] if last else (pairs.score[best] + following[best]) / 2)


def f1_above(split: Split, pairs: Pairs, least: float) -> dict[str, float]:
    """Return F1, precision and recall of the pairs that score at least `least`."""
    taken = _picked(pairs, np.flatnonzero(pairs.score >= least))
    right = int(correct(split, taken).sum())
    count = len(taken.score)
    return {
        "f1": 2 * right / (count + len(split.gold)),
        "precision": right / count if count else 0.0,
        "recall": right / len(split.gold),
    }


def applied_scores(found: Mapping[str, Mapping[str, Pairs]], tuned: Split, applied: Split, way: str) -> dict[str, Any]:
    """Return the scores on a split above the threshold of another, and what that gives on the other itself."""
    least = threshold(tuned, found[tuned.name][way])
    return {
        **f1_above(applied, found[applied.name][way], least),
        "threshold": least,
        "tuned_on": {"split": tuned.name, **f1_above(tuned, found[tuned.name][way], least)},
        "scored": {"split": applied.name, "gold": len(applied.gold)},
    }


def _setting(setting, scored: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, Any]:
    cells = {name: {code: ways[setting.name][name] for code, ways in scored.items()} for name in setting.measures}
    measures = {name: {"mean": float(np.mean(list(by.values()))), "cells": by} for name, by in cells.items()}
    rest = ("threshold", "tuned_on", "scored")
    return {"measures": measures} | {
        key: {code: ways[setting.name][key] for code, ways in scored.items()} for key in rest
    }


def _table(code: str, split: Split, found: Mapping[str, Pairs]) -> pa.Table:
    tables = []
    for way, pairs in found.items():
        count = len(pairs.score)
        columns = {
            "pair": [code] * count,
            "split": [split.name] * count,
            "setting": [way] * count,
            "source": pa.array(split.source.ids).take(pa.array(pairs.source)),
            "target": pa.array(split.target.ids).take(pa.array(pairs.target)),
            "score": pairs.score,
            "gold": correct(split, pairs),
        }
        tables.append(pa.table(columns))
    return pa.concat_tables(tables)
