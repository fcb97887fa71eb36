"""Adapters of low rank (LoRA, Hu et al. 2021, arXiv 2106.09685) through peft, inside the backbone."""

from collections.abc import Mapping

from torch import Tensor, nn

from hybrid.models.config import LoraConfig
from hybrid.runtime.errors import InputError, first_line

ALL = "all-linear"
"""peft's word for every linear layer."""
_NAME = "default"


def add_adapters(backbone: nn.Module, config: LoraConfig) -> None:
    """Freeze the backbone and give its linear layers adapters, which alone are trained; they change nothing at first.

    Raises InputError where a target names no linear layer.
    """
    import peft

    linear = {name.rsplit(".", 1)[-1] for name, module in backbone.named_modules() if isinstance(module, nn.Linear)}
    for target in config.targets or []:
        if target not in linear:
            raise InputError(f"model.lora.targets names {target!r}; the backbone's linear layers are {sorted(linear)}.")
    settings = peft.LoraConfig(
        r=config.rank, lora_alpha=config.alpha, lora_dropout=config.dropout, target_modules=config.targets or ALL
    )
    try:
        peft.inject_adapter_in_model(settings, backbone, adapter_name=_NAME)
    except ValueError as error:
        raise InputError(f"model.lora: peft cannot adapt this backbone ({first_line(error)}).") from error


def check_own(backbone: nn.Module, name: str | None) -> None:
    """Raise InputError where transformers has loaded adapters that lie beside the weights: training could not save."""
    if getattr(backbone, "_hf_peft_config_loaded", False):
        raise InputError(
            f"model.name = {name}: holds adapters beside its weights (adapter_config.json), with which no trained "
            "encoder could be saved; merge them into the weights first (peft's merge_and_unload)."
        )


def merged(backbone: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the backbone's parameters under the names that they have without adapters, W + alpha/rank · B A for W.

    `state` need not lie in the modules: under ZeRO-3 no rank's modules hold whole matrices.
    """
    state = dict(state)
    for name, module in backbone.named_modules():
        if not hasattr(module, "base_layer"):
            continue
        down, up = (state.pop(f"{name}.lora_{part}.{_NAME}.weight") for part in "AB")
        for key in [key for key in state if key.startswith(f"{name}.base_layer.")]:
            state[f"{name}.{key.rsplit('.', 1)[-1]}"] = state.pop(key)
        weight = state[f"{name}.weight"]
        added = module.scaling[_NAME] * (up.float() @ down.float())
        state[f"{name}.weight"] = (weight.float() + added).to(weight.dtype)
    return state
