"""MLQA as retrieval: 49 pairs of question and passage language, and the answers that a reader finds in what was found.

A pair's pool is the passages of its own file, as in MTEB's MLQARetrieval; identical passages are one.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from hybrid.data.squad import each_paragraph
from hybrid.evaluation.answers import MLQA_LANGUAGES
from hybrid.evaluation.judged import Judged, Part, check_part
from hybrid.evaluation.task import Setting, Task
from hybrid.runtime.errors import InputError

_MEASURES = (
    "ndcg_at_10",
    *(f"precision_at_{k}" for k in (1, 5, 10, 20)),
    *(f"recall_at_{k}" for k in (1, 5, 10, 20, 100)),
    "answer_f1",
    "exact_match",
)


def read(folder: Path) -> Judged:
    """Read ``test-context-XX-question-YY.json`` of each pair, from the folder or its sub-folder ``test``."""
    pattern = "*-context-*-question-*.json"
    files = sorted(folder.glob(pattern)) or sorted(folder.glob(f"test/{pattern}"))
    names = [re.fullmatch(r"([\w-]+)-context-(\w+)-question-(\w+)\.json", path.name) for path in files]
    if None in names:
        raise InputError(
            f"{files[names.index(None)]}: is not named SPLIT-context-XX-question-YY.json; rename it, or move it "
            "elsewhere."
        )
    splits = {name[1] for name in names}
    if len(splits) != 1:
        raise InputError(
            f"{folder}: holds files of {len(splits)} splits named SPLIT-context-XX-question-YY.json; expected those of "
            "one, such as test-context-en-question-de.json (--tasks mlqa:FOLDER takes another folder)."
        )
    documents: dict[str, dict[str, str]] = {}
    parts = {}
    for path, name in zip(files, names, strict=True):
        pair = f"{name[3]}>{name[2]}"
        parts[pair] = check_part(_part(path, name[2], documents.setdefault(name[2], {})), str(path))
    return Judged(parts, parallel=True)


def _part(path: Path, language: str, known: dict[str, str]) -> Part:
    """Read one file; `known` are the ids of the language's passages by their text, and gets the new ones."""
    pool: dict[str, str] = {}
    ids: list[str] = []
    queries: list[str] = []
    answers: list[Sequence[str]] = []
    qrels: dict[str, dict[str, int]] = {}
    for _, paragraph in each_paragraph(str(path)):
        text = paragraph["context"]
        pool[text] = known.setdefault(text, f"{language}-{len(known):05d}")
        for question in paragraph["qas"]:
            truths = [answer["text"] for answer in question.get("answers") or [] if answer["text"].strip()]
            if not truths:
                raise InputError(f"{path}, id {question['id']}: has no answer; expected MLQA's form, fetch it again.")
            ids.append(str(question["id"]))
            queries.append(question["question"])
            answers.append(truths)
            qrels[ids[-1]] = {pool[text]: 1}
    return Part(ids, queries, list(pool.values()), list(pool), qrels, {}, answers)


TASK = Task(
    name="mlqa",
    read=read,
    folder="MLQA_V1",
    settings=(
        Setting("pairs", "each", _MEASURES, depth=100),
        Setting("monolingual", "same", _MEASURES, depth=100),
        Setting("cross_lingual", "other", _MEASURES, depth=100),
    ),
    source="https://github.com/facebookresearch/MLQA (MLQA_V1.zip)",
    licence="CC BY-SA 3.0",
    citation="Lewis et al. 2020, MLQA (arXiv 1910.07475)",
    passage_max_length=512,
    languages=tuple(f"{question}>{passage}" for question in MLQA_LANGUAGES for passage in MLQA_LANGUAGES),
    revision="v1.0 test",
)
