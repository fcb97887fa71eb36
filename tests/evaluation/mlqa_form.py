"""XQuAD-R in MLQA's form, for runs on real texts: ``python -m tests.evaluation.mlqa_form FROM TO LANGUAGE ...``."""

import json
import sys
from itertools import product
from pathlib import Path


def write_mlqa_form(source: Path, target: Path, languages: list[str], articles: int | None = None) -> None:
    """Write ``test-context-XX-question-YY.json`` of every pair of languages, of the first `articles` articles."""
    data = {code: json.loads((source / f"{code}.json").read_text())["data"][:articles] for code in languages}
    questions = {code: {qa["id"]: qa["question"] for qa in _questions(data[code])} for code in languages}
    target.mkdir(parents=True, exist_ok=True)
    for passage, question in product(languages, languages):
        content = {"version": "1.0", "data": [_article(article, questions[question]) for article in data[passage]]}
        path = target / f"test-context-{passage}-question-{question}.json"
        path.write_text(json.dumps(content, ensure_ascii=False))


def _questions(articles: list[dict]):
    return (qa for article in articles for paragraph in article["paragraphs"] for qa in paragraph["qas"])


def _article(article: dict, questions: dict[str, str]) -> dict:
    paragraphs = [
        {
            "context": paragraph["context"],
            "qas": [{**qa, "question": questions[qa["id"]]} for qa in paragraph["qas"]],
        }
        for paragraph in article["paragraphs"]
    ]
    return {"title": article.get("title", ""), "paragraphs": paragraphs}


if __name__ == "__main__":
    write_mlqa_form(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
