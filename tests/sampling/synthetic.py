"""Data sets made of integers only, for the sampler's tests and benchmarks."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from hybrid.sampling import HybridBatchSampler, Mixture, MixtureConfig, Rows


@dataclass
class Integers:
    """A layout whose items have no text: `blocks` is (languages, items) in order."""

    name: str
    languages: tuple[str, ...]
    blocks: list[tuple[int, int, tuple[int, ...]]]
    groups: np.ndarray | None = None
    digest: str = "d"


def layout(name: str, blocks: dict[str, int], items_per_group: int = 0, **others) -> Integers:
    """Return a layout of blocks given as {"en de": 100, "en": 20}."""
    languages = tuple(sorted({code for codes in blocks for code in codes.split()}))
    ranges, start = [], 0
    for codes, items in blocks.items():
        ranges.append((start, start + items, tuple(languages.index(code) for code in codes.split())))
        start += items
    groups = np.arange(start) // items_per_group if items_per_group else None
    return Integers(name, languages, ranges, groups, **others)


def small_sampler(form: str, rank: int = 0, world_size: int = 1, start_step: int = 0, steps: int | None = None):
    """Return a sampler over a mixture that uses all of the room: lanes, exponents, two data sets, left-out streams."""
    sets = [layout("a", {"de en fr": 300, "en": 200}), layout("b", {"de en": 150, "zh": 99})]
    mixture = Mixture(MixtureConfig(monolingual="1/3", form=form, language_exponent=0.5, min_items=16), sets)
    return HybridBatchSampler(mixture, 16, 5, rank, world_size, start_step, steps)


def digest(batches: Iterable[Rows]) -> str:
    """Return a digest of batches in their order."""
    text = repr([(rows.step, rows.kind, rows.rows.tolist(), rows.streams.tolist()) for rows in batches])
    return hashlib.sha256(text.encode()).hexdigest()
