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


_ABOUT = {
    "read": read,
    "settings": THREE_SETTINGS,
    "source": "https://github.com/google-research-datasets/lareqa",
    "citation": "Roy et al. 2020, LAReQA (arXiv 2004.05484)",
}
TASKS = [
    Task(
        name="xquad-r",
        folder="xquad-r",
        licence="CC BY-SA 4.0",
        languages=("ar", "de", "el", "en", "es", "hi", "ru", "th", "tr", "vi", "zh"),
        revision="XQuAD-R of LAReQA",
        digest="eeb33ea64241dc08babfa2e8693dbce3",
        **_ABOUT,
    ),
    Task(
        name="mlqa-r",
        folder="mlqa-r",
        licence="CC BY-SA 3.0",
        languages=("ar", "de", "en", "es", "hi", "vi", "zh"),
        revision="MLQA-R of LAReQA",
        **_ABOUT,
    ),
]
