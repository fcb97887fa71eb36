"""What is mined: the questions of a training data set, in any form that the data room reads, and its passages."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np

from hybrid.data.columns import TABLES
from hybrid.data.config import DatasetConfig
from hybrid.data.joining import components
from hybrid.data.lareqa import read_lareqa
from hybrid.data.records import Paragraph, Row
from hybrid.data.report import Report
from hybrid.data.sources import files_by_language, read_files
from hybrid.evaluation.collection import Collection, Texts
from hybrid.evaluation.negatives import normalised
from hybrid.evaluation.passages import passage_collection
from hybrid.evaluation.tasks.parallel import pattern, read_paragraphs
from hybrid.runtime.errors import InputError
from hybrid.runtime.logs import warn


@dataclass(frozen=True)
class Asked:
    """Questions and passages, with what the pairs that are written say of them.

    Attributes:
        names: the id of each query, the same for translations.
        articles: the document that each query's passage is from, None where it is not known.
        answers: `normalised` answers of each question number, in all languages that it exists in.
    """

    collection: Collection
    names: list[str]
    articles: list[str | None]
    answers: list[set[str]]


_OF_TRAINING = {
    "max_items": "all questions are mined, and max_items beside the mined pairs in a recipe takes some of them",
    "max_length": "texts are cut at --mining.query_max_length and --mining.passage_max_length",
}
"""Settings of a data set that hold in training only, and what there is in their place."""


def data_set(files: str | None, given: DatasetConfig) -> DatasetConfig:
    """Return the data set of ``--data FILES`` and ``--dataset.*``; JSONL, TSV and tables are known by their ending."""
    if files is None:
        given.check("--dataset")
        return given
    if given.files or given.hub:
        raise InputError("--data and --dataset.files or .hub are both set; the pairs have one origin, remove one.")
    ending, form = Path(files.removesuffix(".gz")).suffix, given.format
    saved = any(Path(files, name).exists() for name in ("state.json", "dataset_dict.json"))
    if form == "squad" and ending in (".jsonl", ".tsv"):
        form = "pairs"
    elif form == "squad" and (saved or ending in TABLES):
        form = "hub"
    config = replace(given, files=files, format=form)
    config.check("--dataset")
    return config


def read_asked(config: DatasetConfig) -> Asked:
    """Read a data set.

    Raises InputError where it holds no question, files are missing or broken, or a setting belongs to training alone.
    """
    if not config.has_questions:
        raise InputError(f"--dataset.format is {config.format!r}, which has no questions; negatives need questions.")
    for key, remedy in _OF_TRAINING.items():
        if (value := getattr(config, key)) is not None:
            raise InputError(f"--dataset.{key} is {value}, which mining does not follow; remove it: {remedy}.")
    report = Report("--data")
    if config.format in ("squad", "lareqa"):
        # Paragraphs without questions are candidates too, and no rows tell of them.
        given = pattern(Path(config.files)) if isinstance(config.files, str) else config.files
        files = files_by_language(given, "--dataset.files", config, "--dataset")
        found = _lareqa(files, report) if config.format == "lareqa" else read_paragraphs(files, report)
        asked = from_paragraphs({code: _with_text(paragraphs, code, report) for code, paragraphs in found.items()})
    else:
        asked = from_rows(chain.from_iterable(rows for _, rows in read_files(config, "--dataset", report)))
    for line in report.lines():
        warn(line)
    if not asked.names:
        raise InputError(f"--data: its files hold no usable question; {'; '.join(report.lines()) or 'they are empty'}.")
    return asked


def _lareqa(files: Mapping[str, list[str]], report: Report) -> dict[str, list[Paragraph]]:
    return {code: [p for path in paths for p in read_lareqa(path, report)] for code, paths in files.items()}


def _with_text(paragraphs: Iterable[Paragraph], language: str, report: Report) -> list[Paragraph]:
    """Return the paragraphs that have a text: an empty one answers nothing, and would be anything's negative."""
    kept = []
    for paragraph in paragraphs:
        if paragraph.context.strip():
            kept.append(paragraph)
        else:
            report.note("empty paragraph", f"{language}, {paragraph.article}")
    return kept


def from_paragraphs(paragraphs: dict[str, list[Paragraph]]) -> Asked:
    """Return the questions of paragraphs by language; each distinct paragraph is a passage."""
    collection = _united(passage_collection(paragraphs, "paragraph"))
    given = [(p, question) for code in collection.languages for p in paragraphs[code] for question in p.questions]
    found = _answers(collection.question, enumerate((q.answer_text, *q.answers) for _, q in given))
    return Asked(collection, [question.id for _, question in given], [p.article for p, _ in given], found)


def from_rows(rows: Iterable[Row]) -> Asked:
    """Return the questions of rows; the passages are theirs, and the negatives that they were given.

    A question's passages are those of all rows of its id; rows of one group, or of the same words, are translations
    or variants of one question, so that no passage of them becomes a negative.
    """
    kept = list(rows)
    languages = tuple(sorted({code for row in kept for code in (row.query_language, row.passage_language)}))
    number = {code: place for place, code in enumerate(languages)}
    documents: dict[tuple[int, str], int] = {}
    holders: dict[str, set[int]] = defaultdict(set)
    first: dict[tuple[str, str], Row] = {}
    for row in kept:
        first.setdefault((row.id, row.query_language), row)
        for text in (row.passage, *row.negatives):
            documents.setdefault((number[row.passage_language], text.strip()), len(documents))
        holders[row.id].add(documents[number[row.passage_language], row.passage.strip()])
    queries = list(first.values())
    questions: dict[tuple[bool, str], int] = {}
    question = [questions.setdefault((bool(row.group), row.group or row.id), len(questions)) for row in queries]
    language = [number[row.query_language] for row in queries]
    collection = Collection(
        languages=languages,
        queries=Texts(
            [f"{row.query_language}-{place:06d}" for place, row in enumerate(queries)],
            [row.query for row in queries],
            np.array(language, np.int32),
        ),
        documents=Texts(
            [f"{languages[code]}-{place:06d}" for place, (code, _) in enumerate(documents)],
            [text for _, text in documents],
            np.array([code for code, _ in documents], np.int32),
        ),
        relevant=np.array(
            sorted((place, document) for place, row in enumerate(queries) for document in holders[row.id]), np.int64
        ).reshape(-1, 2),
        question=np.array(question, np.int64),
    )
    collection = _united(collection)
    place = {key: query for query, key in enumerate(first)}
    answers = _answers(collection.question, ((place[row.id, row.query_language], row.answers) for row in kept))
    return Asked(collection, [row.id for row in queries], [row.article for row in queries], answers)


def _united(collection: Collection) -> Collection:
    """Give questions that are asked in the same words of a language one number, whatever their ids.

    A passage that answers one of them is then no negative of the others, and their answers are those of all.
    """
    words: dict[tuple[int, str], int] = {}
    queries, count = collection.queries, int(collection.question.max(initial=-1)) + 1
    asked = zip(queries.language.tolist(), map(normalised, queries.texts), strict=True)
    number = np.array([count + words.setdefault(key, len(words)) for key in asked], np.int64)
    return replace(collection, question=components(collection.question, number, count)[collection.question])


def _answers(question: np.ndarray, given: Iterable[tuple[int, Iterable[str]]]) -> list[set[str]]:
    """Return the `normalised` answers of each question number, out of (query, texts of its answers)."""
    found: list[set[str]] = [set() for _ in range(int(question.max(initial=-1)) + 1)]
    for query, texts in given:
        found[int(question[query])] |= {normalised(text) for text in texts} - {""}
    return found
