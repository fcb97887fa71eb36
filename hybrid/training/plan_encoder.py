"""What an encoder needs, from its architecture alone: no weights, no GPU, nothing downloaded.

The project's own forward pass runs on tensors without memory (torch's FakeTensorMode), one and two layers deep, over
one and two texts; depth and number of texts are linear, so the rest follows. Shapes: L tokens of a text.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from hybrid.models.backbone import adapted, build, described
from hybrid.models.config import ModelConfig
from hybrid.models.encoder import Encoder
from hybrid.models.load import check_origin
from hybrid.models.lora import add_adapters
from hybrid.models.projection import Projection
from hybrid.runtime.errors import InputError, first_line, nearest
from hybrid.training.flops import Costs, costs

TABLE = Path(__file__).parents[1] / "models" / "architectures.yaml"


@dataclass(frozen=True)
class Anatomy:
    """Sizes of an encoder. Entries are numbers of numbers, not bytes."""

    entries: int
    """Of all parameters."""
    trained: int
    """Of the parameters that get a gradient."""
    embedding: int
    """Of the token embedding matrix."""
    rows: int
    """Of the token embedding matrix, if it gets a gradient, else 0: under DDP, of the rows that occur."""
    largest: int
    """Of the largest parameter that gets a gradient."""
    projections: int
    """Of attention's weights: queries, keys, values, outputs."""
    layers: int
    hidden: int
    """Dimensions of hidden states."""
    costs: Costs


@dataclass(frozen=True)
class Saved:
    """Bytes that a forward pass keeps for the backward pass."""

    fixed: float
    """Whatever the number of texts: copies of the weights in bf16, under autocast."""
    text: float
    """For each text of L tokens."""
    layer: float
    """The part of `text` that one layer keeps."""


class _Tokenizer:
    """The one thing that an encoder's forward pass needs of a tokenizer."""

    pad_token_id = 0


def architecture(config: ModelConfig):
    """Return transformers' configuration of the encoder: from the recipe, the table of known hub ids, or a directory.

    Raises InputError where a hub id is neither known here nor to be had.
    """
    from transformers import AutoConfig

    if config.from_scratch:
        return described(config, {"vocab_size": config.from_scratch.vocabulary})
    check_origin(config)
    known = _known()
    hint = nearest(config.name, known)
    if config.name in known:
        return adapted(AutoConfig.for_model(**known[config.name]), config)
    try:
        found = AutoConfig.from_pretrained(config.name, revision=config.revision)
    except (OSError, ValueError) as error:
        raise InputError(
            f"model.name = {config.name}: no architecture to plan with ({first_line(error)}){hint}; "
            f"give a directory with config.json, model.from_scratch, or one of {', '.join(known)}."
        ) from error
    return adapted(found, config)


def anatomy(config: ModelConfig) -> Anatomy:
    """Return the sizes of the encoder that a recipe describes."""
    shallow, deep, depth = _two_depths(config)

    def at_depth(count: Callable[[Encoder], int]) -> int:
        one, two = count(shallow), count(deep)
        return one + (depth - 1) * (two - one)

    parameters = list(deep.parameters())
    embedding = deep.backbone.get_input_embeddings()
    table = embedding.weight
    return Anatomy(
        entries=at_depth(lambda e: sum(p.numel() for p in e.parameters())),
        trained=at_depth(lambda e: sum(p.numel() for p in e.parameters() if p.requires_grad)),
        embedding=table.numel(),
        rows=table.numel() if table.requires_grad and type(embedding) is nn.Embedding else 0,
        largest=max(p.numel() for p in parameters if p.requires_grad),
        projections=at_depth(_projections),
        layers=depth,
        hidden=deep.backbone.config.hidden_size,
        costs=Costs(
            matrices=at_depth(lambda e: costs(e.backbone).matrices),
            trained=at_depth(lambda e: costs(e.backbone).trained),
            attention=at_depth(lambda e: costs(e.backbone).attention),
            dimensions=config.projection or deep.backbone.config.hidden_size,
        ),
    )


