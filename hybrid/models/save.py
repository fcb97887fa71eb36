"""Saving an encoder so that transformers and sentence-transformers load it and give the same embeddings."""

from pathlib import Path

import torch
from torch import Tensor

from hybrid.models.encoder import Encoder
from hybrid.models.lora import merged
from hybrid.models.projection import save_projection
from hybrid.runtime.files import atomic_folder, read_json, write_json

_MODULES = "sentence_transformers.models"


def save_encoder(
    encoder: Encoder, path: str | Path, card: str, max_length: int, state: dict[str, Tensor] | None = None
) -> None:
    """Write a model directory that appears whole or not at all, in float32; adapters are added into the weights.

    In bfloat16, which weights have under ZeRO, what adapters add would be rounded away, and others would compute in it.

    Args:
        encoder: the encoder, on any device; with `state` only its structure is used.
        path: the directory; one that exists is replaced.
        card: the text of its README.md.
        max_length: tokens, special ones and prefix included, to which others are told to cut texts.
        state: the encoder's parameters where they had to be collected from several ranks (ZeRO-3).
    """
    state = _in_float32(state or encoder.state_dict())
    backbone = merged(encoder.backbone, _of("backbone.", state))
    with atomic_folder(path) as folder:
        encoder.backbone.save_pretrained(folder, state_dict=backbone)
        config = read_json(folder / "config.json")
        write_json(folder / "config.json", config | {"dtype": "float32"})
        encoder.tokenizer.backend_tokenizer.no_truncation()  # else it is saved as the last evaluation left it
        encoder.tokenizer.save_pretrained(folder)
        if encoder.projection:
            save_projection(encoder.projection, _of("projection.", state), folder / "2_Dense")
        _save_modules(encoder, folder, max_length)
        (folder / "README.md").write_text(card, encoding="utf-8")


def _in_float32(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copy to the CPU; names that share their memory (T5's embeddings) go on sharing it, and are written once."""
    copies: dict[tuple[int, torch.Size], Tensor] = {}
    found = {}
    for name, value in state.items():
        place = value.data_ptr(), value.shape
        if place not in copies:
            value = value.detach().cpu()
            copies[place] = value.float() if value.is_floating_point() else value
        found[name] = copies[place]
    return found


def _of(part: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(part): value for name, value in state.items() if name.startswith(part)}


def _save_modules(encoder: Encoder, folder: Path, max_length: int) -> None:
    """Write the files by which sentence-transformers knows pooling, normalisation, prompts and length."""
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Dense", "Dense"), ("3_Normalize", "Normalize")]
    kinds = [(place, kind) for place, kind in kinds if kind != "Dense" or encoder.projection]
    modules = [
        {"idx": i, "name": str(i), "path": place, "type": f"{_MODULES}.{kind}"} for i, (place, kind) in enumerate(kinds)
    ]
    write_json(folder / "modules.json", modules)
    mean = encoder.config.pooling == "mean"
    pooling = {
        "word_embedding_dimension": encoder.backbone.config.hidden_size,
        "pooling_mode_mean_tokens": mean,
        "pooling_mode_cls_token": not mean,
        "include_prompt": True,
    }
    (folder / "1_Pooling").mkdir()
    (folder / "3_Normalize").mkdir()
    write_json(folder / "1_Pooling" / "config.json", pooling)
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": max_length, "do_lower_case": False})
    query, passage = encoder.prefixes["query"], encoder.prefixes["passage"]
    prompts = {"query": query, "passage": passage, "document": passage}
    versions = {"pytorch": torch.__version__}
    write_json(
        folder / "config_sentence_transformers.json",
        {"__version__": versions, "prompts": prompts, "default_prompt_name": None, "similarity_fn_name": "cosine"},
    )
