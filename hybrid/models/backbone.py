"""The backbone: a transformer from its architecture's configuration, with pretrained or random weights."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import signature

import torch
from torch import nn

from hybrid.models.config import ModelConfig
from hybrid.models.packed import implementation
from hybrid.runtime.errors import InputError, first_line


def pretrained(config: ModelConfig) -> nn.Module:
    """Load the weights in `config.name`, in float32, of its bottom `config.layers` layers.

    Raises InputError where they cannot be read, or where some of the backbone's weights are not among them.
    """
    from transformers import AutoConfig

    options = {"revision": config.revision, "trust_remote_code": config.trust_remote_code}
    try:
        architecture = AutoConfig.from_pretrained(config.name, **options)
        factory, arguments = _factory(adapted(architecture, config), config)
        with _no_report():
            backbone, found = factory.from_pretrained(
                config.name,
                config=architecture,
                dtype=torch.float32,
                use_safetensors=None if config.allow_pickle else True,
                output_loading_info=True,
                **options,
                **arguments,
            )
    except InputError:
        raise
    except (OSError, ValueError) as error:
        raise InputError(
            f"model.name = {config.name}: the weights cannot be loaded ({first_line(error)}); expected config.json "
            "and model.safetensors (other formats need allow_pickle true, remote code trust_remote_code true: "
            "--model.KEY in train.py, --encoder.KEY elsewhere)."
        ) from error
    if missing := sorted(found["missing_keys"]):
        raise InputError(
            f"model.name = {config.name}: the file has no weights for {missing[0]} ({len(missing)} are missing), "
            "which would be random; give the directory of an encoder of this architecture."
        )
    if backbone.is_remote_code():
        _fill_buffers(backbone, lambda: type(backbone)._from_config(architecture, dtype=torch.float32, **arguments))
    return _fused(backbone)


def _fill_buffers(backbone: nn.Module, construct: Callable[[], nn.Module]) -> None:
    """Give buffers that files do not hold what the constructor computes, such as positions.

    transformers builds a model without memory and leaves them uninitialised where its own code does not know them.
    """
    names = {name for name, _ in backbone.named_non_persistent_buffers()}
    if names:
        made = dict(construct().named_buffers())
        for name, buffer in backbone.named_buffers():
            if name in names:
                buffer.copy_(made[name])


@contextmanager
def _no_report() -> Iterator[None]:
    """Keep back transformers' table of unused weights: a decoder's, or those of the layers above `layers`."""
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


def fresh(config: ModelConfig, tokenizer) -> nn.Module:
    """Initialise the backbone of `config.from_scratch` at random, in float32, with a row for each of the tokens."""
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("pad", "bos", "eos")}
    options = {key: value for key, value in ids.items() if value is not None} | {"vocab_size": len(tokenizer)}
    return build(described(config, options), config)


def described(config: ModelConfig, options: dict):
    """Return the architecture that `config.from_scratch` describes; what it does not say is taken from `options`."""
    from transformers import AutoConfig

    scratch = config.from_scratch
    try:
        architecture = AutoConfig.for_model(scratch.model_type, **(options | scratch.config))
    except (ValueError, TypeError) as error:
        raise InputError(f"model.from_scratch: {first_line(error)}; see the architecture's configuration.") from error
    return adapted(architecture, config)


def build(architecture, config: ModelConfig, dtype: torch.dtype = torch.float32) -> nn.Module:
    """Return a backbone of this architecture with random weights, on torch's default device."""
    try:
        factory, arguments = _factory(architecture, config)
        return _fused(factory.from_config(architecture, dtype=dtype, **arguments))
    except (ValueError, TypeError) as error:
        raise InputError(
            f"model: a backbone of type {architecture.model_type} cannot be built ({first_line(error)}); see the "
            "architecture's configuration."
        ) from error


def adapted(architecture, config: ModelConfig):
    """Set depth and dropout in an architecture as the recipe says; what is saved later tells them too."""
    if config.dropout is not None:
        _set_dropout(architecture, config.dropout)
    if config.layers is None:
        return architecture
    depth = getattr(architecture, "num_hidden_layers", None)
    if depth is None or config.layers > depth:
        raise InputError(f"model.layers is {config.layers}, but the backbone has {depth} layers; give at most that.")
    architecture.num_hidden_layers = config.layers
    if getattr(architecture, "layer_types", None):
        architecture.layer_types = architecture.layer_types[: config.layers]
    return architecture


def _set_dropout(architecture, probability: float) -> None:
    rates = {
        key: value for key, value in architecture.to_dict().items() if "dropout" in key and "classifier" not in key
    }
    names = [key for key, value in rates.items() if isinstance(value, int | float)]
    if not names:
        raise InputError(f"model.dropout is set, but backbones of type {architecture.model_type} have none; unset it.")
    for name in names:
        setattr(architecture, name, probability)


def _fused(backbone: nn.Module) -> nn.Module:
    """Let torch's one kernel compute T5's GELU (tanh's approximation), which transformers writes as eight operations.

    Equal but for rounding; the eight keep half of all that a layer of mT5 holds for the backward pass.
    """
    from transformers.activations import NewGELUActivation

    for module in list(backbone.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, NewGELUActivation):
                setattr(module, name, nn.GELU(approximate="tanh"))
    return backbone


def check_encodes(backbone: nn.Module, name: str | None) -> None:
    """Raise InputError where a backbone is more than an encoder."""
    if "decoder_input_ids" in signature(backbone.forward).parameters:
        raise InputError(
            f"model.name = {name}: a {type(backbone).__name__} has a decoder, whose states would be pooled; give an "
            "encoder, or one of T5's family, which load as their encoder alone."
        )


def _factory(architecture, config: ModelConfig):
    """Return the auto class for an architecture and its arguments.

    T5's family loads as its encoder alone. BERT's would add a pooler that is random and gets no gradient, which DDP
    takes for an error. Old architectures, such as MPNet, know only the eager attention.
    """
    from transformers import AutoModel, AutoModelForTextEncoding

    known = type(architecture) in AutoModelForTextEncoding._model_mapping
    factory = AutoModelForTextEncoding if known else AutoModel
    arguments = {"attn_implementation": implementation(architecture, config)}
    # AutoModel has classes for more than text encoders, MPNet's among them; remote code has one in neither.
    classes = factory._model_mapping.get(type(architecture), ())
    for one in classes if isinstance(classes, tuple) else (classes,):
        if "add_pooling_layer" in signature(one.__init__).parameters:
            arguments["add_pooling_layer"] = False
        if config.attention == "auto" and not one._supports_sdpa:
            arguments["attn_implementation"] = "eager"
    return factory, arguments
