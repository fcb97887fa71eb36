"""Data sets made of integers only, for the sampler's tests and benchmarks."""

from dataclasses import dataclass

import numpy as np


@dataclass
class Integers:
    """A layout whose items have no text: `blocks` is (languages, items) in order."""

    name: str
    languages: tuple[str, ...]
    blocks: list[tuple[int, int, tuple[int, ...]]]
    groups: np.ndarray | None = None
    digest: str = "d"
    kinds: tuple[str, ...] = ("monolingual", "cross_lingual")


def layout(name: str, blocks: dict[str, int], items_per_group: int = 0, **others) -> Integers:
    """Return a layout of blocks given as {"en de": 100, "en": 20}."""
    languages = tuple(sorted({code for codes in blocks for code in codes.split()}))
    ranges, start = [], 0
    for codes, items in blocks.items():
        ranges.append((start, start + items, tuple(languages.index(code) for code in codes.split())))
        start += items
    groups = np.arange(start) // items_per_group if items_per_group else None
    return Integers(name, languages, ranges, groups, **others)
