"""MKQA in two forms that are named apart.

``mkqa`` retrieves English passages for questions in any language; one that holds an English answer is a hit (BGE-M3's
recall, arXiv 2402.03216). ``mkqa-closed`` retrieves the answer strings themselves, among those of all questions, in
each language.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hybrid.evaluation.answers import answer_key
from hybrid.evaluation.collection import Collection, Texts
from hybrid.evaluation.corpora import json_rows, read_corpus
from hybrid.evaluation.judged import Judged, Part, check_documents, check_queries
from hybrid.evaluation.task import Setting, Task
from hybrid.runtime.errors import InputError

LANGUAGES = "ar da de en es fi fr he hu it ja km ko ms nl no pl pt ru sv th tr vi zh_cn zh_hk zh_tw"
_CORPORA = ("corpus.jsonl", "corpus.tsv", "psgs_w100.tsv")
_WITHOUT_SPAN = ("unanswerable", "binary", "long_answer")


@dataclass(frozen=True)
class Item:
    """A question in one language with its answers in that language, and, of MKQA's own file, the types of these."""

    question: str
    answers: tuple[str, ...]
    aliases: tuple[str, ...] = ()
    types: tuple[str, ...] = ()


Items = Mapping[str, Mapping[str, Item]]
"""By language, then by the id of the question."""


def read_items(folder: Path) -> Items:
    """Read ``mkqa.jsonl[.gz]`` as published, or a file a language, ``mkqa-LANG.jsonl`` or ``LANG.jsonl``.

    Those have ``id`` (with ``_LANG`` behind it or not), ``question`` and ``answers``.
    """
    published = [path for path in (folder / "mkqa.jsonl", folder / "mkqa.jsonl.gz") if path.exists()]
    items: dict[str, dict[str, Item]] = defaultdict(dict)
    if published:
        for number, row in json_rows(published[0]):
            _add_published(items, row, f"{published[0]}, line {number}")
        return items
    for path in sorted((*folder.glob("*.jsonl"), *folder.glob("*.jsonl.gz"))):
        name = re.fullmatch(r"(?:mkqa-)?(\w+)\.jsonl(?:\.gz)?", path.name)
        if name and name[1] in LANGUAGES.split():
            items[name[1]] = dict(_of_language(path, name[1]))
    if not items:
        raise InputError(f"{folder}: holds neither mkqa.jsonl.gz nor mkqa-LANG.jsonl; get them from {OPEN.source}.")
    return items


def _add_published(items: dict[str, dict[str, Item]], row: Mapping, place: str) -> None:
    if not {"example_id", "queries", "answers"} <= row.keys():
        raise InputError(f"{place}: has no example_id, queries or answers; expected MKQA's form, fetch it again.")
    for code, question in row["queries"].items():
        found = row["answers"].get(code) or []
        texts = tuple(answer["text"] for answer in found if answer.get("text"))
        aliases = tuple(alias for answer in found for alias in answer.get("aliases") or [])
        items[code][str(row["example_id"])] = Item(question, texts, aliases, tuple(answer["type"] for answer in found))


def _of_language(path: Path, code: str) -> Iterator[tuple[str, Item]]:
    seen: set[str] = set()
    for number, row in json_rows(path):
        if not {"id", "question", "answers"} <= row.keys():
            raise InputError(f"{path}, line {number}: has no id, question or answers; expected these three.")
        name = str(row["id"]).removesuffix(f"_{code}")
        if name in seen:
            raise InputError(f"{path}, line {number}: the id {name} occurs a second time; remove one of the two.")
        seen.add(name)
        yield name, Item(row["question"], tuple(answer for answer in row["answers"] if answer))


