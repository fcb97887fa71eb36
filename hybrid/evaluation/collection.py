"""What a task scores: queries, documents and which document answers which query, in several languages."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from hybrid.runtime.errors import InputError
from hybrid.runtime.files import digest


@dataclass(frozen=True)
class Texts:
    """Texts with an id and a language each.

    Attributes:
        ids: distinct, without white space: they stand in run and qrels files.
        texts: what is encoded, without prefix.
        language: int32 [N], index into the collection's languages.
    """

    ids: Sequence[str]
    texts: Sequence[str]
    language: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Collection:
    """Queries, candidate documents and judgments of one task.

    Attributes:
        languages: sorted codes; everything else names a language by its position here.
        relevant: int64 [E, 2], rows (query, document) of the relevant pairs, sorted, distinct.
        question: int64 [queries], the same number for translations of one question.
        counts: what reading left out, by reason.
    """

    languages: tuple[str, ...]
    queries: Texts
    documents: Texts
    relevant: np.ndarray
    question: np.ndarray
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def content(self) -> str:
        """Digest of all that is scored: ids, texts, judgments."""
        sides = [[list(side.ids), list(side.texts)] for side in (self.queries, self.documents)]
        return digest([sides, self.relevant.tolist()])

    def text_ids(self) -> Mapping[str, Iterable[str]]:
        """Return the ids of the texts of each side, by the name of the folder of its embeddings."""
        return {"query": self.queries.ids, "passage": self.documents.ids}

    @property
    def smallest_pool(self) -> int:
        """Documents of the language that has the fewest."""
        return int(np.bincount(self.documents.language, minlength=len(self.languages)).min())


def check(collection: Collection, place: str) -> Collection:
    """Return the collection if it can be scored; raises InputError naming `place` and the first offenders."""
    for side, texts in (("query", collection.queries), ("document", collection.documents)):
        if not len(texts):
            raise InputError(f"{place}: holds no {side}; check that its files are complete.")
        _refuse(place, f"{side} ids that occur twice", _repeated(texts.ids))
        _refuse(place, f"{side} ids with white space", [name for name in texts.ids if name.split() != [name]])
        empty = [name for name, text in zip(texts.ids, texts.texts, strict=True) if not text.strip()]
        _refuse(place, f"{side} texts that are empty", empty)
    if not len(collection.relevant):
        raise InputError(f"{place}: no query has a relevant document; ids of questions must agree between its files.")
    return collection


def _repeated(names: Sequence[str]) -> list[str]:
    seen: set[str] = set()
    return [name for name in names if name in seen or seen.add(name)]


def _refuse(place: str, fault: str, names: list[str]) -> None:
    if names:
        shown = ", ".join(repr(name) for name in names[:5])
        raise InputError(f"{place}: {len(names)} {fault} (first: {shown}); mend them at their source.")
