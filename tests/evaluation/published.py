"""Small collections written exactly as MLQA, MKQA and BUCC are published, and a reader with random weights."""

import gzip
import json
from pathlib import Path

import torch
from transformers import BertConfig, BertForQuestionAnswering

from tests.evaluation.conftest import byte_tokenizer


def mlqa_content(passage: str, question: str, ids: range) -> dict:
    """One file of MLQA; passage 3 is the same text as passage 2."""
    paragraphs = [
        {
            "context": f"{passage} passage {min(number, 2)} tells of thing {min(number, 2)}.",
            "qas": [
                {
                    "id": f"q{number}",
                    "question": f"{question} which thing {number}?",
                    "answers": [{"text": f"thing {min(number, 2)}", "answer_start": 19}],
                }
            ],
        }
        for number in ids
    ]
    return {"version": "1.0", "data": [{"title": "made", "paragraphs": paragraphs}]}


def write_mlqa(data: Path) -> None:
    """Three languages' pairs; one question is missing in German."""
    folder = data / "MLQA_V1" / "test"
    folder.mkdir(parents=True)
    for passage in ("de", "en", "zh"):
        for question in ("de", "en", "zh"):
            ids = range(3 if "de" in (passage, question) else 4)
            path = folder / f"test-context-{passage}-question-{question}.json"
            path.write_text(json.dumps(mlqa_content(passage, question, ids)))


def json_lines(rows) -> str:
    """Rows as JSON lines."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def write_mkqa(data: Path) -> None:
    """Two languages in a file each, 120 passages in BEIR's form; question 2 has no answer that can be found."""
    folder = data / "mkqa"
    folder.mkdir(parents=True)
    answers = {
        "en": [["Tom\u2013Jones", "Jones"], ["1999"], [" "], ["Jones"]],
        "zh_cn": [["琼斯"], ["1999年"], [""], ["琼斯"]],
    }
    for code, found in answers.items():
        rows = [
            {"id": f"{n}_{code}", "lang": code, "question": f"{code} who {n}?", "answers": texts}
            for n, texts in enumerate(found)
        ]
        (folder / f"mkqa-{code}.jsonl").write_text(json_lines(rows))
    passages = [{"_id": f"doc{n}", "title": f"Title {n}", "text": f"nothing {n}"} for n in range(120)]
    passages[50]["text"] = "a song by Tom - JONES, they say"
    with gzip.open(folder / "corpus.jsonl.gz", "wt") as file:
        file.write(json_lines(passages))


def write_bucc(data: Path) -> None:
    """Two splits of one pair, each with a sentence that occurs twice on both sides."""
    folder = data / "bucc2018" / "de-en"
    folder.mkdir(parents=True)
    for split, count in (("sample", 12), ("training", 20)):
        for code in ("de", "en"):
            lines = [f"{code}-{number:09d}\tsatz nummer {number * number}\n" for number in range(count)]
            lines.append(f"{code}-{count:09d}\tsatz nummer 0\n")
            (folder / f"de-en.{split}.{code}").write_text("".join(lines))
        gold = "".join(f"de-{number:09d}\ten-{number:09d}\n" for number in range(0, count, 2))
        (folder / f"de-en.{split}.gold").write_text(gold)


def write_reader(folder: Path) -> str:
    """A random span model with one token a byte; returns its directory."""
    torch.manual_seed(1)
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    tokenizer = byte_tokenizer()
    model = BertForQuestionAnswering(BertConfig(vocab_size=len(tokenizer), pad_token_id=1, **shape))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)
