"""MIRACL, and any collection in BEIR's or TREC's files: ``--tasks beir:FOLDER``, ``--tasks trec:FOLDER``."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from hybrid.data.files import parse_json, read_lines
from hybrid.evaluation.judged import Judged, Part, check_part
from hybrid.evaluation.task import Task
from hybrid.runtime.errors import InputError


def read_miracl(folder: Path) -> Judged:
    """Read each language of the topics; its corpus is ``miracl-corpus-v1.0-LANG/*.jsonl[.gz]`` (docid, title, text)."""
    names = [re.fullmatch(r"topics\.miracl-v1\.0-(\w+)-dev\.tsv", path.name) for path in sorted(folder.iterdir())]
    parts = {}
    for code in (name[1] for name in names if name):
        corpus = sorted((folder / f"miracl-corpus-v1.0-{code}").glob("*.jsonl*"))
        if not corpus:
            raise InputError(
                f"{folder}: there are topics of {code}, but no miracl-corpus-v1.0-{code}/*.jsonl.gz; get it from "
                "https://huggingface.co/datasets/miracl/miracl-corpus or remove the topics."
            )
        ids, texts = _documents((row for path in corpus for row in _rows(path)), "docid")
        topics = dict(_columns(folder / f"topics.miracl-v1.0-{code}-dev.tsv", 2))
        qrels = _qrels(_columns(folder / f"qrels.miracl-v1.0-{code}-dev.tsv", 4))
        parts[code] = check_part(Part(list(topics), list(topics.values()), ids, texts, qrels, {}), f"miracl {code}")
    if not parts:
        raise InputError(f"{folder}: holds no file topics.miracl-v1.0-LANG-dev.tsv; get them from the same place.")
    return Judged(parts)


def read_beir(folder: Path) -> Judged:
    """Read ``corpus.jsonl`` (_id, title, text), ``queries.jsonl`` (_id, text) and ``qrels/test.tsv``, plain or .gz."""
    ids, texts = _documents(_rows(_either(folder / "corpus.jsonl")), "_id")
    queries = {row["_id"]: row["text"] for row in _rows(_either(folder / "queries.jsonl"))}
    lines = ((query, "0", name, grade) for query, name, grade in _columns(_either(folder / "qrels" / "test.tsv"), 3))
    qrels = _qrels(line for line in lines if line[3] != "score")
    judged = {name: text for name, text in queries.items() if name in qrels}
    return Judged({"en": check_part(Part(list(judged), list(judged.values()), ids, texts, qrels, {}), str(folder))})


def read_trec(folder: Path) -> Judged:
    """Read ``corpus.tsv`` and ``topics.tsv`` (id, text), ``qrels.txt`` (query, iteration, document, grade)."""
    corpus = list(_columns(_either(folder / "corpus.tsv"), 2))
    topics = dict(_columns(_either(folder / "topics.tsv"), 2))
    qrels = _qrels(_columns(_either(folder / "qrels.txt"), 4))
    ids, texts = [row[0] for row in corpus], [row[1] for row in corpus]
    return Judged({"all": check_part(Part(list(topics), list(topics.values()), ids, texts, qrels, {}), str(folder))})


def _either(path: Path) -> Path:
    """Return the path or the same with .gz behind it, whichever there is."""
    packed = path.with_name(path.name + ".gz")
    return packed if packed.exists() and not path.exists() else path


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    for number, line in read_lines(str(path)):
        yield parse_json(line, f"{path}, line {number}")


def _columns(path: Path, count: int) -> Iterator[list[str]]:
    """Yield the columns of a file, separated by tabs or, in qrels, by any white space."""
    for number, line in read_lines(str(path)):
        columns = line.split("\t") if "\t" in line else line.split()
        if len(columns) != count:
            raise InputError(f"{path}, line {number}: has {len(columns)} columns; expected {count}.")
        yield columns


def _documents(rows: Iterable[dict[str, Any]], key: str) -> tuple[list[str], list[str]]:
    """Return ids and texts, ``title\\ntext`` where there is a title, as MIRACL's baselines and BGE-M3 encode them."""
    ids, texts = [], []
    for row in rows:
        ids.append(str(row[key]))
        texts.append(f"{row['title']}\n{row['text']}" if row.get("title") else row["text"])
    return ids, texts


def _qrels(lines: Iterable[Iterable[str]]) -> dict[str, dict[str, int]]:
    qrels: dict[str, dict[str, int]] = {}
    for query, _, document, grade in lines:
        qrels.setdefault(query, {})[document] = int(grade)
    return qrels


TASKS = [
    Task(
        "miracl",
        read_miracl,
        "miracl",
        (),
        "https://huggingface.co/datasets/miracl/miracl",
        "Apache-2.0",
        "Zhang et al. 2023, MIRACL (TACL 11)",
        passage_max_length=512,
    ),
    Task(
        "beir",
        read_beir,
        "beir",
        (),
        "https://github.com/beir-cellar/beir (give the folder: --tasks beir:FOLDER)",
        "that of the collection",
        "Thakur et al. 2021, BEIR (arXiv 2104.08663)",
        passage_max_length=512,
    ),
    Task(
        "trec",
        read_trec,
        "trec",
        (),
        "your own files, given as --tasks trec:FOLDER",
        "that of the collection",
        "",
        passage_max_length=512,
    ),
]
