"""The mixture: the tree (kind, data set, language or ordered pair) that a recipe makes of data sets."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import gcd, lcm

import numpy as np

from hybrid.sampling.config import ONE_LANGUAGE, MixtureConfig, MixtureError, check_known, fraction
from hybrid.sampling.layout import Layout, Members

SCALE = 2**20  # parts of a node among which irrational weights are rounded


@dataclass(eq=False)
class Node:
    """A branching of the tree: child i gets the share parts[i] / sum(parts) of the node's turns.

    Its children are nodes or, where there are none, the streams numbered from `first` on. `path` names it: (), (kind,)
    or (kind, data set). A turn of a node that `mixes`, and of all below it, is a row; of any other it is a batch.
    """

    path: tuple[str, ...]
    parts: np.ndarray
    children: tuple["Node", ...] = ()
    first: int = 0
    mixes: bool = False

    def shares(self) -> list[Fraction]:
        """Return the exact share of each child in the node's turns."""
        total = sum(self.parts.tolist())
        return [Fraction(part, total) for part in self.parts.tolist()]

    def walk(self) -> Iterator["Node"]:
        """Yield this node and all below it."""
        yield self
        for child in self.children:
            yield from child.walk()

    def leaves(self, share: Fraction) -> Iterator[Fraction]:
        """Yield the share of each stream below this node, which has `share` itself."""
        for i, own in enumerate(self.shares()):
            yield from self.children[i].leaves(share * own) if self.children else [share * own]


class Mixture:
    """Streams and their shares.

    Attributes:
        languages: sorted codes of all data sets; language indices of rows count from here.
        names: the data sets' names, in the order of their indices.
        language_items: int64 [L], the items that have each language.
        kinds: the kinds that have a share.
        root: the tree; its leaves are the streams, in order.
        kind, dataset, query, passage: int64 [S], what each stream is: indices of kind, data set, languages.
        items: int64 [S], the items of each stream.
        domain: int64 [S], what a pass goes over: items, or groups with `unique_groups`.

    Raises MixtureError where recipe and data do not fit.
    """

    def __init__(self, config: MixtureConfig, layouts: Sequence[Layout]):
        self.config, self.layouts = config, list(layouts)
        self.names = [layout.name for layout in layouts]
        if not layouts or len(set(self.names)) < len(layouts):
            raise MixtureError(f"data: data sets {self.names} found; give one or more, each with a name of its own.")
        used = {f"mixture.sets.{kind}": names for kind, names in config.sets.items()}
        for place, names in (used | {"mixture.dataset_weights": config.dataset_weights or ()}).items():
            for name in names:
                check_known(place, name, self.names)
        self.languages = tuple(sorted({code for layout in layouts for code in layout.languages}))
        self.members = [Members(layout, self.languages) for layout in layouts]
        sizes, shares = np.stack([members.sizes() for members in self.members]), config.kinds()
        self.language_items = sizes.diagonal(axis1=1, axis2=2).sum(axis=0)
        self.kinds = tuple(shares)
        rules = [admitted(config, kind, self.languages) for kind in self.kinds]
        usable = np.stack([self._usable(kind, *rule, sizes) for kind, rule in zip(self.kinds, rules, strict=True)])
        self.kind, self.dataset, self.query, self.passage = np.nonzero(usable)
        self.items = sizes[self.dataset, self.query, self.passage]
        branches = tuple(self._branch(i, usable[i], weights) for i, (_, weights) in enumerate(rules))
        self.root = Node((), parts(list(shares.values())), branches, mixes=config.form == "mixed")
        self.domain = self._domain()

    def is_single(self, kind: int) -> bool:
        """Return whether a whole batch (or lane) of this kind is of one stream."""
        return not (self.root.mixes or self.root.children[kind].mixes)

    def name(self, stream: int) -> str:
        """Return `kind/data set/language` or `kind/data set/query:passage`."""
        query, passage = self.languages[self.query[stream]], self.languages[self.passage[stream]]
        codes = query if query == passage else f"{query}:{passage}"
        return f"{self.kinds[self.kind[stream]]}/{self.names[self.dataset[stream]]}/{codes}"

    def items_at(self, stream: int, places: np.ndarray, passes: np.ndarray) -> np.ndarray:
        """Return the items at int64 `places` of a stream's domain in the passes of these numbers."""
        members, pair = self.members[self.dataset[stream]], (self.query[stream], self.passage[stream])
        return members.of_groups(*pair, places, passes) if self.by_group(stream) else members.items(*pair, places)

    def by_group(self, stream: int) -> bool:
        """Return whether passes of this stream go over groups."""
        return self.config.unique_groups and self.is_single(self.kind[stream])

    def table(self) -> list[dict]:
        """Return a row for each stream: kind, data set, languages, share of all batches (or rows), items."""
        names = ("kind", "dataset", "query", "passage", "share", "items")
        texts = (self.kinds, self.kind), (self.names, self.dataset), (self.languages, self.query)
        columns = [np.array(of)[index].tolist() for of, index in (*texts, (self.languages, self.passage))]
        columns += [map(float, self.root.leaves(Fraction(1))), self.items.tolist()]
        return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]

    def digest(self) -> str:
        """Return a digest of all that streams and shares are made of, 32 hexadecimal digits."""
        config = self.config
        names = (self.languages, self.names, self.kinds, config.form, config.schedule, config.unique_groups)
        state = hashlib.blake2b(repr(names).encode(), digest_size=16)
        for column in (self.kind, self.dataset, self.query, self.passage, self.items, self.domain):
            state.update(column.tobytes())
        for node in self.root.walk():
            state.update(repr(node.parts.tolist()).encode())
        return state.hexdigest()

    def _usable(self, kind: str, mask: np.ndarray, weights: np.ndarray | None, sizes: np.ndarray) -> np.ndarray:
        """Return bool [D, L, L], the streams of a kind; raises MixtureError where it, or a named language, has none."""
        config, least = self.config, max(1, self.config.min_items)
        drawn = np.array([config.dataset_weight(kind, name) > 0 for name in self.names])
        usable = mask & (sizes >= least) & drawn[:, None, None]
        if not usable.any():
            raise MixtureError(
                f"mixture.{kind} has a share, but no data set has a stream for it (languages admitted: "
                f"{', '.join(config.languages or self.languages)}; mixture.min_items: {config.min_items}); set "
                f"mixture.{kind} to 0, or name a data set in mixture.sets.{kind} that has items in those languages."
            )
        missing = np.argwhere(mask & ~usable.any(axis=0)).tolist()
        if weights is not None and missing:
            names = sorted({":".join(dict.fromkeys(self.languages[side] for side in pair)) for pair in missing})
            raise MixtureError(
                f"mixture: weights are given to {', '.join(names[:10])} in {kind}, but no data set has "
                f"{least} such items or more; take out these weights."
            )
        return usable

    def _branch(self, number: int, usable: np.ndarray, weights: np.ndarray | None) -> Node:
        """Return the branch of a kind, whose streams are those in bool [D, L, L]."""
        config, kind = self.config, self.kinds[number]
        nodes, datasets = [], np.flatnonzero(usable.any(axis=(1, 2))).tolist()
        for i in datasets:
            streams = np.flatnonzero((self.kind == number) & (self.dataset == i))
            sizes = by_size(self.items[streams].tolist(), config.language_exponent)
            own = parts(sizes if weights is None else weights[usable[i]])
            nodes.append(Node((kind, self.names[i]), own, first=int(streams[0])))
        sizes = by_size([self.members[i].usable(usable[i]) for i in datasets], config.dataset_exponent)
        given = [config.dataset_weight(kind, self.names[i]) for i in datasets]
        own = parts(sizes if config.dataset_weights is None else given)
        return Node((kind,), own, tuple(nodes), mixes=config.form == "hybrid" and kind not in ONE_LANGUAGE)

    def _domain(self) -> np.ndarray:
        domain = self.items.copy()
        for stream in filter(self.by_group, range(len(domain))):
            members = self.members[self.dataset[stream]]
            if members.groups is None:
                name = self.names[self.dataset[stream]]
                raise MixtureError(f"mixture.unique_groups: data set {name!r} has no groups; set it to false.")
            domain[stream] = len(members.by_group(self.query[stream], self.passage[stream])[1]) - 1
        return domain


