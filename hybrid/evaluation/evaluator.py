"""From an encoder and tasks to scores and files: encode, rank, measure, write. Every rank has to call it."""

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from hybrid.evaluation.bias import TOP
from hybrid.evaluation.collection import Collection
from hybrid.evaluation.config import EvaluationConfig, SearchConfig
from hybrid.evaluation.encoding import encode
from hybrid.evaluation.faiss_index import check_index
from hybrid.evaluation.lir import Removed, check_passages, fitted, read_texts
from hybrid.evaluation.loading import LoadedTask, treated_name
from hybrid.evaluation.reading import check_reader, reader_key
from hybrid.evaluation.report import (
    language_shares,
    setting_bias,
    setting_scores,
    write_bars,
    write_heat_map,
    write_per_query,
    write_setting,
)
from hybrid.evaluation.results import computed_with, conditions, is_treated, remove_scores, valid_scores
from hybrid.evaluation.search import Matrix
from hybrid.evaluation.task import Scored
from hybrid.evaluation.trec import clear_pieces
from hybrid.evaluation.vectors import write_map
from hybrid.evaluation.whole_pool import rank_pools
from hybrid.runtime.files import digest, write_json
from hybrid.runtime.logs import log, warn
from hybrid.runtime.processes import barrier, is_main

# Changes when the same embeddings would give other scores or files than before: results made by older code are redone.
_VERSION = 6


def evaluate_encoder(
    encoder,
    tasks: list[LoadedTask],
    out_dir: str | Path,
    config: EvaluationConfig | None = None,
    model_digest: str | None = None,
) -> dict[str, float]:
    """Score an encoder on tasks and write each one's results below ``out_dir/TASK``; every rank has to call it.

    Args:
        encoder: a `hybrid.models.encoder.Encoder` on the device where it is to run.
        tasks: from `hybrid.evaluation.loading.load_tasks`.
        model_digest: of the encoder (`hybrid.evaluation.results`). With it a task whose results are there, made under
            the same settings, is not scored again, and a killed job goes on with the embeddings that it had written.

    Returns the metrics on every rank: ``{"xquad-r/multilingual/map": 0.5, ...}``.
    """
    config = config or EvaluationConfig()
    metrics: dict[str, float] = {}
    keys = [result_key(loaded, config, model_digest) for loaded in tasks]
    for loaded, key in zip(tasks, keys, strict=True):
        folder = Path(out_dir) / loaded.task.name
        found = _found(loaded, folder, config, key) if model_digest and not config.overwrite else None
        if found:
            log(f"{loaded.task.name}: taken from {folder}; --evaluation.overwrite true scores again")
        else:
            found = _evaluate_task(encoder, loaded, folder, config, model_digest, key)
        for scores in found:
            metrics |= flat(scores["task"], scores["settings"])
    return metrics


def _found(loaded: LoadedTask, folder: Path, config: EvaluationConfig, key: str) -> list[dict] | None:
    """Return a task's valid scores and, where languages are removed, the treated ones; None unless all are there."""
    folders = [folder, _treated(folder)] if _removes_languages(loaded, config) else [folder]
    found = [valid_scores(place, key) for place in folders]
    return [scores for scores in found if scores] if all(found) else None


def _removes_languages(loaded: LoadedTask, config: EvaluationConfig) -> bool:
    return bool(config.lir) and isinstance(loaded.collection, Collection)


def result_key(loaded: LoadedTask, config: EvaluationConfig, model_digest: str | None) -> str:
    """Return the digest of all that a task's scores of a model depend on."""
    return digest([_VERSION, model_digest, loaded.digest, loaded.task.prefixes, _settings(loaded, config)])


def _settings(loaded: LoadedTask, config: EvaluationConfig) -> dict[str, Any]:
    """Return the settings that a task's scores depend on, files by their content.

    A reader counts only where there are answers, LIR only where it can be applied. Raises InputError where texts for
    LIR are missing or too few.
    """
    settings = asdict(config)
    settings["reader"] = reader_key(config.reader) if config.reader and loaded.task.has_answers else None
    settings["lir"] = config.lir if isinstance(loaded.collection, Collection) else 0
    settings["lir_texts"] = _lir_texts(loaded.collection, config)
    del settings["overwrite"]
    return settings


