"""Search: every exact back-end gives the ranking of a plain sort, ties by id, however the corpus is cut."""

import numpy as np
import pytest

from hybrid.evaluation import faiss_index
from hybrid.evaluation import search as room
from hybrid.evaluation.config import SearchConfig
from hybrid.evaluation.faiss_index import check_index
from hybrid.evaluation.search import describe, recall_of, search
from hybrid.runtime.errors import InputError

RANDOM = np.random.default_rng(0)


def plain(queries, documents, ids, k):
    scores = (queries.astype(np.float64) @ np.asarray(documents, np.float64).T).astype(np.float32)
    return np.array(
        [
            sorted(range(len(ids)), key=lambda row: (float(line[row]), ids[row].encode()), reverse=True)[:k]
            for line in scores
        ]
    )


def corpus(kind: str):
    queries = RANDOM.standard_normal((9, 24)).astype(np.float32)
    documents = RANDOM.standard_normal((700, 24)).astype(np.float32)
    if kind == "ties":
        queries, documents = np.sign(queries), np.sign(documents) * (RANDOM.random((700, 24)) > 0.8)
    if kind == "duplicates":
        documents[100:400] = documents[5]
    ids = [f"d{number}" for number in RANDOM.permutation(700)]
    return queries.astype(np.float32), documents.astype(np.float32), ids


@pytest.mark.parametrize("backend", ["torch", "faiss"])
@pytest.mark.parametrize("kind", ["random", "ties", "duplicates"])
@pytest.mark.parametrize(("k", "block_rows", "piece"), [(10, 131072, 8192), (10, 300, 40), (100, 97, 40), (700, 64, 9)])
def test_every_exact_backend_gives_the_ranking_of_a_plain_sort(backend, kind, k, block_rows, piece, monkeypatch):
    monkeypatch.setattr(room, "_CPU_DOCUMENTS", piece)
    monkeypatch.setattr(room, "_QUERIES", 4)
    monkeypatch.setattr(room, "_RESCORED", 50)
    if backend == "faiss":
        pytest.importorskip("faiss")
    queries, documents, ids = corpus(kind)
    config = SearchConfig(backend=backend, block_rows=block_rows, device="cpu")
    found = search(queries, documents, ids, k, config)
    np.testing.assert_array_equal(found.rows, plain(queries, documents, ids, k))
    assert (np.diff(found.scores, axis=1) <= 0).all()


def test_the_score_of_a_document_is_the_one_that_the_search_gives_it():
    queries, documents, ids = corpus("random")
    found = search(queries, documents, ids, 700, SearchConfig(device="cpu", block_rows=90))
    np.testing.assert_array_equal(room.exact_scores(queries, documents, found.rows), found.scores)
    alone = room.exact_scores(queries, documents, found.rows[:, 400:401])
    np.testing.assert_array_equal(alone, found.scores[:, 400:401])


def test_a_query_is_searched_again_only_where_its_candidates_may_not_suffice(monkeypatch):
    asked = []
    propose = room._candidates
    monkeypatch.setattr(room, "_candidates", lambda *a: asked.append((len(a[0]), a[3])) or propose(*a))
    queries, documents, ids = corpus("duplicates")
    queries[3] = documents[5]
    search(queries, documents, ids, 10, SearchConfig(device="cpu"))
    assert asked[0] == (9, 42)
    assert asked[-1][0] < 9
    assert asked[-1][1] > 300


def test_ids_are_looked_up_where_scores_are_equal_and_nowhere_else():
    asked = []

    class Ids(list):
        def __getitem__(self, row):
            asked.append(row)
            return super().__getitem__(row)

    rows, scores = np.arange(100)[None, :], np.linspace(1, 0, 100, dtype=np.float32)[None, :].copy()
    scores[0, 41] = scores[0, 40]
    scores[0, [97, 98]] = scores[0, 99]
    found = room._in_order(rows, scores, Ids(f"{number:03d}" for number in range(100)), 99)
    assert sorted(asked) == [40, 41, 97, 98, 99]
    assert found.rows[0].tolist() == [*range(40), 41, 40, *range(42, 97), 99, 98]


@pytest.mark.parametrize("scale", [1.0, 1e-3])
def test_documents_that_float32_cannot_tell_apart_are_ranked_by_their_exact_scores(scale):
    """Scores closer than float32's error, so that the candidates' order is chance: the bound has to send them back."""
    base = RANDOM.standard_normal(768)
    documents = (base + 1e-7 * RANDOM.standard_normal((400, 768))).astype(np.float32)
    queries = (scale * (base + 0.1 * RANDOM.standard_normal((5, 768)))).astype(np.float32)
    ids = [f"d{number}" for number in range(400)]
    found = search(queries, documents, ids, 10, SearchConfig(device="cpu"))
    np.testing.assert_array_equal(found.rows, plain(queries, documents, ids, 10))


def test_a_query_is_sure_at_once_where_its_margin_is_wider_than_one_error(monkeypatch):
    asked = []
    propose = room._candidates
    monkeypatch.setattr(room, "_candidates", lambda *a: asked.append(a[3]) or propose(*a))
    scores = 1 - np.arange(4000) * 4e-7
    documents = np.stack([scores, np.sqrt(1 - scores**2), *np.zeros((766, 4000))], axis=1).astype(np.float32)
    search(np.eye(1, 768, dtype=np.float32), documents, [str(n) for n in range(4000)], 1000, SearchConfig(device="cpu"))
    assert asked == [1250]


