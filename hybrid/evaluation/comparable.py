"""Translations mined out of comparable corpora: pairs whose margin is above a threshold.

What scores above it is taken for a translation; the threshold is the one that is best on another split, as in LASER and
XTREME.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from hybrid.evaluation.faiss_index import check_index
from hybrid.evaluation.margin import Pairs, Split, mined, neighbours, picked
from hybrid.evaluation.search import describe
from hybrid.evaluation.vectors import Vectors
from hybrid.runtime.files import atomic_file, digest, write_json
from hybrid.runtime.logs import log
from hybrid.runtime.processes import barrier, is_main

WAYS = ("both_directions", "forward", "backward")


@dataclass(frozen=True)
class Comparable:
    """For each pair of languages, ``de>en``, the split that the threshold is tuned on and the one that is scored."""

    pairs: Mapping[str, tuple[Split, Split]]
    counts: Mapping[str, Mapping[str, int]]

    searched = True

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
        tables, scored, recalls, first = [], {}, {}, 0
        for code, (tuned, applied) in self.pairs.items():
            found, recalls[code] = {}, {}
            for split in (tuned, applied):
                stop = first + len(split.source.ids) + len(split.target.ids)
                vectors = Vectors(embeddings.folder, embeddings.rows[first:stop])
                nearest = neighbours(split, vectors, config.search)
                found[split.name] = mined(split, nearest)
                recalls[code][split.name] = nearest.recall
                first = stop
            scored[code] = {way: applied_scores(found, tuned, applied, way) for way in WAYS}
            tables += [_table(code, split, found[split.name]) for split in (tuned, applied)]
        scores = {
            "task": task.name,
            "languages": self.languages,
            "left_out_in_reading": {code: dict(counts) for code, counts in self.counts.items()},
            "tie_rule": "equal scores: pairs of the forward direction first, then in the order of the file",
            "search": describe(config.search),
            "settings": {
                setting.name: _setting(setting, scored) | {"recall_of_search": _recalls(recalls, setting.name)}
                for setting in task.settings
            },
            **about,
        }
        if is_main():
            with atomic_file(folder / "candidates.parquet", "wb") as file:
                parquet.write_table(pa.concat_tables(tables), file)
            write_json(folder / "scores.json", scores)
        barrier()
        log(f"{task.name}: {len(self.pairs)} pairs scored in {time.monotonic() - start:.1f} s: {folder}")
        return scores


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
    taken = picked(pairs, np.flatnonzero(pairs.score >= least))
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


def _recalls(recalls: Mapping[str, Mapping[str, Mapping[str, float]]], way: str) -> dict[str, dict[str, float]]:
    """Return the recall of an approximate search by pair and split, nothing for an exact one."""
    by_pair = {code: {name: found[way] for name, found in splits.items() if found} for code, splits in recalls.items()}
    return {code: splits for code, splits in by_pair.items() if splits}


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
