"""The whole configuration: what the rooms own, composed; read from YAML and flags, checked first."""

import re
import sys
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Literal

from hybrid.data.config import DataConfig
from hybrid.evaluation.config import BenchmarkConfig
from hybrid.kinds import check_kinds
from hybrid.models.config import ModelConfig
from hybrid.runtime.errors import InputError, nearest, unwrapped
from hybrid.runtime.tracking import TrackingConfig
from hybrid.runtime.yaml_files import read_yaml
from hybrid.sampling import MixtureConfig, lanes_of
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
    check_gradients: Literal["small", "model"] | None
    """Train nothing: compare gradients and steps with those of one process, of a small encoder or the recipe's own."""
    text: str
    """The resolved configuration as YAML."""

    @property
    def folder(self) -> Path:
        """Where this run keeps everything."""
        return Path(self.training.output) / self.training.name


@cache
def make_parser():
    """Return the parser of train.py: every field of the configuration is a flag and a key of the YAML file."""
    from jsonargparse import ActionConfigFile, ArgumentParser, set_parsing_settings

    set_parsing_settings(docstring_parse_attribute_docstrings=True)
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
    parser.add_argument(
        "--check_gradients",
        nargs="?",
        const="small",
        choices=["small", "model"],
        help="Train nothing: compare gradients and steps on these processes with those of one; of a small encoder of "
        "the recipe's architecture, or of its own (model).",
    )
    return parser


def read_config(arguments: list[str] | None = None) -> Config:
    """Read flags and YAML; raises InputError that names the key for whatever is unknown, ill-typed or contradictory."""
    from jsonargparse import ArgumentError

    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not any(argument.split("=")[0] == "--config" for argument in arguments):
        arguments = ["--config", str(QUICKSTART), *arguments]
    _refuse_broken_yaml(arguments)
    parser = make_parser()
    try:
        values = parser.parse_args(arguments)
        with unwrapped():
            rooms = parser.instantiate_classes(values)
    except ArgumentError as error:
        raise InputError(sentence(error, parser)) from error
    text = parser.dump(values.clone(), skip_check=True)
    given = {name: getattr(rooms, name) for name in Config.__dataclass_fields__ if name != "text"}
    config = Config(**given, text=text)
    _check_across_rooms(config)
    return config


def _refuse_broken_yaml(arguments: list[str]) -> None:
    """Raise InputError for a --config file that is missing or no mapping of distinct keys, with the fault's place."""
    named = [b for a, b in pairwise([*arguments, ""]) if a == "--config"]
    named += [argument.partition("=")[2] for argument in arguments if argument.startswith("--config=")]
    for path in named:
        value = read_yaml(path)
        if not isinstance(value, dict):
            raise InputError(f"--config {path}: holds no sections; expected keys such as data, mixture and training.")


def sentence(error: Exception, parser) -> str:
    """Return jsonargparse's complaint as one sentence that begins with the key, and ends with the remedy."""
    text = " ".join(str(error).split())
    known = {action.dest for action in parser._actions}
    if found := re.search(r"unrecognized arguments: --([\w.]+)|Group '(\w+)' does not accept option '([\w.]+)'", text):
        key = found[1] or f"{found[2]}.{found[3]}"
        return f"{key} is not known{nearest(key, known)}; --help lists all keys."
    place = re.search(r'Parser key "([\w.]+)"', text)
    if found := re.search(r"Option '([\w.]+)' is not accepted", text):
        if not place:
            return f"{found[1]} is not known{nearest(found[1], known)}; --help lists all keys."
        return f"{place[1]}: {found[1]!r} is not known there; --help names the type, whose fields are its keys."
    key = place[1] if place else "the configuration"
    if found := re.search(r"Expected an? (.+?)\.? Got value: (.+)", text):
        return f"{key} is {found[2]!r}; expected {_plain(found[1])}."
    if found := re.search(r"Given value: (.+)$", text):
        expected = [_plain(kind) for kind in re.findall(r"Expected an? (typing\.Literal\[.*?\]|<class '\w+'>)", text)]
        return f"{key} is {found[1]!r}; expected {' or '.join(expected) or 'another type, see --help'}."
    return text


def _plain(kind: str) -> str:
    """Return a type as users write it: ``'mean', 'cls'`` or ``int``; null for NoneType."""
    inner = re.sub(r"typing\.Literal\[(.*)\]|<class '(\w+)'>", lambda m: m[1] or m[2], kind)
    return "null" if inner == "NoneType" else f"one of {inner}" if "," in inner else inner


def _check_across_rooms(config: Config) -> None:
    if config.resume and config.overwrite:
        raise InputError("--resume and --overwrite are both given; the one goes on with the run, the other removes it.")
    if config.benchmark.tasks and not config.benchmark.data_dir:
        raise InputError(
            "benchmark.tasks is set, but benchmark.data_dir is not; give the folder that holds their files."
        )
    lanes_of(config.mixture, config.training.global_batch)
    check_kinds(config.data, config.mixture, config.objective, config.model)
    if config.training.keep_best and config.data.dev is None:
        raise InputError("training.keep_best is set, but there is no development split; set data.dev.articles.")
    if config.training.evaluate_every and config.data.dev is None:
        raise InputError(
            "training.evaluate_every is set, but there is no development split to evaluate; set data.dev.articles, or "
            "leave evaluate_every away."
        )
