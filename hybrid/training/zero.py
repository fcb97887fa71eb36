"""DeepSpeed ZeRO: what the recipe decides goes into DeepSpeed's configuration, and nothing else may be there."""

import os

from hybrid.runtime.errors import InputError
from hybrid.runtime.files import read_json
from hybrid.training.config import TrainingConfig

_RECIPES = {
    "train_batch_size": "training.global_batch",
    "train_micro_batch_size_per_gpu": "training.global_batch",
    "gradient_accumulation_steps": "training.cache_tokens",
    "gradient_clipping": "training.clip",
    "bf16": "training.precision",
    "fp16": "training.precision",
    "optimizer": "training.learning_rate and training.weight_decay",
    "scheduler": "training.decay",
}
"""DeepSpeed's keys that are the recipe's to set."""


def shards_weights(accelerator) -> bool:
    """Return whether no rank holds all weights (ZeRO-3), so that the encoder runs inside the engine alone."""
    return uses_deepspeed(accelerator) and accelerator.state.deepspeed_plugin.zero_stage == 3


def load_whole_models() -> None:
    """Make transformers load whole weights again; while a ZeRO-3 job is on, it spreads what it loads over the ranks."""
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    unset_hf_deepspeed_config()


def uses_deepspeed(accelerator) -> bool:
    """Return whether the job was launched with DeepSpeed."""
    return accelerator.state.deepspeed_plugin is not None


def configure_zero(accelerator, config: TrainingConfig) -> None:
    """Put batch, clipping and precision of the recipe into DeepSpeed's configuration; every rank calls it.

    Raises InputError where the configuration file sets what is the recipe's, or ZeRO cannot do what that asks for.
    """
    place = os.environ.get("ACCELERATE_DEEPSPEED_CONFIG_FILE")
    for key in set(read_json(place) if place else {}) & set(_RECIPES):
        raise InputError(f"{place}: sets {key!r}, which is the recipe's ({_RECIPES[key]}); remove it there.")
    if config.cache_tokens:
        raise InputError(
            "training.cache_tokens is set, but the gradient cache is not proven under DeepSpeed yet; launch without it "
            "(DDP), or unset training.cache_tokens."
        )
    settings = accelerator.state.deepspeed_plugin.deepspeed_config
    rows = config.global_batch // accelerator.num_processes
    settings["train_micro_batch_size_per_gpu"] = rows
    settings["train_batch_size"] = config.global_batch
    settings["gradient_accumulation_steps"] = 1
    # DeepSpeed, and accelerate's "auto", clip at 1.0 unless told otherwise; 0.0 alone leaves the gradient as it is.
    settings["gradient_clipping"] = float(config.clip)
    settings["bf16"] = {"enabled": config.precision == "bf16"}
    settings["zero_allow_untested_optimizer"] = True