def read_open(folder: Path) -> Judged:
    """Read questions, and passages from ``corpus.jsonl``, ``corpus.tsv`` or ``psgs_w100.tsv`` (or .gz) beside them.

    The corpus of BEIR's NQ is found in the folder ``nq`` beside this one too. Answers are the English ones with their
    aliases; as in BGE-M3's data, questions whose last English answer is none, yes or no, or a long one are left out.
    """
    items = read_items(folder)
    if "en" not in items:
        raise InputError(
            f"{folder}: has no English questions, whose answers count in English passages; add mkqa-en.jsonl."
        )
    answers = {name: _english_answers(item) for name, item in items["en"].items()}
    corpus = _corpus(folder)
    ids, texts = read_corpus([corpus])
    check_documents(ids, str(corpus))
    parts = {}
    for code, of_language in sorted(items.items()):
        kept = {name: item.question for name, item in of_language.items() if answers.get(name)}
        counts = {"questions without an English answer to look for": len(of_language) - len(kept)}
        part = Part(list(kept), list(kept.values()), ids, texts, {}, counts, [answers[name] for name in kept])
        check_queries(part, f"{folder}, {code}")
        parts[f"{code}>en"] = part
    return Judged(parts, parallel=True)


def _english_answers(item: Item) -> list[str]:
    if item.types and item.types[-1] in _WITHOUT_SPAN:
        return []
    return [answer for answer in (*item.aliases, *item.answers) if answer_key(answer)]


def _corpus(folder: Path) -> Path:
    names = [name for plain in _CORPORA for name in (plain, f"{plain}.gz")]
    places = [folder / name for name in names] + [folder.parent / "nq" / name for name in names[:2]]
    for place in places:
        if place.exists():
            return place
    raise InputError(
        f"{folder}: has no passages to search, neither {', '.join(_CORPORA)} (or .gz) here nor {places[-2]}; get "
        "BEIR's NQ from https://public.ukp.informatik.tu-darmstadt.de/thakur/BEIR/datasets/nq.zip."
    )


def read_closed(folder: Path) -> Collection:
    """Read questions and, as documents, the distinct answer strings of each language."""
    items = read_items(folder)
    languages = tuple(sorted(items))
    numbers: dict[str, int] = {}
    documents: dict[tuple[int, str], int] = {}
    rows = []
    holders: dict[str, set[int]] = defaultdict(set)
    for language, code in enumerate(languages):
        for name, item in items[code].items():
            rows.append(
                (f"{code}-{name}", item.question.strip(), language, numbers.setdefault(name, len(numbers)), name)
            )
            for answer in filter(None, map(str.strip, item.answers)):
                holders[name].add(documents.setdefault((language, answer), len(documents)))
    pairs = [(row, document) for row, (*_, name) in enumerate(rows) for document in holders[name]]
    language_of = np.array([language for language, _ in documents], np.int32)
    ids = [f"{languages[language]}-{row:06d}" for row, language in enumerate(language_of.tolist())]
    return Collection(
        languages=languages,
        queries=Texts([row[0] for row in rows], [row[1] for row in rows], np.array([row[2] for row in rows], np.int32)),
        documents=Texts(ids, [text for _, text in documents], language_of),
        relevant=np.array(sorted(pairs), np.int64).reshape(-1, 2),
        question=np.array([row[3] for row in rows], np.int64),
        counts={"questions without an answer string": sum(not holders[name] for name in numbers)},
    )


_HITS = ("hit_rate_at_20", "hit_rate_at_100")
_CLOSED = ("ndcg_at_10", "recall_at_1", "recall_at_10", "map")
_SHARED = {
    "folder": "mkqa",
    "source": "https://github.com/apple/ml-mkqa (mkqa.jsonl.gz)",
    "licence": "CC BY-SA 3.0",
}
OPEN = Task(
    name="mkqa",
    read=read_open,
    settings=(Setting("cross_lingual", "other", _HITS, depth=100), Setting("english", "same", _HITS, depth=100)),
    citation="Longpre et al. 2021, MKQA (arXiv 2007.15207); Chen et al. 2024, BGE-M3 (arXiv 2402.03216)",
    passage_max_length=512,
    languages=tuple(f"{code}>en" for code in LANGUAGES.split()),
    revision="1.0, answers by BGE-M3's rule",
    **_SHARED,
)
CLOSED = Task(
    name="mkqa-closed",
    read=read_closed,
    settings=(
        Setting("pairs", "each", _CLOSED, depth=20),
        Setting("monolingual", "same", _CLOSED),
        Setting("cross_lingual", "other", _CLOSED, depth=20),
    ),
    citation="Longpre et al. 2021, MKQA (arXiv 2007.15207)",
    passage_max_length=64,
    languages=tuple(LANGUAGES.split()),
    revision="1.0, answer strings",
    **_SHARED,
)
TASKS = [OPEN, CLOSED]
