"""What a recipe says of languages, pairs and data sets, as masks and exact weights."""

from fractions import Fraction
from math import gcd, lcm

import numpy as np

from hybrid.sampling.config import ONE_LANGUAGE, MixtureConfig, MixtureError, check_known, fraction

SCALE = 2**20  # parts of a node among which irrational weights are rounded


def admitted(config: MixtureConfig, kind: str, languages: tuple[str, ...]) -> np.ndarray:
    """Return bool [L, L], the (query, passage) languages that the recipe admits for a kind."""
    same = np.eye(len(languages), dtype=bool)
    mask = same.copy() if kind in ONE_LANGUAGE else ~same
    chosen = [_index("mixture.languages", code, languages) for code in config.languages or languages]
    others = np.setdiff1d(np.arange(len(languages)), chosen)
    mask[others], mask[:, others] = False, False
    for entry in config.exclude:
        query, *passage = (_index("mixture.exclude", code, languages) for code in entry.split(":"))
        if passage:
            mask[query, passage[0]] = False
        else:
            mask[query], mask[:, query] = False, False
    return mask


def stream_weights(config: MixtureConfig, kind: str, languages: tuple[str, ...]) -> np.ndarray | None:
    """Return the recipe's own weights as Fractions, object [L, L], 0 where none is named; None without any."""
    one = kind in ONE_LANGUAGE
    name, given = ("language_weights", config.language_weights) if one else ("pair_weights", config.pair_weights)
    if given is None:
        return None
    weights = np.full((len(languages),) * 2, Fraction(0), dtype=object)
    for entry, value in given.items():
        codes = [entry, entry] if one else entry.split(":")
        if len(codes) != 2:
            raise MixtureError(f"mixture.{name} names {entry!r}; name an ordered pair as query:passage, such as en:de.")
        query, passage = (_index(f"mixture.{name}", code, languages) for code in codes)
        weights[query, passage] = fraction(f"mixture.{name}.{entry}", value)
    return weights


def dataset_weights(config: MixtureConfig, names: list[str]) -> dict[str, Fraction] | None:
    """Return the recipe's own weights of data sets, 0 where one is not named; None without any."""
    if config.dataset_weights is None:
        return None
    for name in config.dataset_weights:
        check_known("mixture.dataset_weights", name, names)
    given = {name: fraction(f"mixture.dataset_weights.{name}", v) for name, v in config.dataset_weights.items()}
    return {name: given.get(name, Fraction(0)) for name in names}


def by_size(sizes: list[int], exponent: float) -> list[Fraction]:
    """Return sizes to the power of `exponent`: exact for 0 and 1, else whole millionths (2**-20) of their sum.

    Millionths, because a schedule can be entered at once at every multiple of its shares' common denominator.
    """
    if exponent in (0, 1):
        return [Fraction(int(size**exponent)) for size in sizes]
    powers = np.array(sizes, dtype=float) ** exponent
    powers = np.maximum(powers, 2 * powers.sum() / SCALE)  # so that none is rounded to nothing
    edges = np.cumsum(powers)
    parts_of_each = np.diff(np.floor(edges / edges[-1] * SCALE), prepend=0)
    return [Fraction(int(part)) for part in parts_of_each]


def parts(weights: list[Fraction]) -> np.ndarray:
    """Return the smallest integers in the proportion of the weights: int64, or Python's own where 64 bits are few."""
    whole = lcm(*(weight.denominator for weight in weights))
    numbers = [int(weight * whole) for weight in weights]
    divisor = gcd(*numbers)
    numbers = [number // divisor for number in numbers]
    return np.array(numbers, dtype=np.int64 if sum(numbers) < 2**62 else object)


def _index(place: str, code: str, languages: tuple[str, ...]) -> int:
    check_known(place, code, languages)
    return languages.index(code)
