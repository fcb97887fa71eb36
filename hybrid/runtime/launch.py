"""From how a job was launched to an Accelerator that really has the processes it was launched with."""

import os

from hybrid.runtime.errors import InputError
from hybrid.runtime.logs import log, quiet_libraries


def start(precision: str):
    """Join the process group and return the Accelerator; "fp32" or "bf16" comes from the recipe alone.

    Raises InputError where the launcher asks for another precision or accumulation, or where its processes do not find
    each other (accelerate on a CPU then trains as many times, silently).
    """
    quiet_libraries()
    _check_launcher(precision)
    from accelerate import Accelerator, InitProcessGroupKwargs

    handlers = [] if _has_gpu() else [InitProcessGroupKwargs(backend="gloo")]
    accelerator = Accelerator(mixed_precision="bf16" if precision == "bf16" else "no", kwargs_handlers=handlers)
    started = int(os.environ.get("WORLD_SIZE", 1))
    if started != accelerator.num_processes:
        raise InputError(
            f"{started} processes were launched, but each is alone (world size {accelerator.num_processes}); without "
            "GPUs launch with ACCELERATE_USE_CPU=true and --multi_gpu, as accelerate_configs/cpu_2.yaml says."
        )
    kind = accelerator.distributed_type.value.lower()
    log(f"world size {accelerator.num_processes} ({kind}), {accelerator.device.type}, {precision}")
    return accelerator


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available() and os.environ.get("ACCELERATE_USE_CPU", "").lower() not in ("1", "true", "yes")


def _check_launcher(precision: str) -> None:
    asked = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if asked not in ("no", "bf16" if precision == "bf16" else "no"):
        raise InputError(
            f"the launcher asks for mixed precision {asked}, the recipe for training.precision {precision}; the "
            "recipe decides: launch with --mixed_precision no."
        )
    if int(os.environ.get("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", 1)) != 1:
        raise InputError(
            "the launcher asks for gradient accumulation, which adds no negatives; remove it and set "
            "training.cache_tokens, which keeps the contrastive batch whole."
        )
