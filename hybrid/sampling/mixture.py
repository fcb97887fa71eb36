"""The mixture: the tree (kind, data set, language or ordered pair) that a recipe makes of data sets."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import permutations
from math import gcd, lcm

import numpy as np

from hybrid.sampling.config import ONE_LANGUAGE, MixtureConfig, MixtureError, check_known, fraction
from hybrid.sampling.layout import Layout, Members

SCALE = 2**20  # parts of a node among which irrational weights are rounded


@dataclass(eq=False)
class Node:
    """A branching of the tree: child i gets the share parts[i] / sum(parts) of the node's turns."""

    path: tuple[str, ...]  # (), (kind,) or (kind, data set)
    parts: np.ndarray
    children: tuple["Node", ...] = ()  # none where the children are streams, which are numbered from `first` on
    first: int = 0
    mixes: bool = False  # whether a turn of this node, and of all below it, is a row; of any other it is a batch

    def shares(self) -> list[Fraction]:
        """Return the exact share of each child in the node's turns."""
        total = sum(self.parts.tolist())
        return [Fraction(part, total) for part in self.parts.tolist()]

    def walk(self, share: Fraction = Fraction(1)) -> Iterator[tuple["Node", Fraction]]:
        """Yield this node and all below it, each with its share in everything."""
        yield self, share
        for child, own in zip(self.children, self.shares(), strict=False):
            yield from child.walk(share * own)


