"""From recipe and data to streams and exact shares; what is refused, and in which words."""

from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest

from hybrid.sampling import HybridBatchSampler, Mixture, MixtureConfig, MixtureError, lanes_of
from tests.sampling.synthetic import layout

ALL = layout("all", {"de en fr": 60, "de en": 40, "en": 100})
ONLY_DE = layout("only_de", {"de": 300})


def shares(mixture: Mixture) -> dict[str, float]:
    """Return the overall share of each stream."""
    return {mixture.name(i): row["share"] for i, row in enumerate(mixture.table())}


def by_kind(mixture: Mixture) -> dict[str, Fraction]:
    """Return the exact share of each kind."""
    return dict(zip(mixture.kinds, mixture.root.shares(), strict=True))


def test_setting_one_kind_sets_the_other_to_the_rest():
    assert by_kind(Mixture(MixtureConfig(monolingual=0.4), [ALL])) == {
        "monolingual": Fraction(2, 5),
        "cross_lingual": Fraction(3, 5),
    }
    assert by_kind(Mixture(MixtureConfig(cross_lingual="1/3"), [ALL]))["monolingual"] == Fraction(2, 3)
    assert by_kind(Mixture(MixtureConfig(), [ALL]))["monolingual"] == Fraction(1, 2)
    assert by_kind(Mixture(MixtureConfig(monolingual=1), [ALL])) == {"monolingual": 1}


def test_tenths_and_thirds_are_exact():
    texts, sets = layout("texts", {"en": 50, "de": 50}), {"self_supervised": ["texts"]}
    config = MixtureConfig(monolingual=0.1, cross_lingual=0.2, self_supervised=0.7, sets=sets)
    assert list(by_kind(Mixture(config, [ALL, texts])).values()) == [Fraction(1, 10), Fraction(1, 5), Fraction(7, 10)]
    config = MixtureConfig(monolingual="1/3", cross_lingual="1/3", self_supervised="1/3", sets=sets)
    assert set(by_kind(Mixture(config, [ALL, texts])).values()) == {Fraction(1, 3)}


@pytest.mark.parametrize(
    "shares_of_kinds",
    [
        {"monolingual": 0.25, "cross_lingual": 0.25, "self_supervised": "1/3", "bitext": "1/6"},
        {"monolingual": 0, "cross_lingual": 0, "bitext": 1},
        {"monolingual": 0, "cross_lingual": "0.3", "self_supervised": "0.7"},
        {"self_supervised": 1},
        {"bitext": "1/2", "cross_lingual": 0},
    ],
)
def test_any_kinds_whose_shares_sum_to_one_draw_from_the_data_sets_named_for_them(shares_of_kinds):
    data = [ALL, layout("texts", {"en": 90, "de fr": 90}), layout("sentences", {"de en": 80})]
    sets = {"self_supervised": ["texts", "sentences"], "bitext": ["sentences"]}
    mixture = Mixture(MixtureConfig(**shares_of_kinds, sets=sets), data)
    assert sum(by_kind(mixture).values()) == 1
    drawn = {kind: {row["dataset"] for row in mixture.table() if row["kind"] == kind} for kind in mixture.kinds}
    expected = {"monolingual": {"all"}, "cross_lingual": {"all"}, "bitext": {"sentences"}}
    expected["self_supervised"] = {"texts", "sentences"}
    assert drawn == {kind: expected[kind] for kind in mixture.kinds}
    kinds = []
    for rows in HybridBatchSampler(mixture, 16, 3, steps=60):
        kinds.append(rows.kind)
        one_text = rows.kind in ("monolingual", "self_supervised")
        assert ((rows.rows[:, 2] == rows.rows[:, 3]) == one_text).all(), "(item, x, x) in kinds of one language only"
        assert {mixture.names[i] for i in rows.rows[:, 0]} <= expected[rows.kind]
    assert all(abs(kinds.count(kind) - share * 60) < 1 for kind, share in by_kind(mixture).items())


def test_a_data_set_named_for_two_kinds_serves_both():
    sets = {"self_supervised": ["all"], "monolingual": ["all"]}
    found = Mixture(MixtureConfig(monolingual=0.5, self_supervised=0.5, sets=sets), [ALL, ONLY_DE])
    assert {row["dataset"] for row in found.table()} == {"all"}
    assert shares(found)["self_supervised/all/en"] == pytest.approx(1 / 6)


def test_a_data_set_is_drawn_by_its_size_and_its_languages_uniformly():
    found = shares(Mixture(MixtureConfig(monolingual=1), [ALL, ONLY_DE]))
    assert found["monolingual/only_de/de"] == 300 / 500
    for code in ("de", "en", "fr"):
        assert found[f"monolingual/all/{code}"] == pytest.approx(200 / 500 / 3, abs=1e-15)


