"""Mixtures, batches and numbers of ranks that fit together, drawn at random."""

from hypothesis import assume
from hypothesis import strategies as st

from hybrid.sampling import Mixture, MixtureConfig, MixtureError
from tests.sampling.synthetic import layout

CODES = ("de", "en", "fr", "zh")


@st.composite
def layouts(draw):
    """One to three data sets of some of four languages."""
    sets = []
    for number in range(draw(st.integers(1, 3))):
        codes = st.lists(st.sampled_from(CODES), min_size=1, max_size=4, unique=True).map(lambda c: " ".join(sorted(c)))
        blocks = draw(st.dictionaries(codes, st.integers(1, 400), min_size=1, max_size=4))
        sets.append(layout(f"set{number}", blocks, items_per_group=draw(st.integers(1, 4))))
    return sets


@st.composite
def worlds(draw, schedule="quota", forms=("single", "mixed", "hybrid")):
    """A mixture, a global batch and a number of ranks that fit together, and a seed."""
    global_batch, lanes = draw(st.sampled_from([(8, 8), (12, 6), (16, 4), (64, 64), (24, 1), (30, 15)]))
    lanes = draw(st.sampled_from([lanes, 1]))
    config = MixtureConfig(
        monolingual=draw(st.sampled_from([0, 1, 0.5, 0.1, "1/3", "0.37", "2/7", None])),
        form=draw(st.sampled_from(forms)),
        unit="lane" if lanes > 1 else "global",
        lanes=lanes if lanes > 1 else None,
        schedule=schedule,
        min_items=global_batch,
        dataset_exponent=draw(st.sampled_from([0.0, 1.0, 0.6])),
        language_exponent=draw(st.sampled_from([0.0, 1.0, 0.5])),
    )
    try:
        mixture = Mixture(config, draw(layouts()))
    except MixtureError:
        assume(False)
    whole = lanes if lanes > 1 else global_batch
    ranks = draw(st.sampled_from([value for value in range(1, whole + 1) if whole % value == 0]))
    return mixture, global_batch, ranks, draw(st.integers(0, 2**31))
