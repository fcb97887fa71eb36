"""Language bias: measures that are 0 or 1 where the answer is plain, and refused where they say nothing."""

import numpy as np
import pytest
from scipy.stats import kruskal

from hybrid.evaluation.bias import bias_values, peer, top_shares
from hybrid.evaluation.collection import Collection, Texts
from hybrid.evaluation.task import THREE_SETTINGS
from hybrid.evaluation.whole_pool import rank_pools, setting_ranks

MULTILINGUAL = THREE_SETTINGS[2]


def made(copies: int, queries: int = 30) -> Collection:
    """Three languages; each question has `copies` relevant passages in each."""
    languages = ("de", "en", "fi")
    language = np.repeat(np.arange(3), queries * copies).astype(np.int32)
    question = np.tile(np.repeat(np.arange(queries), copies), 3)
    pairs = [(q, d) for q in range(3 * queries) for d in np.flatnonzero(question == q % queries).tolist()]
    names = [f"{languages[code]}-{row}" for row, code in enumerate(language)]
    own = np.repeat(np.arange(3), queries).astype(np.int32)
    ids = [f"{languages[code]}-q{row}" for row, code in enumerate(own)]
    return Collection(
        languages, Texts(ids, ids, own), Texts(names, names, language), np.array(pairs), np.tile(np.arange(queries), 3)
    )


def ranked(collection: Collection, own: float, seed: int = 0):
    """Rank with random scores to which `own` is added where query and passage share the language."""
    random = np.random.default_rng(seed)
    width = len(collection.documents)
    documents = np.concatenate([np.eye(width), np.eye(3)[collection.documents.language]], axis=1)
    language = own * np.eye(3)[collection.queries.language]
    queries = np.concatenate([random.random((len(collection.queries), width)), language], axis=1)
    ranking = rank_pools(collection, queries, documents, [MULTILINGUAL])
    return ranking, *setting_ranks(ranking.entries, collection, MULTILINGUAL)[:2]


def test_preference_is_one_where_the_own_language_comes_first_and_zero_where_it_comes_last():
    collection = made(copies=1)
    for own, expected in ((10.0, 1.0), (-10.0, 0.0)):
        _, part, ranks = ranked(collection, own)
        found = bias_values(part, ranks, collection)
        assert set(found["language_preference"]) == {expected}
        assert found["language_preference_chance"] == pytest.approx(1 / 3)


def test_preference_without_bias_is_its_chance():
    collection = made(copies=2, queries=200)
    found = bias_values(*ranked(collection, 0.0)[1:], collection)
    assert found["language_preference"].mean() == pytest.approx(found["language_preference_chance"].mean(), abs=0.06)


def test_preference_is_not_defined_without_a_passage_in_another_language():
    collection = made(copies=1, queries=3)
    same = collection.relevant[collection.queries.language[collection.relevant[:, 0]] == collection.relevant[:, 1] // 3]
    alone = Collection(collection.languages, collection.queries, collection.documents, same, collection.question)
    assert np.isnan(bias_values(*ranked(alone, 0.0)[1:], alone)["language_preference"]).all()


def test_peer_is_refused_where_each_language_has_one_relevant_passage():
    collection = made(copies=1)
    assert "one relevant passage a language" in peer(*ranked(collection, 0.0)[1:], collection)


def test_peer_is_the_mean_p_of_kruskal_wallis_and_small_under_bias():
    collection = made(copies=6, queries=10)
    _, part, ranks = ranked(collection, 0.0)
    values = peer(part, ranks, collection)
    start, stop = ranks.offsets[4:6]
    language = collection.documents.language[part.document[start:stop]]
    groups = [part.rank[start:stop][language == code] for code in range(3)]
    assert values[4] == pytest.approx(kruskal(*groups).pvalue)
    assert np.mean(peer(*ranked(collection, 10.0)[1:], collection)) < 0.01 < np.mean(values)


def test_shares_of_the_top_are_those_of_a_plain_sort():
    collection = made(copies=1)
    ranking, part, _ = ranked(collection, 0.2)
    shares = top_shares(ranking.top_LL, part, collection)
    counted = np.zeros(3)
    rows = np.flatnonzero(collection.queries.language == 1)
    random = np.random.default_rng(0).random((len(collection.queries), len(collection.documents)))
    for row in rows:
        scores = random[row] + 0.2 * (collection.documents.language == 1)
        counted += np.bincount(collection.documents.language[np.argsort(-scores)[:20]], minlength=3)
    assert list(shares["share of the top 20"]["en"].values()) == pytest.approx(counted / counted.sum())
    assert list(shares["share of the relevant"]["en"].values()) == pytest.approx([1 / 3] * 3)
