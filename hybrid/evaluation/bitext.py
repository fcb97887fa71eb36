"""Translation retrieval: the cosine nearest neighbour among the lines of the other language, in both directions.

Legend: N lines of a pair, D dimensions.
"""

import time
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from hybrid.evaluation.bitext_files import write_piece, write_run_and_qrels
from hybrid.evaluation.plots import bars
from hybrid.evaluation.ranking import ahead, key_columns, key_scores, score_block, sort_keys
from hybrid.evaluation.trec import clear_pieces
from hybrid.runtime.errors import InputError
from hybrid.runtime.files import atomic_file, digest, write_json
from hybrid.runtime.logs import log
from hybrid.runtime.processes import barrier, gather_objects, is_main, rank, world_size

_BLOCK = 512


@dataclass(frozen=True)
class Bitext:
    """Line-aligned texts of languages with a pivot, English: line n of both sides says the same.

    Attributes:
        pairs: (lines of the language, lines of the pivot) by language code.
        groups: sets of languages over which means are reported too, by name.
    """

    pivot: str
    pairs: Mapping[str, tuple[Sequence[str], Sequence[str]]]
    groups: Mapping[str, frozenset[str]] = field(default_factory=dict)

    searched = False

    @property
    def content(self) -> str:
        """Digest of all that is scored."""
        return digest([self.pivot, {code: list(map(list, pair)) for code, pair in self.pairs.items()}])

    def texts(self) -> list[str]:
        """Return all lines, pair after pair, the language's before the pivot's."""
        return [line for code in self.pairs for side in self.pairs[code] for line in side]

    @property
    def languages(self) -> list[str]:
        """The codes of all languages but the pivot."""
        return sorted(self.pairs)

    @property
    def smallest_pool(self) -> int:
        """Lines of the shortest side."""
        return min(len(lines) for lines, _ in self.pairs.values())

    def text_ids(self) -> Mapping[str, Iterable[str]]:
        """See `hybrid.evaluation.task.Scored`: pair, language, and number of the line from 0."""
        sides = (
            (code, language, lines)
            for code, pair in self.pairs.items()
            for language, lines in zip((code, self.pivot), pair, strict=True)
        )
        return {"query": (f"{code} {language} {n}" for code, language, lines in sides for n in range(len(lines)))}

    def score(self, task, embed, folder: Path, config, about: Mapping[str, Any]) -> dict[str, Any]:
        """See `hybrid.evaluation.task.Scored`."""
        depth = min(config.run_depth, *(setting.depth for setting in task.settings))
        return score_bitext(task.name, self, embed(self.texts(), task.prefixes[0], "query"), folder, depth, about)


def check_bitext(bitext: Bitext, place: str) -> Bitext:
    """Return the bitext if it can be scored; raises InputError naming the language whose sides do not fit."""
    if not bitext.pairs:
        raise InputError(f"{place}: holds no language besides {bitext.pivot}; check that its files are complete.")
    for code, (lines, others) in bitext.pairs.items():
        if len(lines) != len(others):
            raise InputError(
                f"{place}: {code} has {len(lines)} lines, {bitext.pivot} has {len(others)}; they must be line-aligned."
            )
        if not lines or not all(line.strip() for line in (*lines, *others)):
            raise InputError(f"{place}: {code} or its {bitext.pivot} side has an empty line, or none; mend the files.")
    return bitext


@dataclass(frozen=True)
class Neighbours:
    """For each line n the rank of line n of the other side, int64 [N], and its K nearest lines there, int64 [N, K],
    with their scores, float32 [N, K]."""

    rank: np.ndarray
    line: np.ndarray
    score: np.ndarray


def neighbours(queries_ND: np.ndarray, documents_ND: np.ndarray, depth: int) -> Neighbours:
    """Rank all lines for each query, and keep the first `depth`; of equal scores the smaller line is first."""
    documents = documents_ND.astype(np.float64)
    ranks, nearest = [], []
    for start in range(0, len(queries_ND), _BLOCK):
        keys = sort_keys(score_block(queries_ND[start : start + _BLOCK].astype(np.float64), documents))
        own = keys[np.arange(len(keys)), np.arange(start, start + len(keys))]
        keys.sort(axis=1)
        ranks += [int(ahead(row, key)) + 1 for row, key in zip(keys, own, strict=True)]
        nearest.append(keys[:, ::-1][:, :depth].copy())
    nearest = np.concatenate(nearest)
    return Neighbours(np.array(ranks, np.int64), key_columns(nearest, len(documents)), key_scores(nearest))


def script(lines: Sequence[str]) -> str:
    """Return the script of most letters, by the first word of their Unicode names: latin, cyrillic, cjk ..."""
    letters = (letter for line in lines[:200] for letter in line if letter.isalpha())
    first = Counter(unicodedata.name(letter, "unknown").split()[0].lower() for letter in letters).most_common(1)[0][0]
    return "ol chiki" if first == "ol" else first


