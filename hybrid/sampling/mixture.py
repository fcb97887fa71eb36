"""The mixture: the tree (kind, data set, language or ordered pair) that a recipe makes of data sets."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from hybrid.sampling.config import ONE_LANGUAGE, MixtureConfig, MixtureError
from hybrid.sampling.layout import Layout, Members
from hybrid.sampling.shares import admitted, by_size, dataset_weights, parts, stream_weights

DEFAULT_KINDS = ("monolingual", "cross_lingual")


@dataclass
class Node:
    """A branching of the tree: child i gets the share parts[i] / sum(parts) of the node's turns.

    Its children are nodes or, where there are none, the streams numbered from `first` on. `path` names it: (), (kind,)
    or (kind, data set).
    """

    path: tuple[str, ...]
    parts: np.ndarray
    children: tuple["Node", ...] = ()
    first: int = 0

    def shares(self) -> list[Fraction]:
        """Return the exact share of each child in the node's turns."""
        numbers = self.parts.tolist()
        total = sum(numbers)
        return [Fraction(number, total) for number in numbers]

    def walk(self) -> Iterator["Node"]:
        """Yield this node and all below it."""
        yield self
        for child in self.children:
            yield from child.walk()


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
        self.languages = tuple(sorted({code for layout in layouts for code in layout.languages}))
        self.members = [Members(layout) for layout in layouts]
        self._own = [np.array([self.languages.index(code) for code in layout.languages]) for layout in layouts]
        self._sizes = [members.sizes() for members in self.members]
        self.language_items = np.zeros(len(self.languages), dtype=np.int64)
        for own, sizes in zip(self._own, self._sizes, strict=True):
            self.language_items[own] += np.diagonal(sizes)
        self._columns: list[np.ndarray] = []
        shares = config.kinds()
        self.kinds = tuple(shares)
        self.root = Node((), parts(list(shares.values())), tuple(self._kind(i, k) for i, k in enumerate(self.kinds)))
        self.kind, self.dataset, self.query, self.passage, self.items = np.concatenate(self._columns, axis=1)
        self.domain = self._domain()

    def is_single(self, kind: int) -> bool:
        """Return whether a whole batch (or lane) of this kind is of one stream."""
        return self.config.form == "single" or (self.config.form == "hybrid" and self.kinds[kind] in ONE_LANGUAGE)

    def name(self, stream: int) -> str:
        """Return `kind/data set/language` or `kind/data set/query:passage`."""
        query, passage = self.languages[self.query[stream]], self.languages[self.passage[stream]]
        codes = query if query == passage else f"{query}:{passage}"
        return f"{self.kinds[self.kind[stream]]}/{self.names[self.dataset[stream]]}/{codes}"

    def items_at(self, stream: int, places: np.ndarray, passes: np.ndarray) -> np.ndarray:
        """Return the items at int64 `places` of a stream's domain in the passes of these numbers."""
        members, *languages = self._local(stream)
        if self.by_group(stream):
            return members.of_groups(*languages, places, passes)
        return members.items(*languages, places)

    def by_group(self, stream: int) -> bool:
        """Return whether passes of this stream go over groups."""
        return self.config.unique_groups and self.is_single(self.kind[stream])

    def table(self) -> list[dict]:
        """Return a row for each stream: kind, data set, languages, share of all batches (or rows), items."""
        leaves = [
            share * within * own
            for kind, share in zip(self.root.children, self.root.shares(), strict=True)
            for node, within in zip(kind.children, kind.shares(), strict=True)
            for own in node.shares()
        ]
        return [
            {
                "kind": self.kinds[self.kind[i]],
                "dataset": self.names[self.dataset[i]],
                "query": self.languages[self.query[i]],
                "passage": self.languages[self.passage[i]],
                "share": float(share),
                "items": int(self.items[i]),
            }
            for i, share in enumerate(leaves)
        ]

    def digest(self) -> str:
        """Return a digest of all that streams and shares are made of, 32 hexadecimal digits."""
        names = (
            self.languages,
            self.names,
            self.kinds,
            self.config.form,
            self.config.schedule,
            self.config.unique_groups,
        )
        state = hashlib.blake2b(repr(names).encode(), digest_size=16)
        for column in (self.kind, self.dataset, self.query, self.passage, self.items, self.domain):
            state.update(column.tobytes())
        for node in self.root.walk():
            state.update(repr(node.parts.tolist()).encode())
        return state.hexdigest()

    def _kind(self, number: int, kind: str) -> Node:
        """Return the branch of a kind and note its streams."""
        mask, weights = admitted(self.config, kind, self.languages), stream_weights(self.config, kind, self.languages)
        if weights is not None:
            mask &= (weights > 0).astype(bool)
        own_weights = dataset_weights(self.config, self.names)
        usable = {}
        for i, layout in enumerate(self.layouts):
            here = mask[np.ix_(self._own[i], self._own[i])] & (self._sizes[i] >= max(1, self.config.min_items))
            declared = kind in getattr(layout, "kinds", DEFAULT_KINDS)
            if declared and here.any() and (own_weights is None or own_weights[layout.name]):
                usable[i] = here
        self._refuse_empty(kind, mask if weights is not None else None, usable)
        nodes = tuple(self._dataset(number, i, here, weights) for i, here in usable.items())
        if own_weights is not None:
            return Node((kind,), parts([own_weights[self.names[i]] for i in usable]), nodes)
        sizes = [self.members[i].usable(here) for i, here in usable.items()]
        return Node((kind,), parts(by_size(sizes, self.config.dataset_exponent)), nodes)

    def _dataset(self, kind: int, dataset: int, usable: np.ndarray, weights: np.ndarray | None) -> Node:
        """Return the branch of a data set in a kind, and note its streams."""
        query, passage = (self._own[dataset][side] for side in np.nonzero(usable))
        sizes = self._sizes[dataset][usable]
        own = by_size(sizes.tolist(), self.config.language_exponent) if weights is None else weights[query, passage]
        first = sum(columns.shape[1] for columns in self._columns)
        column = np.full_like(sizes, 1)
        self._columns.append(np.stack([column * kind, column * dataset, query, passage, sizes]))
        return Node((self.kinds[kind], self.names[dataset]), parts(list(own)), (), first)

    def _refuse_empty(self, kind: str, named: np.ndarray | None, usable: dict[int, np.ndarray]) -> None:
        """Raise MixtureError where a kind has no stream, or where one that the recipe names has no item."""
        if not usable:
            raise MixtureError(
                f"mixture.{kind} has a share, but no data set has a stream for it (languages admitted: "
                f"{', '.join(self.config.languages or self.languages)}; mixture.min_items: {self.config.min_items}); "
                f"set mixture.{kind} to 0 or give a data set with kind {kind} and items in those languages."
            )
        if named is None:
            return
        for i, here in usable.items():
            named[np.ix_(self._own[i], self._own[i])] &= ~here
        if missing := np.argwhere(named).tolist():
            names = sorted({":".join(dict.fromkeys(self.languages[side] for side in pair)) for pair in missing})
            raise MixtureError(
                f"mixture: weights are given to {', '.join(names[:10])} in {kind}, but no data set has "
                f"{max(1, self.config.min_items)} such items or more; take out these weights."
            )

    def _local(self, stream: int) -> tuple[Members, int, int]:
        """Return the data set of a stream and its two languages as that data set numbers them."""
        own = self._own[self.dataset[stream]]
        query, passage = np.searchsorted(own, (self.query[stream], self.passage[stream])).tolist()
        return self.members[self.dataset[stream]], query, passage

    def _domain(self) -> np.ndarray:
        domain = self.items.copy()
        for stream in [s for s in range(len(domain)) if self.config.unique_groups and self.by_group(s)]:
            members, *languages = self._local(stream)
            if members.groups is None:
                name = self.names[self.dataset[stream]]
                raise MixtureError(f"mixture.unique_groups: data set {name!r} has no groups; set it to false.")
            domain[stream] = len(members.by_group(*languages)[1]) - 1
        return domain
