"""The whole configuration: what the rooms own, composed; read from YAML and flags, checked first."""

import re
import sys
from dataclasses import dataclass
from pathlib import Path

from hybrid.data.config import DataConfig
from hybrid.evaluation.benchmarks import BenchmarkConfig
from hybrid.models.config import ModelConfig
from hybrid.runtime.errors import InputError, nearest
from hybrid.runtime.tracking import TrackingConfig
from hybrid.sampling.config import MixtureConfig
from hybrid.training.config import ObjectiveConfig, TrainingConfig

QUICKSTART = Path(__file__).parent / "recipes" / "quickstart.yaml"


@dataclass
class Config:
    """A training job."""

    data: DataConfig
    """Data sets, passage form, development split, leakage check."""
    mixture: MixtureConfig
    """Shares of kinds, data sets, languages and pairs; form of batches."""
    model: ModelConfig
    """The encoder."""
    objective: ObjectiveConfig
    """The loss."""
    training: TrainingConfig
    """Steps, rates, precision, checkpoints."""
    benchmark: BenchmarkConfig
    """What is scored at the end."""
    tracking: TrackingConfig
    """MLflow."""
    resume: bool
    """Go on with the run in training.output/training.name from its newest whole checkpoint."""
    overwrite: bool
    """Remove what training.output/training.name holds and start anew."""
    text: str
    """The resolved configuration as YAML."""

    @property
    def folder(self) -> Path:
        """Where this run keeps everything."""
        return Path(self.training.output) / self.training.name


def make_parser():
    """Return the parser of train.py: every field of the configuration is a flag and a key of the YAML file."""
    from jsonargparse import ActionConfigFile, ArgumentParser

    parser = ArgumentParser(
        prog="train.py",
        description="Train a language-agnostic dense retriever on hybrid batches. Without --config: the quickstart.",
        exit_on_error=False,
    )
    parser.add_argument("--config", action=ActionConfigFile, help="A recipe; flags after it change single fields.")
    rooms = {
        "data": DataConfig,
        "mixture": MixtureConfig,
        "model": ModelConfig,
        "objective": ObjectiveConfig,
        "training": TrainingConfig,
        "benchmark": BenchmarkConfig,
        "tracking": TrackingConfig,
    }
    for name, room in rooms.items():
        parser.add_class_arguments(room, name)
    parser.add_argument("--resume", action="store_true", help="Go on from the newest whole checkpoint of this run.")
    parser.add_argument("--overwrite", action="store_true", help="Remove what this run's folder holds, start anew.")
    return parser


def read_config(arguments: list[str] | None = None) -> Config:
    """Read flags and YAML; raises InputError that names the key for whatever is unknown, ill-typed or contradictory."""
    from jsonargparse import ArgumentError

    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not any(argument.split("=")[0] == "--config" for argument in arguments):
        arguments = ["--config", str(QUICKSTART), *arguments]
    parser = make_parser()
    try:
        values = parser.parse_args(arguments)
        rooms = parser.instantiate_classes(values)
    except ArgumentError as error:
        raise InputError(_sentence(error, parser)) from error
    text = parser.dump(values.clone(), skip_check=True)
    given = {name: getattr(rooms, name) for name in Config.__dataclass_fields__ if name != "text"}
    config = Config(**given, text=text)
    _check_across_rooms(config)
    return config


def _sentence(error: Exception, parser) -> str:
    """Return jsonargparse's complaint as one sentence, with the nearest known key for an unknown one."""
    text = " ".join(str(error).split())
    unknown = re.search(r"(?:Unrecognized arguments: --|Key ['\"]?)([\w.]+)", text)
    if unknown:
        known = {action.dest for action in parser._actions}
        return f"{text}{nearest(unknown[1], known)}; --help lists all keys."
    return text


def _check_across_rooms(config: Config) -> None:
    if config.resume and config.overwrite:
        raise InputError("--resume and --overwrite are both given; the one goes on with the run, the other removes it.")
    if config.benchmark.tasks and not config.benchmark.data_dir:
        raise InputError(
            "benchmark.tasks is set, but benchmark.data_dir is not; give the folder that holds their files."
        )
    if config.training.keep_best and config.data.dev is None:
        raise InputError("training.keep_best is set, but there is no development split; set data.dev.articles.")
