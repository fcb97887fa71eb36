"""LAReQA: XQuAD-R and MLQA-R, answer sentences in the language of the question, in another one, in all of them."""

from dataclasses import replace
from pathlib import Path

from hybrid.data.lareqa import read_lareqa
from hybrid.data.report import Report
from hybrid.evaluation.collection import Collection
from hybrid.evaluation.passages import passage_collection
from hybrid.evaluation.task import THREE_SETTINGS, Task
from hybrid.runtime.errors import InputError


def read(folder: Path) -> Collection:
    """Read ``LANGUAGE.json`` for every language that the folder holds."""
    files = {path.stem: path for path in sorted(folder.glob("*.json"))}
    if len(files) < 2:
        raise InputError(f"{folder}: holds {len(files)} files *.json; expected one per language, such as en.json.")
    report = Report(str(folder))
    paragraphs = {language: read_lareqa(str(path), report) for language, path in files.items()}
    return replace(passage_collection(paragraphs), counts=report.counts)


TASKS = [
    Task(
        name=name,
        read=read,
        folder=name,
        settings=THREE_SETTINGS,
        source="https://github.com/google-research-datasets/lareqa",
        licence=licence,
        citation="Roy et al. 2020, LAReQA (arXiv 2004.05484)",
    )
    for name, licence in (("xquad-r", "CC BY-SA 4.0"), ("mlqa-r", "CC BY-SA 3.0"))
]
