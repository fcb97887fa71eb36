"""Loading an encoder from a directory, a hub id or nothing but a configuration."""

import dataclasses
from pathlib import Path

from torch import nn

from hybrid.models.backbone import check_encodes, fresh, pretrained
from hybrid.models.config import ModelConfig
from hybrid.models.encoder import Encoder
from hybrid.models.lora import add_adapters
from hybrid.models.projection import Projection, load_projection
from hybrid.runtime.errors import InputError, first_line
from hybrid.runtime.files import read_json
from hybrid.runtime.logs import warn

_POOLINGS = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}
_FIGURES = {"euclidean": "Euclidean distances", "manhattan": "Manhattan distances"}
_CHAINS = [["Transformer", "Pooling", *rest] for rest in ([], ["Dense"], ["Normalize"], ["Dense", "Normalize"])]


@dataclasses.dataclass(frozen=True)
class _Saved:
    """What a sentence-transformers directory says: its modules' directories by kind, in their order, and how the model
    is to be used (prompts and similarity), how it pools."""

    modules: dict[str, Path]
    use: dict
    pooling: str


def load_encoder(config: ModelConfig, tokenizer=None) -> Encoder:
    """Load or initialise the encoder that `config` describes, in float32, on the CPU.

    Args:
        config: what the recipe says; what it leaves unset is taken from a sentence-transformers directory.
        tokenizer: the tokenizer to use with `from_scratch` where that names none.

    Raises InputError where the directory lacks a tokenizer or weights, the tokenizer does not fit the embedding
    matrix, or the directory pools in a way that is not supported.
    """
    check_origin(config)
    saved = _read_saved(config)
    config, projection = _with_settings(config, saved)
    if saved:
        _tell_other_pooling(config, saved)
        _tell_other_similarity(str(config.name), saved)
    tokenizer = tokenizer or load_tokenizer(config)
    backbone = fresh(config, tokenizer) if config.from_scratch else pretrained(config)
    check_encodes(backbone, config.name)
    _check_vocabulary(config, tokenizer, backbone)
    if config.freeze_embeddings:
        backbone.get_input_embeddings().requires_grad_(False)
    if config.lora:
        add_adapters(backbone, config.lora)
    if config.projection and projection is None:
        projection = Projection(backbone.config.hidden_size, config.projection)
    if projection is not None and projection.in_features != backbone.config.hidden_size:
        raise InputError(
            f"model.name = {config.name}: its Dense module takes {projection.in_features} dimensions, its backbone "
            f"gives {backbone.config.hidden_size}; take the module that belongs to these weights."
        )
    return Encoder(backbone, tokenizer, config, projection)


def check_origin(config: ModelConfig) -> None:
    """Raise InputError where nothing says where the encoder comes from."""
    if not (config.name or config.from_scratch):
        raise InputError(
            "model.name is not set; give the directory or hub id of an encoder, or set model.from_scratch."
        )


def load_tokenizer(config: ModelConfig):
    """Load the fast tokenizer that belongs to the encoder; raises InputError where there is none."""
    from transformers import AutoTokenizer

    place = config.from_scratch.tokenizer if config.from_scratch else config.name
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            place, revision=config.revision, trust_remote_code=config.trust_remote_code
        )
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"model.name = {place}: no tokenizer could be loaded ({first_line(error)}); "
            "put tokenizer.json and tokenizer_config.json beside the weights."
        ) from error
    if not tokenizer.is_fast or len(tokenizer) <= len(tokenizer.all_special_tokens):
        raise InputError(
            f"model.name = {place}: found no usable fast tokenizer; put tokenizer.json beside the weights."
        )
    if tokenizer.pad_token_id is None:
        raise InputError(
            f"model.name = {place}: the tokenizer has no padding token; set pad_token in its configuration."
        )
    return tokenizer


def with_saved_settings(config: ModelConfig) -> tuple[ModelConfig, Projection | None]:
    """Fill what the recipe leaves unset from a sentence-transformers directory, and load its projection, if any."""
    return _with_settings(config, _read_saved(config))


def _with_settings(config: ModelConfig, saved: _Saved | None) -> tuple[ModelConfig, Projection | None]:
    found, projection = _sentence_transformers_settings(saved) if saved else ({}, None)
    given = {key: value for key, value in vars(config).items() if value is not None}
    settings = {"pooling": "mean", "query_prefix": "", "passage_prefix": "", **found, **given}
    if projection is not None and config.projection not in (None, projection.out_features):
        projection = None
    return dataclasses.replace(config, **settings), projection


def _read_saved(config: ModelConfig) -> _Saved | None:
    """Read a sentence-transformers directory, once: a hub id costs requests, and its files may change in between."""
    folder = _local_folder(config)
    if not folder or not (folder / "modules.json").exists():
        return None
    use = folder / "config_sentence_transformers.json"
    modules = _modules(folder)
    return _Saved(modules, read_json(use) if use.exists() else {}, _pooling(modules["Pooling"] / "config.json"))


