"""MIRACL, and any collection in BEIR's or TREC's files: ``--tasks beir:FOLDER``, ``--tasks trec:FOLDER``."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from hybrid.data.files import read_lines
from hybrid.evaluation.corpora import ID, TEXT, either, first_of, json_rows, read_corpus
from hybrid.evaluation.judged import Judged, Part, check_part
from hybrid.evaluation.task import Setting, Task
from hybrid.runtime.errors import InputError

RETRIEVAL = (Setting("retrieval", "each", ("ndcg_at_10", "recall_at_10", "recall_at_100", "mrr_at_10", "map_at_1000")),)
MIRACL_LANGUAGES = "ar bn de en es fa fi fr hi id ja ko ru sw te th yo zh"


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
        ids, texts = read_corpus(corpus)
        topics = _topics(folder / f"topics.miracl-v1.0-{code}-dev.tsv")
        qrels = _qrels(folder / f"qrels.miracl-v1.0-{code}-dev.tsv", 4)
        parts[code] = check_part(Part(list(topics), list(topics.values()), ids, texts, qrels, {}), f"miracl {code}")
    if not parts:
        raise InputError(f"{folder}: holds no file topics.miracl-v1.0-LANG-dev.tsv; get them from the same place.")
    return Judged(parts)


def read_beir(folder: Path) -> Judged:
    """Read ``corpus.jsonl`` (_id, title, text), ``queries.jsonl`` (_id, text) and ``qrels/test.tsv``, plain or .gz."""
    ids, texts = read_corpus([either(folder / "corpus.jsonl")])
    file = either(folder / "queries.jsonl")
    rows = ((row, f"{file}, line {number}") for number, row in json_rows(file))
    queries = _once(((first_of(row, ID, place), first_of(row, TEXT, place)) for row, place in rows), file)
    qrels = _qrels(either(folder / "qrels" / "test.tsv"), 3)
    judged = {name: text for name, text in queries.items() if name in qrels}
    part = check_part(Part(list(judged), list(judged.values()), ids, texts, qrels, {}), str(folder))
    return Judged({"en": part}, leaves_out_own=True)


def read_trec(folder: Path) -> Judged:
    """Read ``corpus.tsv`` and ``topics.tsv`` (id, text), ``qrels.txt`` (query, iteration, document, grade)."""
    topics = _topics(either(folder / "topics.tsv"))
    qrels = _qrels(either(folder / "qrels.txt"), 4)
    ids, texts = read_corpus([either(folder / "corpus.tsv")])
    return Judged({"all": check_part(Part(list(topics), list(topics.values()), ids, texts, qrels, {}), str(folder))})


def _columns(path: Path, count: int) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, columns) of a file, separated by tabs or, in qrels, by any white space."""
    for number, line in read_lines(str(path)):
        columns = line.split("\t") if "\t" in line else line.split()
        if len(columns) != count:
            raise InputError(f"{path}, line {number}: has {len(columns)} columns; expected {count}.")
        yield number, columns


def _topics(path: Path) -> dict[str, str]:
    return _once((columns for _, columns in _columns(path, 2)), path)


def _once(rows: Iterable[Iterable[str]], path: Path) -> dict[str, str]:
    """Return texts by id; raises InputError where an id comes twice."""
    texts: dict[str, str] = {}
    for name, text in rows:
        if name in texts:
            raise InputError(f"{path}: the query id {name!r} occurs twice; remove one of the two.")
        texts[name] = text
    return texts


def _qrels(path: Path, count: int) -> dict[str, dict[str, int]]:
    """Return the grades of a file with query, document and grade, or with TREC's iteration as a second column.

    Raises InputError with file and line for a grade that is no number, and for a pair that has two.
    """
    qrels: dict[str, dict[str, int]] = {}
    for number, (query, *_, document, grade) in _columns(path, count):
        if number == 1 and grade == "score":
            continue  # BEIR's line of names
        if not re.fullmatch(r"-?\d+", grade):
            raise InputError(
                f"{path}, line {number}: the judgment {query} {document} has the grade {grade!r}; expected a whole "
                "number."
            )
        known = qrels.setdefault(query, {})
        if known.setdefault(document, int(grade)) != int(grade):
            raise InputError(
                f"{path}, line {number}: {query} {document} has the grade {grade} here and {known[document]} before; "
                "remove one of the two."
            )
    return qrels


TASKS = [
    Task(
        "miracl",
        read_miracl,
        "miracl",
        RETRIEVAL,
        "https://huggingface.co/datasets/miracl/miracl",
        "Apache-2.0",
        "Zhang et al. 2023, MIRACL (TACL 11)",
        passage_max_length=512,
        languages=tuple(MIRACL_LANGUAGES.split()),
        revision="v1.0 dev",
    ),
    Task(
        "beir",
        read_beir,
        "beir",
        RETRIEVAL,
        "https://github.com/beir-cellar/beir (give the folder: --tasks beir:FOLDER)",
        "that of the collection",
        "Thakur et al. 2021, BEIR (arXiv 2104.08663)",
        # Not all are short questions: ArguAna's are whole arguments.
        query_max_length=512,
        passage_max_length=512,
    ),
    Task(
        "trec",
        read_trec,
        "trec",
        RETRIEVAL,
        "your own files, given as --tasks trec:FOLDER",
        "that of the collection",
        "",
        query_max_length=512,
        passage_max_length=512,
    ),
]
