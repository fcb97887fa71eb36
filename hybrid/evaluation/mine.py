"""Hard negatives: ``python -m hybrid.evaluation.mine --model DIR --data 'squad/dev.{language}.json.gz' --out FILE``.

Searches every question among the paragraphs of all languages and writes training pairs with the best-ranked paragraphs
that do not answer it, as JSON lines that the format ``pairs`` reads with ``negatives: given``. A killed job goes on
with the embeddings that it had written.
"""

import json
import sys
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from jsonargparse import ArgumentParser

from hybrid.data.records import Paragraph
from hybrid.evaluation.collection import Collection
from hybrid.evaluation.config import EncodingConfig, SearchConfig
from hybrid.evaluation.encoding import encode
from hybrid.evaluation.passages import passage_collection
from hybrid.evaluation.plots import bars
from hybrid.evaluation.results import model_digest
from hybrid.evaluation.search import Found, search
from hybrid.evaluation.tasks.parallel import read_paragraphs
from hybrid.models.config import ModelConfig
from hybrid.models.load import load_encoder
from hybrid.runtime.errors import InputError
from hybrid.runtime.files import atomic_file
from hybrid.runtime.launch import start
from hybrid.runtime.logs import log
from hybrid.runtime.processes import barrier, is_main


@dataclass
class MiningConfig:
    """Which candidates are kept as negatives."""

    count: int = 8
    """Negatives of each pair at the most."""
    first_rank: int = 1
    """Rank, among the candidates, from which negatives are taken."""
    last_rank: int = 100
    """Rank up to which they are taken."""
    margin: float = 0.0
    """A negative's score is below the positive's by more than this."""
    ratio: float = 1.0
    """A negative's score is below this share of the positive's."""
    languages: Literal["own", "others", "both"] = "both"
    """Language of the negatives, as seen from the question."""
    query_max_length: int = 64
    """Tokens of a question."""
    passage_max_length: int = 256
    """Tokens of a paragraph."""

    def __post_init__(self) -> None:
        if not 1 <= self.first_rank <= self.last_rank:
            raise InputError(
                f"mining.first_rank is {self.first_rank}, last_rank {self.last_rank}; expected 1 <= first <= last."
            )


@dataclass(frozen=True)
class Mined:
    """The negatives of each question, documents by row, and what became of all candidates, by reason."""

    negatives: list[list[int]]
    ranks: Counter
    counts: Counter


def document_groups(collection: Collection) -> np.ndarray:
    """Return int64 [documents]: the same number for documents that answer a question in common, in any language."""
    parent = list(range(len(collection.documents)))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    first: dict[int, int] = {}
    for query, document in collection.relevant.tolist():
        question = int(collection.question[query])
        parent[root(document)] = root(first.setdefault(question, document))
    return np.array([root(row) for row in range(len(parent))])


def normalised(text: str) -> str:
    """Return text for comparing answers with passages: NFKD, lower case, single spaces."""
    return " ".join(unicodedata.normalize("NFKD", text).casefold().split())


def choose(collection: Collection, answers: Sequence[set[str]], found: Found, config: MiningConfig) -> Mined:
    """Choose negatives among the first documents of each question.

    Args:
        answers: `normalised` answers of each question number, in all languages.
        found: the first documents of each query, in order; the positives among them, or their scores are unknown and
            the query keeps no negative.
    """
    group, language = document_groups(collection), collection.documents.language
    texts = [normalised(text) for text in collection.documents.texts]
    own = defaultdict(list)
    for query, document in collection.relevant.tolist():
        if language[document] == collection.queries.language[query]:
            own[query].append(document)
    negatives, ranks, counts = [], Counter(), Counter()
    for query, (rows, scores) in enumerate(zip(found.rows.tolist(), found.scores.tolist(), strict=True)):
        kept: list[int] = []
        score_of = dict(zip(rows, scores, strict=True))
        positive = max((score_of[row] for row in own[query] if row in score_of), default=None)
        mine = {group[row] for row in own[query]}
        strings = answers[int(collection.question[query])]
        for rank, (row, score) in enumerate(zip(rows, scores, strict=True), 1):
            same = language[row] == collection.queries.language[query]
            if not config.first_rank <= rank <= config.last_rank or len(kept) == config.count:
                reason = "outside the window"
            elif positive is None:
                reason = "positive not found"
            elif group[row] in mine:
                reason = "same group"
            elif any(answer in texts[row] for answer in strings):
                reason = "contains the answer"
            elif score >= positive - config.margin or score >= config.ratio * positive:
                reason = "too near to the positive"
            elif config.languages != "both" and same != (config.languages == "own"):
                reason = "other language" if config.languages == "own" else "own language"
            else:
                reason = "kept"
                kept.append(row)
                ranks[rank] += 1
            counts[reason] += 1
        negatives.append(kept)
    return Mined(negatives, ranks, counts)


