"""TREC files of translation retrieval: a query's nearest lines, so that a language's accuracy is Success@1 of them.

A query is ``deu:17>eng``, line 17 of the German side looked up in the English one; a document is ``eng:17``. Legend: N
lines of a pair, K nearest ones.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa

from hybrid.evaluation.trec import join_runs, run_lines
from hybrid.runtime.files import atomic_file


def write_piece(path: Path, cell: str, lines_NK: np.ndarray, scores_NK: np.ndarray) -> None:
    """Write the part of a run that is one language's, ``deu>eng``.

    Args:
        lines_NK: int64, the nearest lines of each line, from the nearest on.
        scores_NK: float32, descending.
    """
    query, pool = cell.split(">")
    names = [f"{query}:{line}>{pool}" for line in range(len(lines_NK))]
    known = pa.array([f"{pool}:{line}" for line in range(len(lines_NK))])
    path.write_bytes(run_lines(names, known.take(pa.array(lines_NK.ravel())), apart(scores_NK)))


def apart(scores_NK: np.ndarray) -> np.ndarray:
    """Return descending scores with each at least a float32 step below the one before.

    Of equal scores the smaller line is first here, and the larger document id in trec_eval.
    """
    found = scores_NK.copy()
    for place in range(1, found.shape[1]):
        found[:, place] = np.minimum(found[:, place], np.nextafter(found[:, place - 1], np.float32(-np.inf)))
    return found


def write_run_and_qrels(folder: Path, setting: str, sizes: Mapping[str, int]) -> None:
    """Join the pieces of a setting's run, and write its qrels.

    Args:
        sizes: lines of each language's pair by ``deu>eng``.
    """
    join_runs(folder / "pieces", setting, folder / f"{setting}.run")
    with atomic_file(folder / f"{setting}.qrels") as file:
        for cell, size in sizes.items():
            query, pool = cell.split(">")
            file.writelines(f"{query}:{line}>{pool} 0 {pool}:{line} 1\n" for line in range(size))
