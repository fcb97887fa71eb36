"""What a recipe says about the mixture, and the one error of this room."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from fractions import Fraction
from typing import Literal

Number = (
    float | str
)  # a share or weight: 0.1, or the text 1/3 or 0.1; always read as the exact fraction that is written
PAPER = ("monolingual", "cross_lingual")  # the kinds of arXiv 2408.10536
KINDS = (*PAPER, "self_supervised", "bitext")
ONE_LANGUAGE = ("monolingual", "self_supervised")  # kinds of streams (x, x); those of the others are pairs (x, y)


class MixtureError(ValueError):
    """Bad input to the sampler, told in one sentence that ends with the remedy."""


@dataclass
class MixtureConfig:
    """The mixture: a tree (kind, data set, language or ordered pair) with a share at every branch."""

    monolingual: Number | None = None
    """Share of monolingual batches (the paper's alpha). Unset: what other kinds leave, half of it if both are unset."""
    cross_lingual: Number | None = None
    """Share of cross-lingual batches (the paper's beta). Unset: as for monolingual."""
    self_supervised: Number | None = None
    """Share of batches of one language whose query and passage are one text; its data sets are named in `sets`."""
    bitext: Number | None = None
    """Share of batches of translated sentences in ordered pairs; its data sets are named in `sets`."""
    sets: dict[str, list[str]] = field(default_factory=dict)
    """Data sets by kind, {bitext: [tatoeba]}: all that the kind draws from. Kinds that are not named here draw, if they
    are monolingual or cross_lingual, from the data sets that are not."""
    form: Literal["single", "mixed", "hybrid"] = "hybrid"
    """single: a batch is of one language or ordered pair. mixed: every row has its own stream, kinds included. hybrid:
    a batch is of one kind, and of one language; of kinds of pairs every row has its own (arXiv 2408.10536)."""
    unit: Literal["global", "lane"] | None = None
    """What one draw fills: the global batch, or each of its lanes; in form hybrid lanes concern the rows of pairs, all
    else is drawn for the global batch. Unset: global for single, else lane."""
    lanes: int | None = None
    """Lanes of the global batch where unit is lane; the world size has to divide them. Unset: the greatest common
    divisor of the global batch and 8."""
    schedule: Literal["quota", "random"] = "quota"
    """quota: every count within one of its share at every moment. random: independent draws, as in the paper."""
    languages: list[str] | None = None
    """Languages to train on. Unset: all that the data sets have."""
    exclude: list[str] = field(default_factory=list)
    """Languages (`sv`) or ordered pairs query:passage (`en:sv`) to leave out."""
    min_items: int = 1
    """Streams with fewer items than this are left out of the mixture."""
    dataset_exponent: float = 1.0
    """A data set's weight in a kind is its usable items to this power: 0 uniform, 1 proportional."""
    dataset_weights: dict[str, Number] | None = None
    """Weights by data set instead of the exponent; a data set that is not named gets nothing."""
    language_exponent: float = 0.0
    """A language's or pair's weight in a data set is its items to this power: 0 uniform (the paper), 1 proportional."""
    language_weights: dict[str, Number] | None = None
    """Weights by language (`en`) instead of the exponent, for kinds of one language; not named: nothing."""
    pair_weights: dict[str, Number] | None = None
    """Weights by ordered pair (`en:de`) instead of the exponent, for kinds of two; not named: nothing."""
    unique_groups: bool = False
    """No group twice in a batch of one stream: a pass goes over groups, with another item of each in every pass. Keeps
    an index of the stream's items in memory; rows that are mixed need it not, the loss masks them."""

    def __post_init__(self) -> None:
        for name in ("dataset_exponent", "language_exponent"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise MixtureError(f"mixture.{name} is {value}; give a number from 0 (uniform) to 1 (proportional).")
        if self.lanes is not None and self.lanes < 1:
            raise MixtureError(f"mixture.lanes is {self.lanes}; give a number of 1 or more.")
        if self.of_all_rows and self.lanes not in (None, 1):
            raise MixtureError(f"mixture.lanes is {self.lanes} but mixture.unit is global; set the unit to lane.")
        if self.unique_groups and self.form == "mixed":
            raise MixtureError("mixture.unique_groups is for batches of one stream; set mixture.form to single.")
        if unknown := sorted(self.sets.keys() - set(KINDS)):
            raise MixtureError(f"mixture.sets names the kind {unknown[0]!r}; the kinds are {', '.join(KINDS)}.")
        for name in ("dataset_weights", "language_weights", "pair_weights"):
            for entry, value in (getattr(self, name) or {}).items():
                fraction(f"mixture.{name}.{entry}", value)
        pairs = {"pair_weights": self.pair_weights or (), "exclude": [entry for entry in self.exclude if ":" in entry]}
        for name, entry in ((name, entry) for name, entries in pairs.items() for entry in entries):
            if entry.count(":") != 1:
                raise MixtureError(f"mixture.{name} names {entry!r}; name an ordered pair as query:passage: en:de.")
        self.kinds()

    @property
    def of_all_rows(self) -> bool:
        """Whether a draw is for the whole global batch, not for each of its lanes."""
        return (self.unit or ("global" if self.form == "single" else "lane")) == "global"

    def kinds(self) -> dict[str, Fraction]:
        """Return the positive shares by kind; raises MixtureError where they are no numbers or do not sum to 1."""
        given = {kind: getattr(self, kind) for kind in KINDS if getattr(self, kind) is not None}
        shares = {kind: fraction(f"mixture.{kind}", value) for kind, value in given.items()}
        rest, unset = (Fraction(1) - sum(shares.values()), [kind for kind in PAPER if kind not in given])
        if rest < 0 or (rest > 0 and not unset):
            raise MixtureError(
                f"mixture: the shares {', '.join(f'{k} {v}' for k, v in given.items())} sum to {float(1 - rest):.12g}, "
                "not to 1; change one of them (a third is written 1/3)."
            )
        shares |= {kind: rest / len(unset) for kind in unset}
        return {kind: shares[kind] for kind in KINDS if shares.get(kind)}

    def dataset_weight(self, kind: str, dataset: str) -> Fraction:
        """Return the weight of a data set, 1 where the recipe gives none; 0 if the kind does not draw from it."""
        unnamed = kind in PAPER and not any(dataset in names for names in self.sets.values())
        drawn = dataset in self.sets[kind] if kind in self.sets else unnamed
        given = {dataset: 1} if self.dataset_weights is None else self.dataset_weights
        return drawn * fraction(f"mixture.dataset_weights.{dataset}", given.get(dataset, 0))

    def weights(self, kind: str) -> dict[str, Number] | None:
        """Return the weights by language or ordered pair that are given for a kind."""
        return self.language_weights if kind in ONE_LANGUAGE else self.pair_weights


def fraction(place: str, value: Number) -> Fraction:
    """Return the exact non-negative fraction that `value` is written as; `place` names it in the MixtureError."""
    try:
        number = Fraction(str(value))
    except (ValueError, ZeroDivisionError):
        number = Fraction(-1)
    if number < 0:
        raise MixtureError(f"{place} is {value}; give a number of 0 or more, such as 0.5 or 1/3.")
    return number


def check_known(place: str, names: Iterable[str] | None, known: Sequence[str]) -> None:
    """Raise MixtureError, with the nearest known name, if one of `names` is none of `known`."""
    for name in names or ():
        if name not in known:
            close = get_close_matches(name, known, n=1, cutoff=0.3)
            meant = f"did you mean {close[0]!r}?" if close else "take one of those."
            few = ", ".join(sorted(known)[:20]) + (", ..." if len(known) > 20 else "")
            raise MixtureError(f"mixture.{place} names {name!r}, but the data has {few}: {meant}")