def score_bitext(
    name: str, bitext: Bitext, embeddings, folder: Path, run_depth: int, about: Mapping[str, Any]
) -> dict[str, Any]:
    """Score embeddings of ``bitext.texts()`` and write all files; languages are shared out among the ranks.

    Args:
        run_depth: how many lines of a ranking the runs keep; 0 writes no runs and qrels.

    Returns what stands in scores.json.
    """
    start = time.monotonic()
    pieces = clear_pieces(folder, run_depth)
    sizes = [len(pair[0]) for pair in bitext.pairs.values()]
    offsets = np.concatenate([[0], np.cumsum(2 * np.array(sizes))])
    mine = {}
    for number, code in list(enumerate(bitext.pairs))[rank() :: world_size()]:
        both = embeddings[int(offsets[number]) : int(offsets[number + 1])]
        lines, others = both[: sizes[number]], both[sizes[number] :]
        nearest = {"to": neighbours(lines, others, run_depth), "from": neighbours(others, lines, run_depth)}
        mine[code] = {way: found.rank for way, found in nearest.items()}
        for way, found in nearest.items() if pieces else ():
            piece = pieces / f"{way}_{bitext.pivot}.{number:06d}.piece"
            write_piece(piece, _cell(bitext, code, way), found.line, found.score)
    found = {code: ranks for share in gather_objects(mine) for code, ranks in share.items()}
    scripts = {code: script(pair[0]) for code, pair in bitext.pairs.items()}
    scores = {
        "task": name,
        "languages": sorted(bitext.pairs),
        "tie_rule": "equal float32 scores: the smaller line number first",
        "run_depth": run_depth,
        "settings": {
            f"{way}_{bitext.pivot}": _setting(bitext, {code: found[code][way] for code in bitext.pairs}, way, scripts)
            for way in ("to", "from")
        },
        **about,
    }
    if is_main():
        folder.mkdir(parents=True, exist_ok=True)
        if pieces:
            for way in ("to", "from"):
                cells = {_cell(bitext, code, way): len(pair[0]) for code, pair in bitext.pairs.items()}
                write_run_and_qrels(folder, f"{way}_{bitext.pivot}", cells)
            pieces.rmdir()
        _write_per_query(folder / "per_query.parquet", bitext, found)
        codes = sorted(bitext.pairs)
        heights = np.array([[(found[code][way] == 1).mean() for code in codes] for way in ("to", "from")])
        series = [f"{way} {bitext.pivot}" for way in ("to", "from")]
        bars(folder / "accuracy.png", heights, codes, series, f"{name}: accuracy")
        write_json(folder / "scores.json", scores)
    barrier()
    log(f"{name}: {len(sizes)} languages scored and written in {time.monotonic() - start:.1f} s: {folder}")
    return scores


def _setting(bitext: Bitext, ranks: Mapping[str, np.ndarray], way: str, scripts: Mapping[str, str]) -> dict[str, Any]:
    accuracy = {code: float((found == 1).mean()) for code, found in ranks.items()}
    cells = {_cell(bitext, code, way): value for code, value in accuracy.items()}
    measures = {"accuracy": {"mean": _mean(accuracy.values()), "cells": cells}}
    for group, members in bitext.groups.items():
        inside = [value for code, value in accuracy.items() if code in members]
        if inside:
            measures[f"accuracy_{group}"] = {"mean": _mean(inside), "languages": len(inside)}
            if missing := sorted(members - accuracy.keys()):
                measures[f"accuracy_{group}"]["missing"] = missing
    by_script: dict[str, list[float]] = {}
    for code, value in sorted(accuracy.items()):
        by_script.setdefault(scripts[code], []).append(value)
    table = {name: {"accuracy": _mean(found), "languages": len(found)} for name, found in sorted(by_script.items())}
    return {"measures": measures, "by_script": table, "queries": int(sum(map(len, ranks.values())))}


def _mean(found) -> float:
    return float(np.mean(list(found)))


def _cell(bitext: Bitext, code: str, way: str) -> str:
    return f"{code}>{bitext.pivot}" if way == "to" else f"{bitext.pivot}>{code}"


def _write_per_query(path: Path, bitext: Bitext, found: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """Write one row a line, direction and language: the rank of its translation among all lines, and whether that is
    the first, NaN outside the languages of a group, under the name of the group's accuracy."""
    tables = []
    for way in ("to", "from"):
        for code, ranks in found.items():
            count = len(ranks[way])
            query, pool = _cell(bitext, code, way).split(">")
            columns = {
                "setting": [f"{way}_{bitext.pivot}"] * count,
                "question": np.arange(count),
                "query_language": [query] * count,
                "pool": [pool] * count,
                "pool_size": np.full(count, count),
                "rank": pa.ListArray.from_arrays(np.arange(count + 1, dtype=np.int32), pa.array(ranks[way])),
            }
            for group, members in bitext.groups.items():
                columns[f"accuracy_{group}"] = np.where(code in members, ranks[way] == 1, np.nan)
            tables.append(pa.table(columns))
    with atomic_file(path, "wb") as file:
        parquet.write_table(pa.concat_tables(tables), file)
