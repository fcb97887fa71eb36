"""Language bias in the pool of all languages: does an answer's language decide how high it ranks?

Rank distance stands with the other measures; here are those that look at which language a passage is in.
"""

from typing import Any

import numpy as np

from hybrid.evaluation.collection import Collection
from hybrid.evaluation.measures import Ranks
from hybrid.evaluation.whole_pool import PoolRanks

TOP = 20
MEASURES = ("language_preference", "language_preference_chance", "peer")
"""Of each ranking in the pool of all languages."""


def language_preference(part: PoolRanks, ranks: Ranks, collection: Collection) -> tuple[np.ndarray, np.ndarray]:
    """Return float64 [n]: 1 where the first relevant passage is in the query's own language, else 0; and its chance.

    Language preference rate (arXiv 2605.07249). The chance is what an order without bias gives: the share of the
    own-language passages among the relevant ones. Both are NaN where all relevant passages are in the own language, or
    none is.
    """
    own = collection.documents.language[part.document] == collection.queries.language[part.query]
    chance = ranks.total(own) / ranks.relevant
    defined = (chance > 0) & (chance < 1)
    first = own[ranks.offsets[:-1]].astype(np.float64)
    return np.where(defined, first, np.nan), np.where(defined, chance, np.nan)


def peer(part: PoolRanks, ranks: Ranks, collection: Collection) -> np.ndarray | str:
    """Return PEER of each ranking (arXiv 2405.00978), float64 [n], or a sentence why it is not defined.

    PEER is the p-value of the Kruskal-Wallis test on the ranks of the relevant passages, grouped by language: near 1
    where the languages' ranks look alike. With one relevant passage a language the statistic is the same for every
    order: rankings without a language that has two, or without a second language, are NaN.
    """
    from scipy.stats import kruskal

    language = collection.documents.language[part.document]
    values = np.full(len(ranks.pool_size), np.nan)
    for row, (start, stop) in enumerate(zip(ranks.offsets[:-1], ranks.offsets[1:], strict=True)):
        groups = [part.rank[start:stop][language[start:stop] == code] for code in np.unique(language[start:stop])]
        if len(groups) > 1 and max(map(len, groups)) > 1:
            values[row] = kruskal(*groups).pvalue
    if np.isnan(values).all():
        return (
            "PEER is not defined here: every query has one relevant passage a language at most, so its statistic is "
            "the same for every order."
        )
    return values


def top_shares(top_LL: np.ndarray, part: PoolRanks, collection: Collection) -> dict[str, dict[str, dict[str, float]]]:
    """Return each language's share of the first `TOP` documents and of the relevant ones, by query language.

    Args:
        top_LL: int64, how often queries of a language (row) have documents of a language (column) among the first.
    """
    relevant_LL = np.zeros_like(top_LL)
    pairs = collection.queries.language[part.query], collection.documents.language[part.document]
    np.add.at(relevant_LL, pairs, 1)
    return {
        f"share of the top {TOP}": _by_language(top_LL, collection),
        "share of the relevant": _by_language(relevant_LL, collection),
    }


def _by_language(counts_LL: np.ndarray, collection: Collection) -> dict[str, dict[str, float]]:
    names = collection.languages
    shares = counts_LL / np.maximum(counts_LL.sum(axis=1, keepdims=True), 1)
    return {row: dict(zip(names, shares[i].tolist(), strict=True)) for i, row in enumerate(names) if counts_LL[i].any()}


def summary(shares: dict[str, dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Return the shares averaged over query languages: what the bar chart shows."""
    out: dict[str, dict[str, float]] = {}
    for kind, rows in shares.items():
        languages = next(iter(rows.values()))
        out[kind] = {code: float(np.mean([row[code] for row in rows.values()])) for code in languages}
    return out


def bias_values(part: PoolRanks, ranks: Ranks, collection: Collection) -> dict[str, Any]:
    """Return the bias measures of each ranking by name, float64 [n], or a sentence in place of one without meaning."""
    preference, chance = language_preference(part, ranks, collection)
    return {
        "language_preference": preference,
        "language_preference_chance": chance,
        "peer": peer(part, ranks, collection),
    }