def test_only_items_that_a_kind_can_use_count_for_the_size_of_a_data_set():
    other = layout("other", {"de en": 100, "fr": 1000})
    mixture = Mixture(MixtureConfig(monolingual=0), [ALL, other])
    assert mixture.root.children[0].shares() == [Fraction(1, 2), Fraction(1, 2)]


def test_exponents_go_from_uniform_to_proportional():
    config = MixtureConfig(monolingual=1, dataset_exponent=0, language_exponent=1)
    found = shares(Mixture(config, [ALL, ONLY_DE]))
    assert found["monolingual/only_de/de"] == 0.5
    assert found["monolingual/all/en"] == pytest.approx(0.5 * 200 / 360)
    half = shares(Mixture(MixtureConfig(monolingual=1, language_exponent=0.5), [ALL]))
    weights = np.sqrt([100, 200, 60])
    assert np.allclose(list(half.values()), weights / weights.sum(), atol=2e-6)


def test_weights_replace_exponents_and_leave_out_what_they_do_not_name():
    config = MixtureConfig(
        monolingual="1/2", language_weights={"en": 3, "de": 1}, pair_weights={"en:de": "1/9", "de:en": "2/9"}
    )
    found = shares(Mixture(config, [ALL]))
    assert found == {
        "monolingual/all/de": 0.125,
        "monolingual/all/en": 0.375,
        "cross_lingual/all/de:en": pytest.approx(1 / 3),
        "cross_lingual/all/en:de": pytest.approx(1 / 6),
    }
    config = MixtureConfig(monolingual=1, dataset_weights={"all": "1/3", "only_de": "2/3"})
    assert shares(Mixture(config, [ALL, ONLY_DE]))["monolingual/only_de/de"] == pytest.approx(2 / 3)


def test_languages_and_pairs_can_be_left_out():
    found = Mixture(MixtureConfig(exclude=["fr", "en:de"]), [ALL])
    assert sorted(shares(found)) == ["cross_lingual/all/de:en", "monolingual/all/de", "monolingual/all/en"]
    assert list(shares(Mixture(MixtureConfig(monolingual=1, languages=["fr"]), [ALL]))) == ["monolingual/all/fr"]
    assert len(shares(Mixture(MixtureConfig(min_items=61), [ALL]))) == 2 + 2


def test_the_table_names_what_the_streams_are():
    mixture = Mixture(MixtureConfig(), [ALL, ONLY_DE])
    table = mixture.table()
    assert sum(row["share"] for row in table) == pytest.approx(1)
    for i, row in enumerate(table):
        codes = row["query"] if row["kind"] == "monolingual" else f"{row['query']}:{row['passage']}"
        assert mixture.name(i) == f"{row['kind']}/{row['dataset']}/{codes}"
        assert row["items"] == mixture.items[i]
    assert {(row["query"], row["passage"]) for row in table} == {
        (q, p) for q in ("de", "en", "fr") for p in ("de", "en", "fr")
    }


def test_streams_know_their_items():
    mixture = Mixture(MixtureConfig(form="single"), [layout("x", {"en": 5, "de en": 3, "de": 4, "de en fr": 2})])
    sizes = {mixture.name(i): int(n) for i, n in enumerate(mixture.items)}
    assert sizes["monolingual/x/en"] == 10
    assert sizes["cross_lingual/x/fr:de"] == 2
    stream = next(i for i in sizes if i == "cross_lingual/x/de:en")
    number = list(sizes).index(stream)
    assert mixture.items_at(np.full(5, number), np.arange(5), np.zeros(5, int)).tolist() == [5, 6, 7, 12, 13]


def test_every_place_of_every_stream_is_an_item_of_it_in_order():
    sets = [" ".join(codes) for n in (1, 2, 3) for codes in combinations(("de", "en", "es", "fr", "zh"), n)]
    data = layout("x", {codes: 1 + 7 * number % 11 for number, codes in enumerate(sets)})
    mixture = Mixture(MixtureConfig(form="mixed"), [data])
    streams = np.repeat(np.arange(len(mixture.items)), mixture.items)
    places = np.concatenate([np.arange(items) for items in mixture.items])
    found = mixture.items_at(streams, places, np.zeros_like(places))
    for stream in range(len(mixture.items)):
        pair = {int(mixture.query[stream]), int(mixture.passage[stream])}
        expected = [item for start, stop, codes in data.blocks if pair <= set(codes) for item in range(start, stop)]
        assert found[streams == stream].tolist() == expected


RECIPES = {  # method.md and LAReQA: what a batch of each baseline is
    "X-X-mono": {"monolingual": 1},
    "X-Y": {"monolingual": 0},
    "hybrid": {"monolingual": 0.5},
    "En-En": {"monolingual": 1, "languages": ["en"]},
    "X-X": {"monolingual": 1, "form": "mixed"},
}


