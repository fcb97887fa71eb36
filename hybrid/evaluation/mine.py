"""Hard negatives: ``python -m hybrid.evaluation.mine --model DIR --data 'squad/dev.{language}.json.gz' --out FILE``.

Searches every question among the passages of all languages and writes training pairs with the best-ranked passages
that do not answer it, as JSON lines that the format ``pairs`` reads with ``negatives: given``. A killed job goes on
with the embeddings, and the cross-encoder's judgments, that it had written.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jsonargparse import ArgumentParser

from hybrid.data.config import DatasetConfig
from hybrid.evaluation.asked import Asked, data_set, read_asked
from hybrid.evaluation.config import EncodingConfig, SearchConfig
from hybrid.evaluation.crossing import CrossEncoder, pair_probabilities
from hybrid.evaluation.encoding import encode
from hybrid.evaluation.faiss_index import check_index
from hybrid.evaluation.negatives import Mined, MiningConfig, allowed, choose, document_groups, positives
from hybrid.evaluation.plots import histogram
from hybrid.evaluation.results import check_models, model_digest
from hybrid.evaluation.search import Found, exact_scores, sampled_recall, search
from hybrid.evaluation.vectors import Vectors
from hybrid.models.config import ModelConfig
from hybrid.models.load import load_encoder
from hybrid.runtime.ending import STALL_SECONDS, Ending
from hybrid.runtime.errors import unwrapped
from hybrid.runtime.files import atomic_file, write_json
from hybrid.runtime.interruption import run_to_end
from hybrid.runtime.launch import start
from hybrid.runtime.logs import bad_input_told, log, warn
from hybrid.runtime.processes import barrier, is_main


def write_pairs(path: Path, asked: Asked, mined: Mined) -> int:
    """Write one line for each question and its passage, in its own language if there is one; returns how many."""
    collection = asked.collection
    group, texts = document_groups(collection), collection.documents.texts
    positive = positives(collection)
    queries = np.flatnonzero(positive >= 0).tolist()
    with atomic_file(path) as file:
        for query in queries:
            document = int(positive[query])
            row = {
                "id": asked.names[query],
                "query": collection.queries.texts[query],
                "passage": texts[document],
                "query_lang": collection.languages[collection.queries.language[query]],
                "passage_lang": collection.languages[collection.documents.language[document]],
                "group": f"g{group[document]}",
                "article": asked.articles[query],
                "negatives": [texts[row] for row in mined.negatives[query]],
            }
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return len(queries)


def mine(
    encoder,
    asked: Asked,
    out: Path,
    config: MiningConfig,
    encoding: EncodingConfig,
    search_config: SearchConfig,
    cross_encoder: CrossEncoder | None = None,
) -> Mined:
    """Encode, search, choose and write; every rank has to call it."""
    collection, place = asked.collection, out.parent / f"{out.name}.embeddings"
    groups = allowed(collection, config.languages)
    check_index(search_config, min(len(documents) for _, documents in groups))
    digest_of_model = model_digest(encoder)

    def embed(texts: Sequence[str], side: str, length: int):
        return encode(encoder, texts, side, length, place / side, encoding, digest_of_model)

    queries = embed(collection.queries.texts, "query", config.query_max_length)
    documents = embed(collection.documents.texts, "passage", config.passage_max_length)
    found, recall = candidates(queries[:], documents, collection.documents.ids, groups, config.last_rank, search_config)
    scores = exact_scores(queries[:], documents, positives(collection)[:, None])[:, 0]

    def relevance(pairs: np.ndarray) -> np.ndarray:
        texts = [(collection.queries.texts[query], collection.documents.texts[row]) for query, row in pairs.tolist()]
        length = config.query_max_length + config.passage_max_length
        tokens = encoding.tokens(cross_encoder.model.device.type)
        return pair_probabilities(cross_encoder, texts, place / "filter", length, tokens, encoding.precision)

    mined = choose(collection, asked.answers, found, scores, config, relevance if cross_encoder else None)
    if is_main():
        written = write_pairs(out, asked, mined)
        write_histogram(out, mined, config, recall)
        log(f"{out}: {written} pairs with {sum(mined.ranks.values())} negatives; candidates: {dict(mined.counts)}")
        tell_short(mined, config.count)
    barrier()
    return mined


def candidates(
    queries_BD: np.ndarray,
    documents: Vectors,
    ids: Sequence[str],
    groups: Sequence[tuple[np.ndarray, np.ndarray]],
    k: int,
    config: SearchConfig,
) -> tuple[Found, float | None]:
    """Return the first k documents of each query of those that it may have, and of an approximate search its recall of
    the exact ones, the mean over groups; every rank has to call it.

    Args:
        groups: queries and their documents, by row; a query of no group finds nothing.
    """
    rows = np.full((len(queries_BD), k), -1, np.int64)
    scores = np.full((len(queries_BD), k), -np.inf, np.float32)
    recalls = []
    for queries, own in groups:
        part = Vectors(documents.folder, documents.rows[own])
        own_ids = [ids[row] for row in own.tolist()]
        found = search(queries_BD[queries], part, own_ids, k, config)
        if not config.exact:
            recalls.append(sampled_recall(queries_BD[queries], part, own_ids, found, config.device))
        width = found.rows.shape[1]
        rows[queries, :width] = np.where(found.rows >= 0, own[found.rows], -1)
        scores[queries, :width] = found.scores
    if recalls:
        log(f"search: {config.factory} finds {np.mean(recalls):.3f} of the first documents of the exact search")
    return Found(rows, scores), float(np.mean(recalls)) if recalls else None


def tell_short(mined: Mined, count: int) -> None:
    """Warn of the questions that have fewer negatives than were asked for."""
    if short := mined.fewer(count):
        warn(
            f"{short} of {len(mined.negatives)} questions have fewer than {count} negatives, {mined.fewer(1)} have "
            f"none; what became of their candidates: {dict(mined.counts)}. Of {mined.beneath} questions nothing in the "
            "window is far enough below their own passage. A larger mining.last_rank finds more; so does a margin "
            "below 0 (with a ratio above 1), which lets passages above it in."
        )


def write_histogram(out: Path, mined: Mined, config: MiningConfig, recall: float | None) -> None:
    """Write how many negatives each rank gave and what became of all candidates, as JSON, and the ranks as PNG.

    Args:
        recall: of an approximate search.
    """
    heights = [mined.ranks[rank] for rank in range(1, config.last_rank + 1)]
    questions = {
        "all": len(mined.negatives),
        "fewer negatives than asked for": mined.fewer(config.count),
        "no negative": mined.fewer(1),
        "nothing in the window far enough below the positive": mined.beneath,
    }
    told = {"kept by rank": heights, "candidates": dict(mined.counts), "questions": questions}
    told |= {"recall of search": recall} if recall is not None else {}
    write_json(out.with_suffix(".mined.json"), told)
    histogram(out.with_suffix(".png"), heights, "negatives kept, by rank", "rank among the candidates")


def main(arguments: list[str] | None = None) -> None:
    """Run as a command: bad input is told in one sentence, with status 2."""
    parser = ArgumentParser(prog="python -m hybrid.evaluation.mine", description=__doc__)
    parser.add_argument("--model", required=True, help="model directory or hub id of the miner")
    parser.add_argument("--data", type=str | None, help="SQuAD or LAReQA form by language, JSONL, TSV, Parquet, Arrow")
    parser.add_argument(
        "--dataset", type=DatasetConfig, default=DatasetConfig(), help="how they are read, as in recipes"
    )
    parser.add_argument("--out", required=True, help="JSONL file to write")
    parser.add_argument("--mining", type=MiningConfig, default=MiningConfig(), help="which candidates are kept")
    parser.add_argument("--encoder", type=ModelConfig, default=ModelConfig(), help="how the model is loaded")
    parser.add_argument("--encoding", type=EncodingConfig, default=EncodingConfig(), help="how texts are encoded")
    parser.add_argument("--search", type=SearchConfig, default=SearchConfig(), help="how candidates are found")
    with bad_input_told(), unwrapped():
        given = parser.instantiate(parser.parse_args(arguments))
        check_models([given.model], given.encoder)
        asked = read_asked(data_set(given.data, given.dataset))
        accelerator = start(given.encoding.precision, stall_seconds=STALL_SECONDS)
        with Ending("the same command goes on with the embeddings that are written"):
            encoder = load_encoder(replace(given.encoder, name=given.model)).to(accelerator.device)
            second = CrossEncoder(given.mining.filter, accelerator.device) if given.mining.filter else None
            mine(encoder, asked, Path(given.out), given.mining, given.encoding, given.search, second)


if __name__ == "__main__":
    run_to_end(main)
