"""DeepSpeed ZeRO: what the recipe decides goes into DeepSpeed's configuration, and nothing else may be there."""

import os
from typing import Any

from hybrid.runtime.errors import InputError
from hybrid.runtime.files import read_json
from hybrid.training.config import TrainingConfig

_REFUSED = {
    "optimizer": "it is AdamW with training.learning_rate and training.weight_decay",
    "scheduler": "the rate follows training.warmup_steps and training.decay",
    "data_types": "gradients are held in the precision of the weights, training.precision",
    "torch_autocast": "the precision is training.precision",
    "amp": "the precision is training.precision",
    "communication_data_type": "gradients are exchanged in the precision of the weights, training.precision",
    "elasticity": "it puts batch and accumulation of its own in place of the recipe's",
    "tensor_parallel": "each process has rows of its own, none shares a row with others",
    "sequence_parallel_size": "each process has rows of its own, none shares a row with others",
    "expert_parallel": "each process has rows of its own, none shares a row with others",
    "disable_allgather": "each rank would go on with weights that only it has stepped",
    "checkpoint": "checkpoints are written and read as training.checkpoint_every and --resume say",
    "zero_optimization.elastic_checkpoint": "checkpoints are written and read as --resume needs them",
    "compression_training": "it trains other weights than the recipe's",
    "progressive_layer_drop": "it trains other layers in each step than the recipe's",
    "data_efficiency": "the sampler alone decides what is in a batch",
    "curriculum_learning": "the sampler alone decides what is in a batch",
    "zero_optimization.zero_quantized_gradients": "it rounds gradients to 4 bits",
    "zero_optimization.zero_quantized_weights": "it rounds weights to 8 bits",
    "managed_gradient_accumulation": "a step is one global batch, whose chunks training.cache_tokens makes",
    "zero_optimization.zenflow": "it applies gradients in later steps than theirs",
    "zero_optimization.compute_grad_norm": "the norm tells gradients that are not finite, and training.clip needs it",
}
"""Keys that may not be in DeepSpeed's configuration, and why."""

_NAMES = {
    "train_batch_size": "training.global_batch",
    "train_micro_batch_size_per_gpu": "training.global_batch by the number of processes",
    "gradient_accumulation_steps": "one step being one global batch (training.cache_tokens saves memory)",
    "gradient_clipping": "training.clip",
    "gradient_allreduce_op": "the loss of the joined batch being the mean over ranks",
    "bf16.enabled": "training.precision",
    "fp16.enabled": "training.precision",
}
"""Keys that may repeat what the recipe says, and where it says so."""


def zero_stage(accelerator) -> int | None:
    """Return the ZeRO stage, None where the job was not launched with DeepSpeed."""
    plugin = accelerator.state.deepspeed_plugin
    return plugin.zero_stage if plugin else None


def shards_weights(accelerator) -> bool:
    """Return whether no rank holds all weights (ZeRO-3), so that the encoder runs inside the engine alone."""
    return zero_stage(accelerator) == 3


def load_whole_models() -> None:
    """Make transformers load whole weights again; while a ZeRO-3 job is on, it spreads what it loads over the ranks."""
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    unset_hf_deepspeed_config()


def configure_zero(accelerator, config: TrainingConfig) -> None:
    """Put batch, clipping and precision of the recipe into DeepSpeed's configuration; every rank calls it.

    Raises InputError where the configuration file or the launcher contradicts the recipe, or ZeRO cannot do what that
    asks for.
    """
    stage, wanted = zero_stage(accelerator), _wanted(accelerator, config)
    place = os.environ.get("ACCELERATE_DEEPSPEED_CONFIG_FILE")
    _check_file(place, read_json(place) if place else {}, wanted)
    _check_launcher(wanted)
    if stage == 0 and config.precision == "bf16":
        raise InputError(
            "training.precision is bf16 under ZeRO-0, where DeepSpeed clips and skips behind the job's back; launch "
            "with DDP, which does the same work (accelerate_configs/), or with ZeRO 1 to 3."
        )
    settings = accelerator.state.deepspeed_plugin.deepspeed_config
    for key in ("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps"):
        settings[key] = wanted[key]
    # DeepSpeed, and accelerate's "auto", clip at 1.0 unless told otherwise; 0.0 alone leaves the gradient as it is.
    # Without ZeRO it would clip and step by a gradient that is not finite: the engine does that itself.
    settings["gradient_clipping"] = wanted["gradient_clipping"] if stage else 0.0
    settings["fp16"] = {"enabled": False}
    settings["bf16"] = {"enabled": wanted["bf16.enabled"], "check_grad_overflow": True}
    settings["zero_allow_untested_optimizer"] = True
    if stage == 3:
        # The model that is kept is gathered from all ranks.
        settings["zero_optimization"]["stage3_gather_16bit_weights_on_model_save"] = True


def _wanted(accelerator, config: TrainingConfig) -> dict[str, Any]:
    """Return what the recipe has DeepSpeed do, by DeepSpeed's keys."""
    return {
        "train_batch_size": config.global_batch,
        "train_micro_batch_size_per_gpu": config.global_batch // accelerator.num_processes,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": float(config.clip),
        "gradient_allreduce_op": "mean",
        "bf16.enabled": config.precision == "bf16",
        "fp16.enabled": False,
    }


def _check_file(place: str | None, settings: dict, wanted: dict[str, Any]) -> None:
    for key, reason in _REFUSED.items():
        if _value(settings, key) is not None:
            raise InputError(f"{place}: sets {key!r}, but {reason}; remove it there.")
    for key, value in wanted.items():
        found = _value(settings, key)
        if found not in (None, "auto", value):
            raise InputError(
                f"{place}: {key} is {found}, but the recipe has {value} ({_NAMES[key]}); remove it there, the recipe "
                "decides."
            )
    for key in ("bf16", "fp16"):
        section = settings.get(key, {})
        if not isinstance(section, dict):
            raise InputError(f"{place}: {key} is {section!r} and no section; remove it, the precision is the recipe's.")
        if more := set(section) - {"enabled"}:
            raise InputError(f"{place}: sets {key}.{min(more)}, but the precision is the recipe's; remove it there.")


def _check_launcher(wanted: dict[str, Any]) -> None:
    asked = os.environ.get("ACCELERATE_GRADIENT_CLIPPING", "auto")
    if asked != "auto" and float(asked) != wanted["gradient_clipping"]:
        raise InputError(
            f"the launcher asks for gradient clipping at {asked}, the recipe for {wanted['gradient_clipping']} "
            "(training.clip); launch without --gradient_clipping, the recipe decides."
        )


def _value(settings: dict, key: str) -> Any:
    """Return the value of a dotted key, None where it is not set."""
    for part in key.split("."):
        settings = settings.get(part) if isinstance(settings, dict) else None
    return settings
