"""The best candidates of each query while documents come in blocks. B queries, K wanted, n documents of a block."""

import numpy as np
import torch


class Best:
    """The K documents with the highest scores of each of B queries, of those shown so far.

    A score is looked at again only if it beats the query's K-th at the last sorting, which happens whenever as many
    have come as are kept: of all scores few are ever sorted.
    """

    def __init__(self, queries: int, wanted: int):
        self.wanted = wanted
        self.scores = np.full((queries, wanted), -np.inf, np.float32)
        self.rows = np.full((queries, wanted), -1, np.int64)
        self.waiting: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self.count = 0

    def add(self, scores_Bn: torch.Tensor, first_query: int, first_row: int) -> None:
        """Show the scores of some queries and all documents of a block, on any device."""
        last = self.scores[first_query : first_query + len(scores_Bn), -1]
        if (last == -np.inf).all() and scores_Bn.shape[1] > self.wanted:
            best = torch.topk(scores_Bn, self.wanted, dim=1, sorted=False)
            query = np.repeat(np.arange(len(scores_Bn)), self.wanted)
            column, score = best.indices.cpu().numpy().ravel(), best.values.cpu().numpy().ravel()
        else:
            beaten = (scores_Bn > torch.from_numpy(last).to(scores_Bn.device)[:, None]).nonzero(as_tuple=True)
            score = scores_Bn[beaten].cpu().numpy()
            query, column = (found.cpu().numpy() for found in beaten)
        self._wait(query + first_query, score, column + first_row)

    def add_found(self, scores_BK: np.ndarray, rows_BK: np.ndarray) -> None:
        """Show documents that a search found for each query; rows are -1 where there is none."""
        query, column = np.nonzero(rows_BK >= 0)
        self._wait(query, scores_BK[query, column], rows_BK[query, column])

    def _wait(self, query: np.ndarray, score: np.ndarray, row: np.ndarray) -> None:
        self.waiting.append((query, score, row))
        self.count += len(query)
        if self.count >= self.rows.size:
            self._sort()

    def _sort(self) -> None:
        queries, wanted = self.rows.shape
        kept = np.repeat(np.arange(queries), wanted), self.scores.ravel(), self.rows.ravel()
        query, score, row = (np.concatenate(parts) for parts in zip(kept, *self.waiting, strict=True))
        order = np.lexsort((-score, query))
        first = np.searchsorted(query[order], np.arange(queries))
        chosen = order[first[:, None] + np.arange(wanted)]
        self.scores, self.rows = score[chosen], row[chosen]
        self.waiting, self.count = [], 0

    def result(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the scores, float32 [B, K], descending, and rows, int64 [B, K]; -inf and -1 where there is none."""
        if self.waiting:
            self._sort()
        return self.scores, self.rows
