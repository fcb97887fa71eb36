"""Score encoders on retrieval benchmarks: `accelerate launch evaluate.py --model DIR --tasks xquad-r --data_dir DIR`.

Each model and task gets a folder of results, from which every figure can be recomputed; a second call only shows them.
"""

import sys
from dataclasses import replace

from jsonargparse import ArgumentParser, Namespace

from hybrid.evaluation.config import EvaluationConfig
from hybrid.evaluation.evaluator import evaluate_encoder, load_tasks
from hybrid.evaluation.results import model_digest, model_paths, results_folder
from hybrid.evaluation.table import scores_table
from hybrid.evaluation.task import registry
from hybrid.models.config import ModelConfig
from hybrid.models.load import load_encoder
from hybrid.runtime.errors import InputError
from hybrid.runtime.launch import start
from hybrid.runtime.logs import log
from hybrid.runtime.tracking import Tracker, TrackingConfig


def read_arguments(arguments: list[str] | None = None) -> Namespace:
    """Return the command line, with every field of the configuration as a flag."""
    parser = ArgumentParser(prog="evaluate.py", description=__doc__)
    parser.add_argument("--config", action="config", help="YAML file with any of these fields")
    parser.add_argument("--model", nargs="+", required=True, help="model directories, globs or hub ids")
    parser.add_argument("--tasks", nargs="+", required=True, help=f"any of {', '.join(sorted(registry()))}")
    parser.add_argument("--data_dir", required=True, help="folder with a sub-folder for each task's files")
    parser.add_argument("--out_dir", default="results", help="where each model gets a folder of results")
    parser.add_argument("--encoder", type=ModelConfig, default=ModelConfig(), help="how the models are loaded")
    parser.add_argument("--evaluation", type=EvaluationConfig, default=EvaluationConfig(), help="how they are scored")
    parser.add_argument("--tracking", type=TrackingConfig, default=TrackingConfig(), help="where scores are logged")
    return parser.instantiate(parser.parse_args(arguments))


def evaluate(arguments: Namespace) -> None:
    """Score every model on every task; tasks are read before the first model is loaded."""
    paths = model_paths(arguments.model)
    tasks = load_tasks(arguments.tasks, arguments.data_dir)
    accelerator = start(arguments.evaluation.encoding.precision)
    for path in paths:
        encoder = load_encoder(replace(arguments.encoder, name=path)).to(accelerator.device)
        digest = model_digest(encoder)
        folder = results_folder(arguments.out_dir, path, digest)
        tracker = Tracker(folder, f"evaluate {folder.name}", arguments.tracking)
        tracker.tags({"job": "evaluate", "model": path, "model_digest": digest})
        metrics = evaluate_encoder(encoder, tasks, folder, arguments.evaluation, digest)
        tracker.metrics(metrics)
        for task in tasks:
            for name in ("scores.json", "per_query.parquet", "map.png", "multilingual.languages.png", "accuracy.png"):
                if (folder / task.task.name / name).exists():
                    tracker.artifact(folder / task.task.name / name, task.task.name)
        tracker.close()
        log(f"\n{path}\n{scores_table(metrics)}\nresults: {folder}")
    accelerator.end_training()


def main() -> None:
    """Run as a command: bad input is told in one sentence, with status 2."""
    try:
        evaluate(read_arguments())
    except InputError as error:
        log(f"error: {error}")
        sys.exit(2)


if __name__ == "__main__":
    main()
