"""What an engine's optimizer holds of each parameter, whole and in fp32, however ZeRO spreads it over the ranks."""

import torch
from torch import Tensor, nn

from hybrid.training.engine import Engine


def trained(engine: Engine) -> dict[str, nn.Parameter]:
    """Return the parameters that are trained, by name."""
    return {name: value for name, value in engine.module.named_parameters() if value.requires_grad}


def weight(engine: Engine, parameter: nn.Parameter) -> Tensor:
    """Return a copy of a parameter's values in fp32, on the CPU; every rank calls it and gets it."""
    if not engine.stage:
        return _copy(parameter)
    if parameter.requires_grad:
        from deepspeed.utils import safe_get_full_fp32_param

        return _copy(safe_get_full_fp32_param(parameter))
    import deepspeed

    with deepspeed.zero.GatheredParameters([parameter] if engine.stage == 3 else []):
        return _copy(parameter)


def moment(engine: Engine, parameter: nn.Parameter, name: str) -> Tensor:
    """Return a copy of AdamW's "exp_avg" or "exp_avg_sq" of a parameter, on the CPU; every rank calls it and gets it.

    The first is (1 - β1) g after the first step, so that it tells the gradient g that the optimizer was really given:
    reduced, averaged and clipped.
    """
    if not engine.stage:
        return _copy(engine.optimizer.optimizer.state[parameter][name])
    from deepspeed.utils import safe_get_full_optimizer_state

    if engine.stage < 3 and parameter._hp_mapping is not None:
        _link(engine.model.optimizer, parameter, name)
    return _copy(safe_get_full_optimizer_state(parameter, name))


def _link(zero, parameter: nn.Parameter, name: str) -> None:
    """Make DeepSpeed know its optimizer's state of a parameter: 0.19.8 knows the first group of parameters only."""
    if name not in parameter._hp_mapping.get_optim_state_keys():
        from deepspeed.utils import lazy_init_hp_params_optimizer_state

        for group, flat in zip(zero.bit16_groups, zero.single_partition_of_fp32_groups, strict=True):
            lazy_init_hp_params_optimizer_state(group, flat, zero.optimizer.state)


def _copy(value: Tensor) -> Tensor:
    return value.detach().to("cpu", torch.float32, copy=True)
