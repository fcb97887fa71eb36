"""SQuAD-format JSON, plain or .gz, v1.1 and v2.0, and LAReQA's form of it."""

import gzip
import json
import os
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

from hybrid.data.records import Paragraph, Question
from hybrid.data.sentences import split_sentences
from hybrid.runtime.errors import InputError


def expand(path: str | Path) -> Path:
    """Return the path with $NAME and ~ replaced; raises InputError for a variable that is not set."""
    expanded = os.path.expanduser(os.path.expandvars(str(path)))
    if "$" in expanded:
        raise InputError(
            f"{path}: a variable of this path is not set in the environment; set it or write the path out."
        )
    return Path(expanded)


def read_json_file(path: Path) -> Any:
    """Return the JSON value of a plain or gzip file; raises InputError with the file and the position of the fault."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give the path of a SQuAD-format file.") from error
    if not raw:
        raise InputError(f"{path}: is empty; expected SQuAD-format JSON.")
    if path.suffix == ".gz":
        try:
            raw = gzip.decompress(raw)
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"{path}: is no whole gzip file ({error}); fetch it again.") from error
    try:
        return json.loads(raw)
    except ValueError as error:
        raise InputError(f"{path}: is no valid JSON ({error}); fetch or mend it.") from error


def read_squad(path: str | Path, language: str, counts: Counter | None = None) -> list[Paragraph]:
    """Return the paragraphs of a SQuAD-format file, sentences split by the rules of `language`.

    Args:
        counts: gets what was left out: "unanswerable" (v2.0) and "answer outside its passage".

    Raises InputError with the file and the place of what is missing or has the wrong form.
    """
    path = expand(path)
    value = read_json_file(path)
    counts = Counter() if counts is None else counts
    paragraphs = []
    try:
        for article in value["data"]:
            for number, entry in enumerate(article["paragraphs"]):
                title = article.get("title", "")
                paragraphs.append(_paragraph(entry, title, language, counts, f"{path}: {title!r}, paragraph {number}"))
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: is not in SQuAD format ({type(error).__name__}: {error}); expected data, paragraphs, context, qas, "
            "id, question and answers."
        ) from error
    if not any(paragraph.questions for paragraph in paragraphs):
        raise InputError(f"{path}: holds no answerable question; expected at least one.")
    return paragraphs


def read_lareqa(path: str | Path) -> list[Paragraph]:
    """Return the paragraphs of a LAReQA file (``LANGUAGE.json``), with the sentences that the file itself gives."""
    return read_squad(path, Path(path).stem)


def _paragraph(entry: dict, title: str, language: str, counts: Counter, place: str) -> Paragraph:
    context = entry["context"]
    breaks = entry.get("sentence_breaks")
    spans = [tuple(span) for span in breaks] if breaks else split_sentences(context, language)
    questions = []
    for row in entry["qas"]:
        if row.get("is_impossible") or not row["answers"]:
            counts["unanswerable"] += 1
            continue
        answer = row["answers"][0]
        start, text = int(answer["answer_start"]), answer["text"]
        if not 0 <= start < len(context):
            counts["answer outside its passage"] += 1
            continue
        questions.append(Question(str(row["id"]), row["question"].strip(), start, text))
    return Paragraph(title, context, spans, questions)
