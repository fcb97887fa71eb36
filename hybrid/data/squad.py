"""SQuAD v1.1 and v2.0, in JSON, plain or .gz (Rajpurkar et al. 2016, 2018)."""

from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import Any

from hybrid.data.files import read_json_file
from hybrid.data.records import Paragraph, Question, Row
from hybrid.data.report import Report
from hybrid.runtime.errors import InputError

UNANSWERABLE = "unanswerable"
BAD_ANSWERS = "answers without a text and a whole number answer_start each"


def read_squad(path: str, report: Report | None = None) -> list[Paragraph]:
    """Read the paragraphs of one file; sentences are left empty.

    Questions without an answer in their paragraph are left out and put down in `report`. Of several answers the first
    that stands where it says counts; one that stands elsewhere, but only once, is taken from there.

    Raises InputError, with file and position, if the file is missing, broken or of another format.
    """
    report = report or Report(path)
    paragraphs = []
    for article, content in each_paragraph(path):
        context = content["context"]
        questions = [question_of(qa, context, path, report) for qa in content["qas"]]
        paragraphs.append(Paragraph(article, context, [], [question for question in questions if question]))
    return paragraphs


def rows(paragraphs: list[Paragraph], language: str) -> Iterator[Row]:
    """Yield a row for each question."""
    for paragraph in paragraphs:
        for question in paragraph.questions:
            yield Row(
                id=question.id,
                query=question.question,
                query_language=language,
                passage=paragraph.context,
                passage_language=language,
                answer_start=question.answer_start,
                answers=question.answers,
                sentences=paragraph.sentences or None,
                article=paragraph.article,
            )


def each_paragraph(path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (title, paragraph) of a file in SQuAD's outer form, with its keys checked."""
    content = read_json_file(str(path))
    if not isinstance(content, dict) or not isinstance(content.get("data"), list):
        raise InputError(f'{path}: holds no list "data"; expected SQuAD\'s form {{"data": [{{"paragraphs": ...}}]}}.')
    for number, article in enumerate(content["data"]):
        place = f"{path}: data[{number}]"
        paragraphs = _get(article, "paragraphs", list, place)
        title = str(article.get("title") or f"{path}#{number}")
        for row, paragraph in enumerate(paragraphs):
            _get(paragraph, "context", str, f"{place}.paragraphs[{row}]")
            _get(paragraph, "qas", list, f"{place}.paragraphs[{row}]")
            yield title, paragraph


def question_of(qa: dict[str, Any], context: str, path: str, report: Report) -> Question | None:
    name = str(_get(qa, "id", (str, int), f"{path}: a question of {context[:30]!r}"))
    place = f"{path}, id {name}"
    question = _get(qa, "question", str, place).strip()
    answers = answers_of(qa.get("answers") or [])
    if not question:
        return report.note("empty question", place)
    if answers is None:
        return report.note(BAD_ANSWERS, place)
    start, text, cause = find_answer(answers, context)
    if cause:
        report.note(cause, place, bad=cause != UNANSWERABLE)
    return None if start is None else Question(name, question, start, text, [each for each, _ in answers])


def answers_of(value: Any) -> list[tuple[str, int]] | None:
    """Return (text, start) of answers in SQuAD's form, a list, or in the hub's, two lists side by side.

    None where a text is no text or a start no whole number, or one of them is missing.
    """
    if isinstance(value, Mapping):
        sides = value.get("text") or [], value.get("answer_start") or []
        found = list(zip_longest(*sides)) if all(isinstance(side, list | tuple) for side in sides) else [(None, None)]
    else:
        found = [(each.get("text"), each.get("answer_start")) if isinstance(each, Mapping) else () for each in value]
    whole = all(pair and isinstance(pair[0], str) and type(pair[1]) is int for pair in found)
    return found if whole else None


def find_answer(answers: list[tuple[str, int]], context: str) -> tuple[int | None, str, str | None]:
    """Return where an answer stands, its text, and what was wrong with it: the place is None where it stands nowhere.

    The first of (text, start) that stands where it says counts, in whatever case; one that stands elsewhere, but only
    once, is taken from there.
    """
    real = [(text, start) for text, start in answers if text]
    if not real:
        return None, "", "empty answer" if answers else UNANSWERABLE
    for text, start in real:
        if start >= 0 and context[start : start + len(text)].casefold() == text.casefold():
            return start, text, None
    text = real[0][0]
    if context.count(text) == 1:
        return context.index(text), text, "answer not at answer_start (taken from where it stands)"
    return None, text, "answer not in its passage"


def _get(content: Any, key: str, kind: type | tuple[type, ...], place: str) -> Any:
    value = content.get(key) if isinstance(content, dict) else None
    if not isinstance(value, kind):
        raise InputError(f'{place}: "{key}" is {value!r:.60}; expected SQuAD\'s form, mend or replace the file.')
    return value
