"""Where results lie and when they are still valid: a folder per model and task, and the key of what made it."""

import glob
import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from hybrid.evaluation.config import EvaluationConfig
from hybrid.evaluation.task import Task
from hybrid.models.config import ModelConfig
from hybrid.models.load import with_saved_settings
from hybrid.runtime.environment import environment
from hybrid.runtime.errors import InputError
from hybrid.runtime.files import digest, read_json, write_json
from hybrid.runtime.processes import barrier, gather_objects, is_main, world_size

_SCORED = ("*.parquet", "*.run", "*.qrels", "*.answers.json", "*.predictions.json", "*.png")
"""What a scoring writes beside scores.json."""
_NOT_OF_OUTPUTS = ("transformers_version", "architectures", "auto_map", "dtype", "torch_dtype", "use_cache")
"""What a configuration says of its making and of memory; paths and the attention's implementation begin with _."""


def model_paths(given: list[str]) -> list[str]:
    """Return model directories and hub ids, with each glob replaced by the directories that it matches, sorted."""
    paths: list[str] = []
    for name in given:
        found = [name] if glob.escape(name) == name else sorted(filter(os.path.isdir, glob.glob(name)))
        if not found:
            raise InputError(f"--model: {name!r} matches no directory; give a directory, a glob or a hub id.")
        paths += found
    return paths


def check_models(paths: Iterable[str], config: ModelConfig) -> None:
    """Raise InputError, before anything is encoded, for the first place of no model: a directory without one, or no hub
    id that can be reached; or of one that lacks the projection asked for, which would be random.

    Args:
        paths: directories and hub ids.
        config: how they will be loaded.
    """
    for path in paths:
        if os.path.isdir(path) and not any(Path(path, name).exists() for name in ("config.json", "modules.json")):
            raise InputError(
                f"--model {path}: holds no config.json and no modules.json; give a directory in transformers' or "
                "sentence-transformers' form."
            )
        _, projection = with_saved_settings(replace(config, name=path))
        if config.projection and projection is None:
            raise InputError(
                f"--encoder.projection is {config.projection}, but {path} has no trained projection to as many "
                "dimensions, and a random one would be taken; remove it."
            )


def results_folder(out_dir: str | Path, path: str, model: str) -> Path:
    """Return the folder of a model's results, ``NAME-DIGEST``; the digest keeps models of one name apart.

    Args:
        path: the model's directory or hub id; training calls its directories ``RUN/model``, so the run's name counts.
        model: its `model_digest`.
    """
    place = Path(path).resolve()
    name = place.parent.name if place.name == "model" else place.name
    return Path(out_dir) / f"{name if place.is_dir() else path.replace('/', '--')}-{model[:8]}"


def write_origin(folder: Path, path: str, model: str) -> None:
    """Write ``model.json``: which model the results in a folder are of, so that its training can be looked up."""
    if is_main():
        write_json(
            folder / "model.json", {"path": str(Path(path).resolve()) if Path(path).is_dir() else path, "digest": model}
        )


def weights_digest(module: torch.nn.Module) -> str:
    """Return a digest of a module's weights: names, types, shapes and bytes."""
    state = hashlib.blake2b(digest_size=16)
    for name, tensor in module.state_dict().items():
        state.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        state.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return state.hexdigest()


def network_digest(module: torch.nn.Module, config, tokenizer) -> str:
    """Return a digest of what a network gives for a text: weights, configuration and tokenizer, wherever they lie.

    Args:
        module: the network, or what holds it beside other weights that count.
        config: the network's, of transformers.
    """
    if tokenizer.is_fast:
        # How texts were cut and padded last is remembered there too, and is no part of the model.
        pieces = json.loads(tokenizer.backend_tokenizer.to_str()) | {"truncation": None, "padding": None}
    else:
        pieces = tokenizer.get_vocab()
    sides = [tokenizer.truncation_side, tokenizer.padding_side]
    return digest([weights_digest(module), _of_outputs(config.to_dict()), pieces, sides])


def _of_outputs(config: dict) -> dict:
    """Return a configuration, and those within it, without what changes no output; dropout is for training."""
    return {
        str(key): _of_outputs(value) if isinstance(value, dict) else value
        for key, value in config.items()
        if key not in _NOT_OF_OUTPUTS and not str(key).startswith("_") and "dropout" not in str(key)
    }


def model_digest(encoder) -> str:
    """Return a digest of all that an encoder's embeddings depend on, whatever place it came from, on every rank."""
    value = None
    if is_main():
        settings = [encoder.config.pooling, encoder.prefixes, encoder.config.projection]
        # Weights do not tell it.
        settings += [encoder.projection.activation_name] if encoder.projection else []
        value = digest([network_digest(encoder, encoder.backbone.config, encoder.tokenizer), *settings])
    return gather_objects(value)[0]


def valid_scores(folder: Path, key: str) -> dict | None:
    """Return the scores in a folder if they were made under this key; the same on every rank."""
    found = None
    if is_main() and (folder / "scores.json").exists():
        scores = read_json(folder / "scores.json")
        found = scores if scores.get("key") == key else None
    return gather_objects(found)[0]


def is_treated(folder: Path) -> bool:
    """Return whether a folder holds treated scores or, of a killed job, none yet; the same on every rank.

    Else it is that of another task, one whose own name ends as those of treated scores do.
    """
    found = None
    if is_main():
        found = not (folder / "scores.json").exists() or "lir" in read_json(folder / "scores.json")
    return gather_objects(found)[0]


def remove_scores(folder: Path) -> None:
    """Remove what an older scoring left in a task's folder, but its embeddings; every rank has to call it.

    A job that is killed later then leaves no scores beside files that they are not of.
    """
    if is_main():
        # First: where it lies, the rest counts as complete.
        (folder / "scores.json").unlink(missing_ok=True)
        for pattern in _SCORED:
            for path in folder.glob(pattern):
                path.unlink()
    barrier()


def computed_with(encoder, precision: str) -> dict[str, Any]:
    """Return what the figures were computed with: device, processes, precision, package versions."""
    device = next(encoder.parameters()).device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {"device": name, "processes": world_size(), "precision": precision, **environment()}


def conditions(encoder, task: Task, config: EvaluationConfig) -> dict[str, Any]:
    """Return the settings behind a task's untreated scores, as they were used.

    A reader stands only where there are answers to read; a length is the model's own where that is smaller.
    """
    settings = asdict(config)
    del settings["overwrite"]
    settings |= {"lir": 0, "lir_texts": None}
    if not task.has_answers or not config.reader:
        settings |= {"reader": None, "reader_passages": None}
    settings["encoding"]["batch_tokens"] = config.encoding.tokens(next(encoder.parameters()).device.type)
    most = encoder.max_length
    return {
        "pooling": encoder.config.pooling,
        "query_prefix": encoder.prefixes[task.prefixes[0]],
        "passage_prefix": encoder.prefixes[task.prefixes[1]],
        "query_max_length": min(task.query_max_length, most or task.query_max_length),
        "passage_max_length": min(task.passage_max_length, most or task.passage_max_length),
        **settings,
    }
