"""Training items that occur in an evaluation set (contract 6)."""

import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np

from hybrid.data.config import LeakageConfig
from hybrid.data.corpus import ParallelCorpus
from hybrid.data.squad import expand, read_squad
from hybrid.runtime.errors import InputError
from hybrid.runtime.logs import log


def normalised(text: str) -> str:
    """Return a text as it is compared: NFKC, case folded, letters and digits alone."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(character for character in folded if character.isalnum())


class EvaluationTexts:
    """Ids, questions and passages of a named evaluation set, in all its languages."""

    def __init__(self, name: str, place: str):
        path = expand(place)
        files = sorted(path.glob("*.json*")) if path.is_dir() else [path]
        if not files:
            raise InputError(
                f"data.leakage.against.{name} = {path}: holds no .json file; give a folder of the set's files."
            )
        self.ids: set[str] = set()
        self.questions: set[str] = set()
        self.passages: set[str] = set()
        for file in files:
            for paragraph in read_squad(file, Path(file.name).name.split(".")[0]):
                self.passages.add(normalised(paragraph.context))
                self.ids |= {question.id for question in paragraph.questions}
                self.questions |= {normalised(question.question) for question in paragraph.questions}


def leaking(corpus: ParallelCorpus, texts: EvaluationTexts, level: str) -> tuple[np.ndarray, Counter]:
    """Return bool [I], the items that occur in an evaluation set, and how many do by id, by question, by passage."""
    by_id = np.array([name in texts.ids for name in corpus.ids], bool)
    question = np.array([normalised(text) in texts.questions for text in corpus.texts], bool)
    by_question = ((corpus.query >= 0) & question[corpus.query]).any(1)
    counts = Counter(id=int(by_id.sum()), question=int(by_question.sum()))
    found = by_id | by_question
    if level == "passage":
        passage = np.array([normalised(text) in texts.passages for text in corpus.texts], bool)[corpus.node_text]
        by_passage = ((corpus.node >= 0) & passage[corpus.node]).any(1)
        counts["passage"] = int(by_passage.sum())
        found |= by_passage
    counts["any"] = int(found.sum())
    return found, counts


def without_leaks(corpora: list[ParallelCorpus], config: LeakageConfig) -> tuple[list[ParallelCorpus], dict[str, int]]:
    """Return the corpora without items that occur in an evaluation set, and the counts as ``leakage/SET/DATA/how``."""
    counts: dict[str, int] = {}
    for name, place in config.against.items():
        texts = EvaluationTexts(name, place)
        for number, corpus in enumerate(corpora):
            found, how = leaking(corpus, texts, config.level)
            counts |= {f"leakage/{name}/{corpus.name}/{key}": value for key, value in how.items()}
            if how["any"] and config.action == "refuse":
                first = corpus.ids[int(found.argmax())]
                raise InputError(
                    f"data.sets.{corpus.name}: {how['any']} items occur in {name} (first: {first!r}); remove them, or set "
                    "data.leakage.action to drop."
                )
            log(
                f"leakage: {how['any']} of {len(corpus)} items of {corpus.name} occur in {name} and are dropped {dict(how)}"
            )
            corpora[number] = corpus.take(~found)
    return corpora, counts
