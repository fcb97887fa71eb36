"""Small parallel files, written for each test."""

import gzip
import json
from pathlib import Path

from hybrid.data.config import DataConfig, DatasetConfig
from hybrid.data.load import load_corpora

ARTICLES = {
    "Bridge": [
        (
            "The bridge was built in 1894. It spans the river. Tolls ended in 1960.",
            [("b1", "When was it built?", "1894")],
        ),
        (
            "Engineers chose steel. Wood was too weak.",
            [("b2", "What was chosen?", "steel"), ("b3", "Who?", "Engineers")],
        ),
    ],
    "Tea": [("Tea came from China. Ships carried it west.", [("t1", "Where is tea from?", "China")])],
    "Moon": [("The moon has no air. It is cold at night.", [("m1", "What has no air?", "moon")])],
}
TRANSLATED = {
    "Bridge": [
        (
            "Die Brücke wurde 1894 gebaut. Sie überspannt den Fluss. Die Maut endete 1960.",
            [("b1", "Wann wurde sie gebaut?", "1894")],
        ),
        ("Ingenieure wählten Stahl. Holz war zu schwach.", [("b2", "Was wurde gewählt?", "Stahl")]),
    ],
    "Tea": [("Tee kam aus China. Schiffe brachten ihn nach Westen.", [("t1", "Woher kommt Tee?", "China")])],
}


def squad(articles: dict, **more) -> dict:
    """Return SQuAD's form of {title: [(context, [(id, question, answer)])]}; an answer None is none."""
    data = []
    for title, paragraphs in articles.items():
        content = [{"context": context, "qas": [_question(context, *qa) for qa in qas]} for context, qas in paragraphs]
        data.append({"title": title, "paragraphs": content})
    return {"version": "1.1", "data": data} | more


def _question(context: str, name: str, question: str, answer: str | None) -> dict:
    answers = [] if answer is None else [{"text": answer, "answer_start": context.find(answer)}]
    return {"id": name, "question": question, "answers": answers}


def write(path: Path, content) -> str:
    """Write JSON, packed where the name says so, and return the path."""
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return str(path)


def make_config(tmp_path: Path, files: dict[str, dict], **settings) -> DataConfig:
    """Write a file for each language and return the configuration of the data set "toy"."""
    tmp_path.mkdir(exist_ok=True)
    paths = {code: write(tmp_path / f"{code}.json", squad(articles)) for code, articles in files.items()}
    return DataConfig(**{"sets": {"toy": DatasetConfig(files=paths)}, "cache": str(tmp_path / "cache")} | settings)


def make_corpus(tmp_path: Path, files: dict[str, dict], **settings):
    """Return the training corpus of such files."""
    return load_corpora(make_config(tmp_path, files, **settings)).train[0]


def names_of(corpus, items=None) -> list[str]:
    """Return the ids of items, of all unless told."""
    return [corpus.item_name(item) for item in (range(len(corpus)) if items is None else items)]