def _local_folder(config: ModelConfig) -> Path | None:
    if not config.name:
        return None
    if Path(config.name).is_dir():
        return Path(config.name)
    if Path(config.name).is_absolute() or config.name.startswith("."):
        raise InputError(f"model.name = {config.name}: no such directory; give one with weights and a tokenizer.")
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.constants import HF_HUB_OFFLINE

        patterns = ["modules.json", "config_sentence_transformers.json", "*/config.json", "*_Dense/model.safetensors"]
        folder = Path(snapshot_download(config.name, revision=config.revision, allow_patterns=patterns))
    except Exception as error:
        raise InputError(
            f"model.name = {config.name}: neither a directory nor to be had from the hub ({first_line(error)}); "
            "give a directory, or a hub id that this machine can reach."
        ) from error
    if HF_HUB_OFFLINE and not (folder / "modules.json").exists():
        warn(
            f"model.name = {config.name}: the cache has no modules.json and the hub is not asked (HF_HUB_OFFLINE); if "
            "the model has one, its pooling, prompts and Dense module are missing: fetch the whole model first."
        )
    return folder


def _sentence_transformers_settings(saved: _Saved) -> tuple[dict, Projection | None]:
    settings, projection = {"pooling": saved.pooling}, None
    if "Dense" in saved.modules:
        projection = load_projection(saved.modules["Dense"])
        settings["projection"] = projection.out_features
    prompts = saved.use.get("prompts") or {}
    settings["query_prefix"] = prompts.get("query") or ""
    settings["passage_prefix"] = next(filter(None, map(prompts.get, ("document", "passage", "corpus"))), "")
    if saved.use.get("truncate_dim"):
        raise InputError(
            f"{saved.modules['Pooling'].parent}/config_sentence_transformers.json: truncate_dim is "
            f"{saved.use['truncate_dim']}; only whole vectors are supported: take it out to use all dimensions."
        )
    return settings, projection


def _tell_other_pooling(config: ModelConfig, saved: _Saved) -> None:
    """Warn where a recipe that was written for another encoder pools otherwise than this one was trained to."""
    if config.pooling != saved.pooling:
        warn(
            f"model.pooling is {config.pooling}, but {config.name} was trained with {saved.pooling} (modules.json): "
            "set pooling to null for its own, and query_prefix and passage_prefix too."
        )


def _tell_other_similarity(name: str, saved: _Saved) -> None:
    """Warn where a model's own scores are not cosines, or where it does not say: its published figures differ."""
    similarity, normalized = saved.use.get("similarity_fn_name"), "Normalize" in saved.modules
    # Of unit vectors, dot product and Euclidean distance give the cosine's order.
    if similarity == "cosine" or (normalized and similarity != "manhattan"):
        return
    modules = "with" if normalized else "without"
    declared = f"the similarity {similarity!r}" if similarity else "no similarity"
    warn(
        f"model.name = {name}: found modules.json {modules} Normalize and {declared} declared in "
        "config_sentence_transformers.json; vectors are made unit length here and scores are cosines, so figures "
        f"published with {_FIGURES.get(similarity, 'dot products')} differ."
    )


def _modules(folder: Path) -> dict[str, Path]:
    """Return the directories of a model's modules by their kind, in their order."""
    modules = [(module["type"].rsplit(".", 1)[-1], module["path"]) for module in read_json(folder / "modules.json")]
    kinds = [kind for kind, _ in modules]
    if kinds not in _CHAINS:
        raise InputError(
            f"{folder}/modules.json: the modules are {', '.join(kinds)}; expected Transformer, Pooling, and then at "
            "most one Dense and at most one Normalize, in this order."
        )
    return {kind: folder / path for kind, path in modules}


def _pooling(file: Path) -> str:
    saved = read_json(file)
    mode = saved.get("pooling_mode") or [name for key, name in _POOLINGS.items() if saved.get(key)]
    modes = [mode] if isinstance(mode, str) else list(mode)
    others = [
        key for key, on in saved.items() if key.startswith("pooling_mode_") and on is True and key not in _POOLINGS
    ]
    if len(modes) != 1 or modes[0] not in _POOLINGS.values() or others:
        raise InputError(f"{file}: pools by {modes + others}; expected one of {sorted(_POOLINGS.values())}.")
    if saved.get("include_prompt") is False:
        raise InputError(f"{file}: include_prompt is false; only pooling over the prompt's tokens too is supported.")
    return modes[0]


def _check_vocabulary(config: ModelConfig, tokenizer, backbone: nn.Module) -> None:
    rows = backbone.get_input_embeddings().num_embeddings
    if len(tokenizer) > rows:
        raise InputError(
            f"model.name = {config.name}: the tokenizer has {len(tokenizer)} tokens, but the embedding matrix only "
            f"{rows} rows; take the tokenizer that belongs to these weights."
        )