def check_scoring(tasks: Sequence[LoadedTask], config: EvaluationConfig) -> None:
    """Raise InputError for what scoring would refuse, before an encoder is trained or loaded: a reader, texts for LIR,
    an index. Tells which settings have no effect on these tasks."""
    if config.reader:
        check_reader(config.reader, any(loaded.task.has_answers for loaded in tasks))
    for loaded in tasks:
        _lir_texts(loaded.collection, config)
        if _searched(loaded):
            check_index(config.search, loaded.collection.smallest_pool)
    _tell_without_effect(tasks, config)


def _searched(loaded: LoadedTask) -> bool:
    return not isinstance(loaded.collection, Collection) and loaded.collection.searched


def _tell_without_effect(tasks: Sequence[LoadedTask], config: EvaluationConfig) -> None:
    if not config.reader and config.reader_passages != EvaluationConfig.reader_passages:
        warn(f"evaluation.reader_passages is {config.reader_passages}, but no reader is given that reads them.")
    if tasks and config.search != SearchConfig() and not any(map(_searched, tasks)):
        names = ", ".join(loaded.task.name for loaded in tasks)
        warn(f"evaluation.search has no effect: {names} rank whole pools, and nothing is searched.")
    untreated = ", ".join(loaded.task.name for loaded in tasks if not isinstance(loaded.collection, Collection))
    if config.lir and untreated:
        warn(
            f"evaluation.lir is {config.lir}, but scores of {untreated} are untreated only: languages are "
            "removed where whole pools are ranked, as in xquad-r, mlqa-r, parallel, mkqa-closed."
        )


def _lir_texts(collection: Collection | Scored, config: EvaluationConfig) -> dict[str, list[str]] | None:
    if not (config.lir and isinstance(collection, Collection)):
        return None
    if not config.lir_texts:
        check_passages(collection.documents.language, collection.languages, config.lir)
        return None
    return read_texts(config.lir_texts, collection.languages, config.lir)


def _treated(folder: Path) -> Path:
    """Return the folder of a task's scores after language information removal."""
    return folder.with_name(treated_name(folder.name))


def _evaluate_task(
    encoder, loaded: LoadedTask, folder: Path, config: EvaluationConfig, model_digest, key: str
) -> list[dict]:
    """Return what now stands in the task's scores.json and, where languages are removed, in that of the treated."""
    task, collection = loaded.task, loaded.collection
    place = folder / "embeddings"
    about = {
        "key": key,
        "model": model_digest,
        "revision": loaded.digest,
        "environment": computed_with(encoder, config.encoding.precision),
        "evaluation": {"version": _VERSION, **conditions(encoder, task, config)},
    }

    remove_scores(folder)
    if is_treated(_treated(folder)):
        remove_scores(_treated(folder))

    embedded: dict[str, np.ndarray] = {}

    def embed(texts, side: str, name: str):
        length = task.query_max_length if side == "query" else task.passage_max_length
        vectors = encode(encoder, texts, side, length, place / name, config.encoding, model_digest)
        embedded[name] = vectors.rows
        return vectors

    if isinstance(collection, Collection):
        queries = embed(collection.queries.texts, task.prefixes[0], "query")
        documents = embed(collection.documents.texts, task.prefixes[1], "passage")
        treated = []
        if _removes_languages(loaded, config):
            estimated = _directions(collection, documents, embed, config)
            treated = [_score_treated(loaded, queries, documents, estimated, _treated(folder), config, about)]
        scores = [score(loaded, queries, documents, folder, config.run_depth, about), *treated]
    else:
        scores = [collection.score(task, embed, folder, config, about)]
    if is_main() and config.keep_embeddings:
        ids = collection.text_ids()
        for name, rows in embedded.items():
            write_map(place / name, rows, ids.get(name))
    elif is_main():
        shutil.rmtree(place)
    return scores