class Mixture:
    """Streams (S) and their shares, made of a recipe and data sets; raises MixtureError where these do not fit."""

    def __init__(self, config: MixtureConfig, layouts: Sequence[Layout]):
        self.config, self.layouts, self.names = config, list(layouts), [layout.name for layout in layouts]
        if not layouts or len(set(self.names)) < len(layouts):
            raise MixtureError(f"data: data sets {self.names} found; give one or more, each with a name of its own.")
        self.languages = tuple(sorted({code for layout in layouts for code in layout.languages}))  # L
        for kind, names in config.sets.items():
            check_known(f"sets.{kind}", names, self.names)
        check_known("dataset_weights", config.dataset_weights, self.names)
        check_known("languages", config.languages, self.languages)
        check_known("language_weights", config.language_weights, self.languages)
        for place, entries in (("exclude", config.exclude), ("pair_weights", config.pair_weights or ())):
            check_known(place, [code for entry in entries for code in entry.split(":")], self.languages)
        self.members, shares = [Members(layout, self.languages) for layout in layouts], config.kinds()
        sizes, self.kinds = np.stack([members.sizes for members in self.members]), tuple(shares)
        # int64 [L], the items that have a query, and those that have a passage, in each language
        self.queries = sum(members.lengths @ members.asks for members in self.members)
        self.passages = sum(members.lengths @ members.has for members in self.members)
        streams: list[tuple[int, ...]] = []
        unmet: dict[str, np.ndarray] = {}  # by kind with weights: the languages or pairs that have one and no stream
        branches = tuple(self._branch(kind, streams, unmet) for kind in self.kinds)
        self._check_weights(unmet)
        self.root = Node((), parts(list(shares.values())), branches, mixes=config.form == "mixed")
        # int64 [S], of each stream, in the order of the leaves: indices into kinds, names and languages; its items;
        # what a pass goes over (items or groups). bool [S]: whether a whole batch (or lane) is of this one stream.
        self.kind, self.dataset, self.query, self.passage = map(np.array, zip(*streams, strict=True))
        self.items = sizes[self.dataset, self.query, self.passage]
        self.domain = self.items.copy()
        self.single = np.array([not (self.root.mixes or branch.mixes) for branch in branches])[self.kind]
        for i in np.flatnonzero(self.single & config.unique_groups).tolist():
            groups = self.members[self.dataset[i]].by_group(self.query[i], self.passage[i])[1]
            self.domain[i] = len(groups) - 1

    def _weights(self, kind: str) -> np.ndarray:
        """Return the weights of (query, passage) languages in a kind, object [L, L]: 1 where the recipe gives none, 0
        where it does not admit them."""
        config, given, weights = self.config, self.config.weights(kind), np.zeros((len(self.languages),) * 2, object)
        chosen = set(config.languages or self.languages) - set(config.exclude)
        codes = [number for number, code in enumerate(self.languages) if code in chosen]
        for pair in zip(codes, codes, strict=True) if kind in ONE_LANGUAGE else permutations(codes, 2):
            name = self._codes(*pair)
            if name not in config.exclude:
                weights[pair] = 1 if given is None else fraction(name, given.get(name, 0))
        return weights

    def _branch(self, kind: str, streams: list[tuple[int, ...]], unmet: dict[str, np.ndarray]) -> Node:
        """Return the branch of a kind; its streams (kind, data set, query, passage) are added to `streams`, what has a
        weight and no stream to `unmet`."""
        config, weights, least = self.config, self._weights(kind), max(1, self.config.min_items)
        admitted, nodes, sizes = weights.astype(bool), [], []
        missing = admitted.copy()
        for i, members in enumerate(self.members):
            usable = admitted & (members.sizes >= least)
            if config.dataset_weight(kind, self.names[i]) and usable.any():
                by_items = by_size(members.sizes[usable].tolist(), config.language_exponent)
                own = by_items if config.weights(kind) is None else weights[usable]
                nodes.append(Node((kind, self.names[i]), parts(own), first=len(streams)))
                sizes.append(members.usable(usable))
                streams += [(self.kinds.index(kind), i, *pair) for pair in np.argwhere(usable).tolist()]
                missing &= ~usable
        if not nodes:
            names = ", ".join(self._names(admitted)[:20])
            raise MixtureError(
                f"mixture.{kind} has a share, but no data set has a stream for it (admitted by languages, exclude and "
                f"weights: {names or 'nothing'}; mixture.min_items: {config.min_items}); set "
                f"mixture.{kind} to 0, or name a data set in mixture.sets.{kind} that has items in those languages."
            )
        if config.weights(kind) is not None:
            unmet[kind] = missing
        given = [config.dataset_weight(*node.path) for node in nodes]
        own = by_size(sizes, config.dataset_exponent) if config.dataset_weights is None else given
        mixes = config.form == "hybrid" and kind not in ONE_LANGUAGE
        return Node((kind,), parts(own), tuple(nodes), mixes=mixes)

    def _check_weights(self, unmet: dict[str, np.ndarray]) -> None:
        """Raise MixtureError for a weight that none of the kinds which go by it has a stream for."""
        for one_language in (True, False):
            kinds = [kind for kind in unmet if (kind in ONE_LANGUAGE) == one_language]
            missing = np.logical_and.reduce([unmet[kind] for kind in kinds]) if kinds else np.zeros((0, 0), bool)
            if missing.any():
                names = ", ".join(self._names(missing)[:10])
                raise MixtureError(
                    f"mixture: weights are given to {names} in {' and '.join(kinds)}, but no data set has "
                    f"{max(1, self.config.min_items)} such items or more; take out these weights."
                )

    def _names(self, chosen_LL: np.ndarray) -> list[str]:
        """Return the names of languages or ordered pairs, sorted."""
        return sorted(self._codes(*pair) for pair in np.argwhere(chosen_LL).tolist())

    def _codes(self, query: int, passage: int) -> str:
        return ":".join(dict.fromkeys((self.languages[query], self.languages[passage])))

    def name(self, stream: int) -> str:
        """Return `kind/data set/language` or `kind/data set/query:passage`."""
        codes = self._codes(self.query[stream], self.passage[stream])
        return f"{self.kinds[self.kind[stream]]}/{self.names[self.dataset[stream]]}/{codes}"

    def items_at(self, streams: np.ndarray, places: np.ndarray, passes: np.ndarray) -> np.ndarray:
        """Return int64 [R], the items at `places` of the domains of `streams` in the passes of these numbers."""
        grouped = self.config.unique_groups and self.single[streams[0]]
        items, parted = np.empty_like(places), streams if grouped else self.dataset[streams]
        for value in set(parted.tolist()):
            here = parted == value
            stream = streams[here]
            members, query, passage = self.members[self.dataset[stream[0]]], self.query[stream], self.passage[stream]
            if grouped:
                items[here] = members.of_groups(query[0], passage[0], places[here], passes[here])
            else:
                items[here] = members.items(query, passage, places[here])
        return items

    def table(self) -> list[dict]:
        """Return a row for each stream: kind, data set, languages, share of all batches (or rows), items."""
        names = ("kind", "dataset", "query", "passage", "share", "items")
        texts = ((self.kinds, self.kind), (self.names, self.dataset), (self.languages, self.query))
        columns = [np.array(of)[index].tolist() for of, index in (*texts, (self.languages, self.passage))]
        leaves = ((node, share) for node, share in self.root.walk() if not node.children)
        columns += [[float(share * own) for node, share in leaves for own in node.shares()], self.items.tolist()]
        return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]

    def digest(self) -> str:
        """Return a digest of all that streams and shares are made of, 32 hexadecimal digits."""
        config = self.config
        names = (self.languages, self.names, self.kinds, config.form, config.schedule, config.unique_groups)
        state = hashlib.blake2b(repr(names).encode(), digest_size=16)
        for column in (self.kind, self.dataset, self.query, self.passage, self.items, self.domain):
            state.update(column.tobytes())
        for node, _ in self.root.walk():
            state.update(repr(node.parts.tolist()).encode())
        return state.hexdigest()


def by_size(sizes: Sequence[int], exponent: float) -> list[int]:
    """Return sizes to the power of `exponent`: exact for 0 and 1, else whole millionths (2**-20) of their sum, as a
    schedule can be entered at once at every multiple of its shares' common denominator."""
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
    return np.array([n // divisor for n in numbers], dtype=np.int64 if sum(numbers) // divisor < 2**62 else object)