def admitted(config: MixtureConfig, kind: str, languages: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray | None]:
    """Return which (query, passage) languages the recipe admits for a kind, bool [L, L], and its own weights of them.

    The weights are Fractions, object [L, L], 0 where none is named; None where the recipe gives none.
    """

    def index(name: str, code: str) -> int:
        check_known(f"mixture.{name}", code, languages)
        return languages.index(code)

    same, one = np.eye(len(languages), dtype=bool), kind in ONE_LANGUAGE
    mask = same if one else ~same
    chosen = [index("languages", code) for code in config.languages or languages]
    others = np.setdiff1d(np.arange(len(languages)), chosen)
    mask[others], mask[:, others] = False, False
    for entry in config.exclude:
        query, *passage = (index("exclude", code) for code in entry.split(":"))
        if passage:
            mask[query, passage[0]] = False
        else:
            mask[query], mask[:, query] = False, False
    name, given = ("language_weights", config.language_weights) if one else ("pair_weights", config.pair_weights)
    if given is None:
        return mask, None
    weights = np.full(mask.shape, Fraction(0), dtype=object)
    for entry, value in given.items():
        codes = [entry, entry] if one else entry.split(":")
        if len(codes) != 2:
            raise MixtureError(f"mixture.{name} names {entry!r}; name an ordered pair as query:passage, such as en:de.")
        query, passage = (index(name, code) for code in codes)
        weights[query, passage] = fraction(f"mixture.{name}.{entry}", value)
    return mask & (weights > 0).astype(bool), weights


def by_size(sizes: list[int], exponent: float) -> list[int]:
    """Return sizes to the power of `exponent`: exact for 0 and 1, else whole millionths (2**-20) of their sum.

    Millionths, because a schedule can be entered at once at every multiple of its shares' common denominator.
    """
    if exponent in (0, 1):
        return [int(size**exponent) for size in sizes]
    powers = np.array(sizes, dtype=float) ** exponent
    powers = np.maximum(powers, 2 * powers.sum() / SCALE)  # so that none is rounded to nothing
    edges = np.cumsum(powers)
    return np.diff(np.floor(edges / edges[-1] * SCALE), prepend=0).astype(int).tolist()


def parts(weights: Sequence[int | Fraction]) -> np.ndarray:
    """Return the smallest integers in the proportion of the weights: int64, or Python's own where 64 bits are few."""
    whole = lcm(*(weight.denominator for weight in weights))
    numbers = [int(weight * whole) for weight in weights]
    divisor = gcd(*numbers)
    numbers = [number // divisor for number in numbers]
    return np.array(numbers, dtype=np.int64 if sum(numbers) < 2**62 else object)
