"""Any parallel SQuAD-format files in the three settings: ``--tasks 'parallel:squad/dev.*.json.gz'``."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from hybrid.data.files import resolve
from hybrid.data.records import Paragraph
from hybrid.data.report import Report
from hybrid.data.sentences import split_sentences
from hybrid.data.squad import read_squad
from hybrid.evaluation.collection import Collection
from hybrid.evaluation.passages import Form, passage_collection
from hybrid.evaluation.task import THREE_SETTINGS, Task


def read(place: Path, form: Form) -> Collection:
    """Read the files of `pattern` as a collection, with paragraphs or their sentences as candidates."""
    name = pattern(place)
    report = Report(name)
    paragraphs = read_paragraphs(resolve(name, "--tasks parallel"), report)
    return replace(passage_collection(paragraphs, form), counts=report.counts)


def pattern(place: Path) -> str:
    """Return the place with {language} for what tells it, as in ``dev.*.json.gz``; in a folder ``{language}.json``."""
    name = str(place).replace("*", "{language}", 1)
    return name if "{language}" in name else str(place / "{language}.json")


def read_paragraphs(files: Mapping[str | None, list[str]], report: Report) -> dict[str, list[Paragraph]]:
    """Return the paragraphs of files with their sentences, by language."""
    return {
        str(language): [_with_sentences(p, language) for path in paths for p in read_squad(path, report)]
        for language, paths in files.items()
    }


def _with_sentences(paragraph: Paragraph, language: str | None) -> Paragraph:
    whole = [(0, len(paragraph.context))]
    return replace(paragraph, sentences=split_sentences(paragraph.context, str(language)) or whole)


TASKS = [
    Task(
        name=name,
        read=partial(read, form=form),
        folder="parallel",
        settings=THREE_SETTINGS,
        source="your own files, given as --tasks parallel:FOLDER or parallel:dev.*.json.gz",
        licence="that of the files",
        citation="",
    )
    for name, form in (("parallel", "sentence_in_paragraph"), ("parallel-paragraphs", "paragraph"))
]