def _directions(collection: Collection, documents, embed: Callable, config: EvaluationConfig) -> dict[int, np.ndarray]:
    """Return the directions of each language of a task, from given texts or the task's own passages."""
    texts = _lir_texts(collection, config)
    if texts is None:
        return fitted(documents, collection.documents.language, config.lir)
    language = np.repeat(np.arange(len(texts)), [len(lines) for lines in texts.values()])
    vectors = embed([line for lines in texts.values() for line in lines], "passage", "lir")
    return fitted(vectors, language, config.lir)


def _score_treated(loaded: LoadedTask, queries, documents, estimated, folder: Path, config, about) -> dict:
    collection = loaded.collection
    treated = [
        Removed(vectors, side.language, estimated)
        for vectors, side in ((queries, collection.queries), (documents, collection.documents))
    ]
    task = replace(loaded.task, name=folder.name)
    texts = _lir_texts(collection, config)
    evaluation = {
        **about["evaluation"],
        "lir": config.lir,
        "lir_texts": config.lir_texts,
        "lir_texts_digest": digest(texts) if texts else None,
    }
    lir = {"directions": config.lir, "estimated_on": config.lir_texts or "the task's own passages"}
    about = {**about, "evaluation": evaluation, "lir": lir}
    return score(replace(loaded, task=task), *treated, folder, config.run_depth, about)


def score(
    loaded: LoadedTask,
    queries_BD: Matrix,
    documents_ND: Matrix,
    folder: Path,
    run_depth: int,
    about: Mapping[str, Any],
) -> dict[str, Any]:
    """Score embeddings in the order of the collection, write all files, and return what stands in scores.json.

    Embeddings are arrays, or are read in blocks like `hybrid.evaluation.vectors.Vectors`.

    Args:
        about: goes into scores.json as it is.
    """
    task, collection = loaded.task, loaded.collection
    start = time.monotonic()
    pieces = clear_pieces(folder, run_depth)
    ranking = rank_pools(collection, queries_BD, documents_ND, task.settings, pieces, run_depth, TOP)
    entries = ranking.entries
    bias = {setting.name: setting_bias(entries, collection, setting) for setting in task.settings}
    scores = {
        "task": task.name,
        "revision": loaded.digest,
        "queries": len(collection.queries),
        "documents": len(collection.documents),
        "languages": list(collection.languages),
        "left_out_in_reading": dict(collection.counts),
        "tie_rule": "equal float32 scores: the larger document id, as bytes, first",
        "run_depth": {setting.name: min(setting.depth, run_depth) for setting in task.settings},
        "settings": {
            setting.name: setting_scores(entries, collection, setting, bias[setting.name])
            | {"languages": language_shares(ranking, collection, setting)}
            for setting in task.settings
        },
        **about,
    }
    barrier()
    if is_main():
        if run_depth:
            for setting in task.settings:
                write_setting(folder, entries, collection, setting)
            pieces.rmdir()
        write_per_query(folder / "per_query.parquet", entries, collection, task.settings, bias)
        for setting in task.settings:
            if shares := scores["settings"][setting.name]["languages"]:
                write_bars(folder / f"{setting.name}.languages.png", shares, f"{task.name}: {setting.name}")
        write_heat_map(folder / "map.png", collection, scores["settings"], task.name)
        # Last, and whole or not at all: where it lies, the rest is complete.
        write_json(folder / "scores.json", scores)
    barrier()
    log(f"{task.name}: ranked, measured and written in {time.monotonic() - start:.1f} s: {folder}")
    return scores


def flat(task: str, settings: Mapping[str, dict]) -> dict[str, float]:
    """Return the means as metrics by ``TASK/SETTING/MEASURE``; a measure that no query has is left out."""
    return {
        f"{task}/{name}/{measure}": value["mean"]
        for name, setting in settings.items()
        for measure, value in setting["measures"].items()
        if value["mean"] is not None
    }