def saved(config: ModelConfig, length: int, precision: str, checkpointing: bool) -> Saved:
    """Return what a forward pass over texts of `length` tokens keeps.

    Args:
        config: the recipe's encoder.
        length: L, padding included.
        precision: "fp32", "autocast" (bf16 products, fp32 weights: DDP) or "bf16" (bf16 weights: DeepSpeed).
        checkpointing: whether activations are computed again, layer by layer; then a layer keeps its input, and the
            layer that is at work all it needs.
    """
    shallow, deep, depth = _two_depths(config, torch.bfloat16 if precision == "bf16" else torch.float32)
    one, two = ([_saved(encoder, n, length, precision) for n in (1, 2)] for encoder in (shallow, deep))
    total = [a + (depth - 1) * (b - a) for a, b in zip(one, two, strict=True)]
    text, layer = total[1] - total[0], (two[1] - two[0]) - (one[1] - one[0])
    fixed = total[0] - text
    if checkpointing:
        entry = 2 if precision == "bf16" else 4
        outside = text - depth * layer
        text = outside + layer + depth * length * deep.backbone.config.hidden_size * entry
    return Saved(fixed, text, layer)


def _projections(encoder: Encoder) -> int:
    named = encoder.backbone.named_parameters()
    products = [p for name, p in named if "attention" in name.lower() and name.endswith(".weight") and p.ndim > 1]
    tables = [m.weight for m in encoder.backbone.modules() if isinstance(m, torch.nn.Embedding)]
    return sum(p.numel() for p in products if not any(p is table for table in tables))


def _known() -> dict[str, dict]:
    import yaml

    return yaml.safe_load(TABLE.read_text(encoding="utf-8"))


def _two_depths(config: ModelConfig, dtype: torch.dtype = torch.float32) -> tuple[Encoder, Encoder, int]:
    """Return the encoder one and two layers deep, of tensors without memory, and its real depth."""
    depth = architecture(config).num_hidden_layers
    return _sketch(config, 1, dtype), _sketch(config, min(2, depth), dtype), depth


def _sketch(config: ModelConfig, layers: int, dtype: torch.dtype) -> Encoder:
    from torch._subclasses.fake_tensor import FakeTensorMode

    # Attention keeps what a GPU's kernel keeps; a CPU's in bf16 keeps the probabilities as well.
    attention = "eager" if config.attention == "eager" else "sdpa"
    settings = replace(config, layers=layers, pooling=config.pooling or "mean", attention=attention)
    with FakeTensorMode() as mode:
        backbone = build(architecture(settings), settings, dtype)
        projection = Projection(backbone.config.hidden_size, config.projection) if config.projection else None
    if config.freeze_embeddings:
        backbone.get_input_embeddings().requires_grad_(False)
    if config.lora:
        # peft moves its own, small tensors about, which those without memory do not take.
        add_adapters(backbone, config.lora)
        for module in backbone.modules():
            for name, parameter in module.named_parameters(recurse=False):
                if parameter.requires_grad:
                    setattr(module, name, torch.nn.Parameter(mode.from_tensor(parameter.data.to(dtype))))
    return Encoder(backbone, _Tokenizer(), settings, projection).train()


def _saved(encoder: Encoder, texts: int, length: int, precision: str) -> int:
    """Return the bytes of all that a forward pass keeps, each piece of memory once, parameters left out."""
    pieces: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        pieces[storage._cdata] = storage
        return tensor

    mode = encoder.backbone.get_input_embeddings().weight.fake_mode
    with mode, torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        ids = torch.ones(texts, length, dtype=torch.long)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "autocast"):
            encoder._pooled(ids, torch.ones_like(ids))
    own = {parameter.untyped_storage()._cdata for parameter in encoder.parameters()}
    return sum(storage.nbytes() for key, storage in pieces.items() if key not in own)
