"""Collections with judgments in TREC's sense: corpus, topics, qrels; a part for each language or pair of languages."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hybrid.data.texts import Texts
from hybrid.evaluation.distinct import distinct
from hybrid.runtime.errors import InputError
from hybrid.runtime.files import digest
from hybrid.runtime.logs import warn


@dataclass(frozen=True)
class Part:
    """One corpus with its queries and judgments: grades above 0 are relevant, 0 is judged and not relevant.

    `answers` are the answer strings of each query, where the task has them: a reader's answer is held against them, and
    so is a passage where there are no judgments.
    """

    query_ids: Sequence[str]
    queries: Sequence[str]
    document_ids: Sequence[str]
    documents: Sequence[str]
    qrels: Mapping[str, Mapping[str, int]]
    counts: Mapping[str, int]
    answers: Sequence[Sequence[str]] | None = None


@dataclass(frozen=True)
class Judged:
    """Parts by language of queries and documents, ``de``, or by both, ``de>en``.

    Attributes:
        parallel: queries of one id in several parts are translations of each other.
        leaves_out_own: ids of queries and documents are of one namespace, so that a document with the query's id is the
            query's own text: it is left out of the query's ranking, as BEIR's evaluation does.
    """

    parts: Mapping[str, Part]
    parallel: bool = False
    leaves_out_own: bool = False

    searched = True

    @property
    def content(self) -> str:
        """Digest of all that is scored; a list that several parts share is read once."""
        known: dict[int, str] = {}

        def of(value) -> str:
            if id(value) not in known:
                known[id(value)] = _digest(value)
            return known[id(value)]

        given = {
            code: [value for value in vars(part).values() if value is not None] for code, part in self.parts.items()
        }
        return digest({code: [of(value) for value in values] for code, values in given.items()})

    @property
    def languages(self) -> list[str]:
        """The codes of the parts."""
        return sorted(self.parts)

    @property
    def smallest_pool(self) -> int:
        """Documents of the smallest corpus."""
        return min(len(part.document_ids) for part in self.parts.values())

    def text_ids(self) -> Mapping[str, Iterable[str]]:
        """See `hybrid.evaluation.task.Scored`: ``PART ID``, of documents the first part that has them."""
        corpora: dict[int, tuple[str, Part]] = {}
        for code, part in self.parts.items():
            corpora.setdefault(id(part.documents), (code, part))
        return {
            "query": (f"{code} {name}" for code, part in self.parts.items() for name in part.query_ids),
            "passage": (f"{code} {name}" for code, part in corpora.values() for name in part.document_ids),
        }

    def score(self, task, embed, folder: Path, config, about: Mapping[str, Any]) -> dict[str, Any]:
        """See `hybrid.evaluation.task.Scored`."""
        from hybrid.evaluation.judged_scores import score_judged

        return score_judged(task, self, embed, folder, config, about)


def own_documents(part: Part) -> np.ndarray:
    """Return int64 [queries], the row of the document that has the query's id, -2 where none has."""
    queries = set(part.query_ids)
    row = {name: number for number, name in enumerate(part.document_ids) if name in queries}
    return np.array([row.get(name, -2) for name in part.query_ids], np.int64)


def _digest(value) -> str:
    """Return the digest of a part's field; millions of passages have theirs beside them, and are not read for it."""
    if isinstance(value, Texts):
        return value.digest()
    if not isinstance(value, list) or not len(value) or not isinstance(value[0], str):
        return digest(value)
    state = hashlib.blake2b(digest_size=16)
    for text in value:
        state.update(text.encode("utf-8", "surrogatepass"))
        state.update(b"\0")
    return state.hexdigest()


def check_part(part: Part, place: str) -> Part:
    """Return the part with only the judgments that can count; what is left out is counted.

    Raises InputError where ids repeat, queries are empty, or more than one judgment in a hundred names an unknown query
    or document.
    """
    check_documents(part.document_ids, place)
    check_queries(part, place)
    queries = set(part.query_ids)
    pairs = [(query, document) for query, judged in part.qrels.items() for document in judged]
    judged_ids = {document for _, document in pairs}
    documents = {name for name in part.document_ids if name in judged_ids}
    unknown = [f"{query} {name}" for query, name in pairs if query not in queries or name not in documents]
    check_unknown(unknown, len(pairs), place)
    qrels = {query: judged for query, judged in part.qrels.items() if query in queries}
    relevant = {query: judged for query, judged in qrels.items() if max(judged.values()) > 0}
    counts = {
        **part.counts,
        "judgments of unknown queries or documents": len(unknown),
        "queries without judgments": len(queries) - len(qrels),
        "queries without a relevant document": len(qrels) - len(relevant),
        "empty documents": sum(not text.strip() for text in part.documents),
    }
    if not relevant:
        raise InputError(f"{place}: no query has a relevant document; check that topics and qrels belong together.")
    kept = [row for row, name in enumerate(part.query_ids) if name in relevant]
    return replace(
        part,
        query_ids=[part.query_ids[row] for row in kept],
        queries=[part.queries[row] for row in kept],
        answers=part.answers and [part.answers[row] for row in kept],
        qrels=relevant,
        counts=counts,
    )


def check_documents(ids: Sequence[str], place: str) -> None:
    """Raise InputError where there is no document, two have the same id, or one an id that run files cannot hold."""
    if not len(ids):
        raise InputError(f"{place}: holds no document; check that its files are complete.")
    _refuse_repeated(ids, "document", place)
    _refuse_spaces(ids, "document", place)


def check_queries(part: Part, place: str) -> None:
    """Raise InputError where there is no query, two have the same id, or one is empty or has an id with white space."""
    if not part.queries:
        raise InputError(f"{place}: holds no query; check that its files are complete.")
    _refuse_repeated(part.query_ids, "query", place)
    _refuse_spaces(part.query_ids, "query", place)
    if empty := [name for name, text in zip(part.query_ids, part.queries, strict=True) if not text.strip()]:
        raise InputError(f"{place}: {len(empty)} queries are empty (first: {empty[0]!r}); remove or mend them.")


def check_unknown(unknown: Sequence[str], judgments: int, place: str) -> None:
    """Warn of judgments that name something unknown; raises InputError where they are more than one in a hundred."""
    if len(unknown) > 0.01 * judgments:
        raise InputError(
            f"{place}: {len(unknown)} of {judgments} judgments name an unknown query or document (first: "
            f"{', '.join(unknown[:3])}); corpus, topics and qrels must be of one version."
        )
    if unknown:
        warn(f"{place}: {len(unknown)} judgments name an unknown query or document: {', '.join(unknown[:5])}")


def _refuse_repeated(ids: Sequence[str], side: str, place: str) -> None:
    first, _ = distinct(ids)
    if len(first) < len(ids):
        again = int(np.setdiff1d(np.arange(len(ids)), first)[0])
        raise InputError(
            f"{place}: {len(ids) - len(first)} {side} ids occur twice (first: {ids[again]!r}); remove the repetitions."
        )


def _refuse_spaces(ids: Sequence[str], side: str, place: str) -> None:
    plain = isinstance(ids, Texts) and len(ids.bytes) and ids.bytes.min() > 32 and ids.bytes.max() < 128
    if plain and (np.diff(ids.ends, prepend=0) > 0).all():
        return  # seen at a glance, for tens of millions of documents
    first = next((name for name in ids if name.split() != [name]), None)
    if first is not None:
        raise InputError(
            f"{place}: the {side} id {first!r} is empty or has white space, which separates the columns of run files; "
            "mend it at its source."
        )