@pytest.mark.parametrize("name", RECIPES)
def test_each_published_kind_of_batch_is_one_line_of_a_recipe(name):
    mixture = Mixture(MixtureConfig(**RECIPES[name]), [layout("x", {"de en es fr": 500})])
    sampler = HybridBatchSampler(mixture, 32, seed=1)
    batches = [sampler.rows(step).rows for step in range(200)]
    same = np.array([(rows[:, 2] == rows[:, 3]).all() for rows in batches])
    other = np.array([(rows[:, 2] != rows[:, 3]).all() for rows in batches])
    one_language = np.array([len(np.unique(rows[:, 2])) == 1 for rows in batches])
    pairs_in_a_batch = np.array([len(np.unique(rows[:, 2:], axis=0)) for rows in batches])
    if name in ("X-X-mono", "En-En"):
        assert same.all()
        assert one_language.all()
    if name == "En-En":
        assert {mixture.languages[rows[0, 2]] for rows in batches} == {"en"}
    if name == "X-X-mono":
        assert len({int(rows[0, 2]) for rows in batches}) == 4
    if name == "X-X":
        assert same.all()
        assert (pairs_in_a_batch == 4).all()
    if name == "X-Y":
        assert other.all()
        assert (pairs_in_a_batch >= 9).all()  # 4 rows on each of 8 lanes, 12 pairs
    if name == "hybrid":
        assert same.sum() == other.sum() == 100
        assert one_language[same].all()
        assert (pairs_in_a_batch[other] >= 9).all()


def refusal(config: dict, *layouts) -> str:
    """Return the sentence that refuses a recipe for these data sets, or for ALL."""
    with pytest.raises(MixtureError) as error:
        HybridBatchSampler(Mixture(MixtureConfig(**config), layouts or [ALL]), 32, 0)
    return str(error.value)


@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf"), "1/0", "half", "-1/3"])
def test_shares_that_are_no_shares_are_refused(value):
    assert f"mixture.monolingual is {value}" in refusal({"monolingual": value})


def test_shares_that_do_not_sum_to_one_are_refused():
    assert "sum to 0.9, not to 1" in refusal({"monolingual": 0.5, "cross_lingual": 0.4})
    assert "sum to 1.2" in refusal({"monolingual": 1.2})
    assert "1/3" in refusal({"monolingual": 0.333, "cross_lingual": 0.666})


def test_unknown_names_are_refused_with_the_nearest():
    assert "did you mean 'en'?" in refusal({"languages": ["eng"]})
    assert "mixture.exclude names 'xx'" in refusal({"exclude": ["xx"]})
    assert "did you mean 'only_de'?" in refusal({"dataset_weights": {"onlyde": 1}}, ALL, ONLY_DE)
    assert "query:passage" in refusal({"pair_weights": {"en-de": 1}})
    assert "query:passage" in refusal({"exclude": ["en:de:fr"]})


def test_pairs_without_items_are_refused_where_they_are_asked_for():
    apart = layout("apart", {"de": 100, "en": 100})
    assert "mixture.cross_lingual has a share" in refusal({}, apart)
    assert "weights are given to fr:sv" in refusal(
        {"pair_weights": {"fr:sv": 1, "en:de": 1}, "monolingual": 0}, ALL, layout("sv", {"sv": 100})
    )


def test_kinds_without_data_sets_and_sets_that_are_unknown_are_refused():
    assert "name a data set in mixture.sets.self_supervised" in refusal({"monolingual": 0.5, "self_supervised": 0.5})
    assert "did you mean 'all'?" in refusal({"sets": {"bitext": ["al"]}})
    assert "mixture.sets names the kind 'bitexts'; the kinds are" in refusal({"sets": {"bitexts": ["all"]}})
    assert "mixture.monolingual has a share" in refusal({"bitext": 0.2, "sets": {"bitext": ["all"]}})


def test_streams_smaller_than_a_batch_are_refused_with_the_remedies():
    sentence = refusal({"form": "single"}, layout("x", {"de en": 40, "fr en": 20}))
    assert "monolingual/x/fr (20)" in sentence
    for remedy in ("mixture.min_items to 32", "smaller training.global_batch", "mixed", "merge", "exclude"):
        assert remedy in sentence
    HybridBatchSampler(Mixture(MixtureConfig(form="mixed"), [layout("x", {"de en": 40, "fr en": 20})]), 32, 0)


