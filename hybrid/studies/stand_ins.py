"""Benchmarks that are not at hand, made out of the nearest that is."""

import json
from collections.abc import Sequence
from pathlib import Path

from hybrid.data.squad import each_paragraph
from hybrid.runtime.errors import InputError
from hybrid.runtime.files import atomic_folder

MLQA = "MLQA_V1"
"""Folder of the task mlqa."""


def mlqa_form(source: Path, target: Path, languages: Sequence[str]) -> None:
    """Write the files of MLQA's form for every pair of the languages that `source`, LAReQA's form, has.

    A pair's file has the paragraphs of one language with their answers, and the questions of the other language.
    Raises InputError where fewer than two of the languages are there.
    """
    paths = {language: source / f"{language}.json" for language in languages}
    articles = {language: _articles(path) for language, path in paths.items() if path.exists()}
    if len(articles) < 2:
        raise InputError(f"{source}: has {len(articles)} of the languages {' '.join(languages)}; 2 are needed.")
    with atomic_folder(target) as folder:
        for asked, questions in articles.items():
            texts = {qa["id"]: qa["question"] for _, paragraph in questions for qa in paragraph["qas"]}
            for language, paragraphs in articles.items():
                data = [{"title": title, "paragraphs": [_asked(paragraph, texts)]} for title, paragraph in paragraphs]
                path = folder / f"test-context-{language}-question-{asked}.json"
                path.write_text(json.dumps({"data": data, "version": "1.0"}, ensure_ascii=False), encoding="utf-8")


def _articles(path: Path) -> list[tuple[str, dict]]:
    return list(each_paragraph(str(path)))


def _asked(paragraph: dict, questions: dict[str, str]) -> dict:
    """Return a paragraph with the questions of another language where it has them."""
    known = [qa | {"question": questions[qa["id"]]} for qa in paragraph["qas"] if qa["id"] in questions]
    return {"context": paragraph["context"], "qas": known}