def test_memory_maps_of_half_precision_are_searched_in_blocks(tmp_path):
    queries, documents, ids = corpus("random")
    stored = np.memmap(tmp_path / "vectors", np.float16, "w+", shape=documents.shape)
    stored[:] = documents
    found = search(queries, stored, ids, 20, SearchConfig(block_rows=100, device="cpu"))
    np.testing.assert_array_equal(found.rows, plain(queries, documents.astype(np.float16), ids, 20))


def test_more_documents_than_there_are_gives_all_of_them():
    queries, documents, ids = corpus("random")
    found = search(queries, documents[:15], ids[:15], 100, SearchConfig(device="cpu"))
    np.testing.assert_array_equal(found.rows, plain(queries, documents[:15], ids[:15], 15))


def test_vectors_of_different_models_are_refused():
    queries, documents, ids = corpus("random")
    with pytest.raises(InputError, match="queries have 24 dimensions, documents 23"):
        search(queries, documents[:, :23], ids, 5, SearchConfig())


def test_the_device_that_is_used_is_named():
    assert describe(SearchConfig(device="cpu")) == "torch on the CPU"
    pytest.importorskip("faiss")
    assert describe(SearchConfig(backend="faiss", device="cpu")) == "FAISS Flat on the CPU"


def test_an_approximate_index_is_measured_against_exact_search():
    pytest.importorskip("faiss")
    queries, documents, ids = corpus("random")
    exact = search(queries, documents, ids, 10, SearchConfig(device="cpu"))
    found = search(queries, documents, ids, 10, SearchConfig(backend="faiss", factory="IVF8,Flat", device="cpu"))
    assert 0.05 < recall_of(found, exact) < 1
    assert recall_of(exact, exact) == 1


@pytest.mark.parametrize("factory", ["IVF64,Flat", "PQ4x6"])
def test_a_last_block_of_few_documents_is_searched_by_the_index_of_all(factory):
    faiss = pytest.importorskip("faiss")
    queries, documents, ids = corpus("random")
    config = SearchConfig(backend="faiss", factory=factory, block_rows=340, device="cpu")
    found = search(queries, documents, ids, 10, config)
    assert recall_of(found, search(queries, documents, ids, 10, SearchConfig(device="cpu"))) > 0.1
    assert (found.rows >= 680).any(), "the last block has 20 documents, fewer than clusters"
    whole = room.finder(queries, documents, range(700), 10, config)
    index = faiss.index_factory(24, factory, faiss.METRIC_INNER_PRODUCT)
    index.train(documents)
    index.add(documents[340:680])
    whole(documents[:340], 10)
    assert [part.tolist() for part in whole(documents[340:680], 10)] == [
        part.tolist() for part in index.search(queries, 10)
    ]


@pytest.mark.parametrize(
    ("factory", "parameters", "message"),
    [
        ("PQ7", "", r"'PQ7' with parameters '' cannot be used for the 700 documents of rank 0: FAISS says 'The dimen"),
        ("IVF8,Flat", "efSearch=3", "'efSearch=3' cannot be used for the 700 documents of rank 0: .*could not set"),
        ("LSQ2x10,Rubbish", "", "cannot be used .*could not parse"),
    ],
)
def test_an_index_that_faiss_refuses_is_told_in_one_sentence(factory, parameters, message):
    pytest.importorskip("faiss")
    queries, documents, ids = corpus("random")
    config = SearchConfig(backend="faiss", factory=factory, parameters=parameters, device="cpu")
    with pytest.raises(InputError, match=message) as raised:
        search(queries, documents, ids, 10, config)
    assert "\n" not in str(raised.value)


def test_too_few_documents_for_an_index_are_refused_by_its_name(monkeypatch):
    pytest.importorskip("faiss")

    def check(factory, documents):
        check_index(SearchConfig(backend="faiss", factory=factory, device="cpu"), documents)

    for factory, least in (("IVF1024,Flat", 1024), ("PQ8", 256), ("OPQ8,IVF16,PQ8x4fs", 256), ("HNSW8,Flat", 1)):
        check(factory, least)
    with pytest.raises(InputError, match=r"trained on 1024 documents or more, but a rank searches 1023 \(1023 doc"):
        check("IVF1024,Flat", 1023)
    with pytest.raises(InputError, match="trained on 256 documents"):
        check("IVF16,PQ8", 255)
    monkeypatch.setattr(faiss_index, "world_size", lambda: 3)
    with pytest.raises(InputError, match=r"a rank searches 700 \(2100 documents, 3 ranks\)"):
        check("IVF1024,Flat", 2100)


def test_an_index_that_no_gpu_has_is_refused_there(monkeypatch):
    pytest.importorskip("faiss")
    monkeypatch.setattr(faiss_index, "faiss_gpus", lambda config: 1)
    with pytest.raises(InputError, match=r"'HNSW32', which FAISS has on no GPU; give search.device cpu"):
        check_index(SearchConfig(backend="faiss", factory="HNSW32"), 9)
    check_index(SearchConfig(backend="faiss", factory="IVF4_HNSW32,Flat"), 9)


def test_an_approximate_index_takes_its_search_parameters_and_an_exact_search_refuses_them():
    pytest.importorskip("faiss")
    queries, documents, ids = corpus("random")
    exact = search(queries, documents, ids, 10, SearchConfig(device="cpu"))
    config = SearchConfig(backend="faiss", factory="IVF8,Flat", parameters="nprobe=8", device="cpu")
    assert recall_of(search(queries, documents, ids, 10, config), exact) == 1
    with pytest.raises(InputError, match="'nprobe=8', but the search is exact"):
        SearchConfig(backend="faiss", parameters="nprobe=8")