def test_ranks_that_do_not_divide_are_refused_with_those_that_do():
    mixture = Mixture(MixtureConfig(form="single"), [ALL])
    with pytest.raises(
        MixtureError, match=r"1, 2, 4, 5, 10, 20 processes, or set training.global_batch to .* 18 or 21"
    ):
        HybridBatchSampler(mixture, 20, 0, 0, 3)
    lanes = Mixture(MixtureConfig(form="mixed", lanes=4), [ALL])
    with pytest.raises(MixtureError, match=r"8 processes do not divide mixture.lanes 4; start one of 1, 2, 4 "):
        HybridBatchSampler(lanes, 32, 0, 0, 8)
    with pytest.raises(MixtureError, match=r"mixture.lanes is 4, which does not divide training.global_batch 30"):
        HybridBatchSampler(lanes, 30, 0)


def test_groups_are_needed_where_they_are_to_be_unique():
    assert "has no groups" in refusal({"unique_groups": True, "form": "single"})
    assert "mixture.form to single" in refusal({"unique_groups": True, "form": "mixed"})


@pytest.mark.parametrize(
    ("settings", "ranks", "told"),
    [
        ({"lanes": 7}, 1, "mixture.lanes is 7, which does not divide training.global_batch 64"),
        ({}, 3, "3 processes do not divide mixture.lanes 8"),
        ({"form": "single"}, 5, "5 processes do not divide training.global_batch 64"),
    ],
)
def test_lanes_and_ranks_are_refused_by_the_recipe_alone(settings, ranks, told):
    with pytest.raises(MixtureError, match=told):
        lanes_of(MixtureConfig(**settings), 64, ranks)


def test_the_remedies_for_small_streams_are_those_that_help():
    sets = layout("x", {"de": 40, "fr": 20}), layout("y", {"de fr": 10})
    sentence = refusal({"form": "hybrid"}, *sets)
    assert "3 streams" in sentence
    assert "min_items to 32, which leaves them (and 2 more) out" in sentence  # y's pairs, of which a lane takes a row
    few = layout("x", {"de fr": 5})
    sentence = refusal({"form": "hybrid", "monolingual": 0}, few)
    assert "set mixture.unit to global, or set mixture.min_items to 8, which" in sentence
    assert "global_batch" not in sentence
    HybridBatchSampler(Mixture(MixtureConfig(monolingual=0, unit="global"), [few]), 32, 0)
    grouped = {"form": "single", "monolingual": 1, "unique_groups": True}
    sentence = refusal(grouped, layout("x", {"de": 400}, items_per_group=40))
    assert "mixture.unique_groups to false" in sentence
    for useless in ("min_items", "to mixed"):
        assert useless not in sentence
    assert "unique_groups" not in refusal(grouped, layout("x", {"de": 20}, items_per_group=1))


ADVICE = "training.global_batch to a multiple of {} such as {}"


@pytest.mark.parametrize(
    ("lanes", "batch", "ranks", "told", "works"),
    [
        (None, 100, 8, ADVICE.format(8, "96 or 104."), [(None, 96), (None, 104)]),
        (None, 100, 16, ADVICE.format(16, "96 or 112, and mixture.lanes to 16."), [(16, 96), (16, 112)]),
        (4, 100, 8, ADVICE.format(8, "96 or 104, and mixture.lanes to 8."), [(8, 96), (8, 104)]),
        (None, 64, 16, "mixture.lanes to a multiple of 16 such as 16 or 32.", [(16, 64), (32, 64)]),
    ],
)
def test_lanes_and_batches_that_are_advised_are_taken(lanes, batch, ranks, told, works):
    with pytest.raises(MixtureError) as error:
        lanes_of(MixtureConfig(lanes=lanes), batch, ranks)
    assert str(error.value).endswith(f"or set {told}")
    for advised, size in works:
        assert lanes_of(MixtureConfig(lanes=advised), size, ranks) % ranks == 0


def test_lanes_of_batches_that_are_drawn_as_a_whole_are_refused():
    with pytest.raises(MixtureError, match=r"mixture\.lanes is 8 but mixture\.unit is global"):
        MixtureConfig(form="single", lanes=8)
    assert lanes_of(MixtureConfig(form="single", unit="lane", lanes=8), 64) == 8


def test_weights_may_name_languages_of_one_kind_alone_but_none_of_no_kind():
    sets = layout("qa", {"de en": 100}), layout("text", {"ja": 100})
    config = {"monolingual": 0.5, "self_supervised": 0.5, "sets": {"self_supervised": ["text"]}}
    weights = {"de": 1, "en": 2, "ja": 1}
    mixture = Mixture(MixtureConfig(**config, language_weights=weights), sets)
    assert shares(mixture) == {"monolingual/qa/de": 1 / 6, "monolingual/qa/en": 1 / 3, "self_supervised/text/ja": 1 / 2}
    assert "weights are given to sw in monolingual and self_supervised" in refusal(
        config | {"language_weights": weights | {"sw": 1}}, *sets, layout("sw", {"sw zu": 0})
    )
    assert "weights: de, en;" in refusal(config | {"language_weights": {"de": 1, "en": 1}}, *sets)