def write_pairs(path: Path, collection: Collection, paragraphs: dict[str, list[Paragraph]], mined: Mined) -> int:
    """Write one line for each question and its own-language paragraph; returns how many."""
    names = [question.id for code in collection.languages for p in paragraphs[code] for question in p.questions]
    titles = [p.article for code in collection.languages for p in paragraphs[code] for _ in p.questions]
    group, texts = document_groups(collection), collection.documents.texts
    positive = {
        query: document
        for query, document in collection.relevant.tolist()
        if collection.documents.language[document] == collection.queries.language[query]
    }
    with atomic_file(path) as file:
        for query, document in sorted(positive.items()):
            code = collection.languages[collection.queries.language[query]]
            row = {
                "id": names[query],
                "query": collection.queries.texts[query],
                "passage": texts[document],
                "query_lang": code,
                "passage_lang": code,
                "group": f"g{group[document]}",
                "article": titles[query],
                "negatives": [texts[row] for row in mined.negatives[query]],
            }
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return len(positive)


def mine(
    encoder,
    paragraphs: dict[str, list[Paragraph]],
    out: Path,
    config: MiningConfig,
    encoding: EncodingConfig,
    search_config: SearchConfig,
) -> Mined:
    """Encode, search, choose and write; every rank has to call it."""
    collection = passage_collection(paragraphs, "paragraph")
    made: dict[int, set[str]] = defaultdict(set)
    row = 0
    for code in collection.languages:
        for paragraph in paragraphs[code]:
            for question in paragraph.questions:
                made[int(collection.question[row])].add(normalised(question.answer_text))
                row += 1
    answers = [made[number] - {""} for number in range(len(made))]
    digest, place = model_digest(encoder), out.parent / f"{out.name}.embeddings"
    length = config.query_max_length
    queries = encode(encoder, collection.queries.texts, "query", length, place / "query", encoding, digest)
    texts, length = collection.documents.texts, config.passage_max_length
    documents = encode(encoder, texts, "passage", length, place / "passage", encoding, digest)
    found = search(queries[:], documents, collection.documents.ids, config.last_rank, search_config)
    mined = choose(collection, answers, found, config)
    if is_main():
        written = write_pairs(out, collection, paragraphs, mined)
        heights = np.array([[mined.ranks[rank] for rank in range(1, config.last_rank + 1)]])
        names = [str(rank) if rank % 10 == 0 else "" for rank in range(1, config.last_rank + 1)]
        bars(out.with_suffix(".png"), heights, names, ["kept"], "negatives kept, by rank")
        log(f"{out}: {written} pairs with {sum(mined.ranks.values())} negatives; candidates: {dict(mined.counts)}")
    barrier()
    return mined


def main(arguments: list[str] | None = None) -> None:
    """Run as a command: bad input is told in one sentence, with status 2."""
    parser = ArgumentParser(prog="python -m hybrid.evaluation.mine", description=__doc__)
    parser.add_argument("--model", required=True, help="model directory or hub id of the miner")
    parser.add_argument("--data", required=True, help="SQuAD-format files by language, such as dev.{language}.json.gz")
    parser.add_argument("--out", required=True, help="JSONL file to write")
    parser.add_argument("--mining", type=MiningConfig, default=MiningConfig(), help="which candidates are kept")
    parser.add_argument("--encoder", type=ModelConfig, default=ModelConfig(), help="how the model is loaded")
    parser.add_argument("--encoding", type=EncodingConfig, default=EncodingConfig(), help="how texts are encoded")
    parser.add_argument("--search", type=SearchConfig, default=SearchConfig(), help="how candidates are found")
    try:
        given = parser.instantiate(parser.parse_args(arguments))
        paragraphs, _ = read_paragraphs(Path(given.data))
        accelerator = start(given.encoding.precision)
        encoder = load_encoder(replace(given.encoder, name=given.model)).to(accelerator.device)
        mine(encoder, paragraphs, Path(given.out), given.mining, given.encoding, given.search)
    except InputError as error:
        log(f"error: {error}")
        sys.exit(2)


if __name__ == "__main__":
    main()
