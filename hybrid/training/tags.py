"""The tags by which MLflow runs are told apart, kept in the folder of a training for whoever scores its model later."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from hybrid.runtime.files import read_json
from hybrid.training.report import mixture_line

TAGS = "tags.json"


def training_tags(config, languages: Sequence[str], digests: Mapping[str, str]) -> dict[str, str]:
    """Return the tags of what a training comes to: mixture, encoder, languages, seed, and each data set's digest.

    Args:
        config: a `hybrid.config.Config`.
        digests: of the data sets, by name.
    """
    return {
        "mixture": mixture_line(config.mixture),
        "encoder": base_name(config),
        "languages": " ".join(languages),
        "seed": str(config.training.seed),
        **{f"digest.{name}": value for name, value in digests.items()},
    }


def tags_beside(model: str) -> dict[str, str]:
    """Return the tags of the training that wrote a model directory, empty where that is not known."""
    file = Path(model).resolve().parent / TAGS
    return read_json(file) if Path(model).is_dir() and file.exists() else {}


def base_name(config) -> str:
    """Return what the encoder of a `hybrid.config.Config` started from."""
    scratch = config.model.from_scratch
    return f"a random {scratch.model_type}" if scratch else str(config.model.name)
