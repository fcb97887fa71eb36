"""Score encoders on retrieval benchmarks: `accelerate launch evaluate.py --model DIR --tasks xquad-r --data_dir DIR`.

Each model and task gets a folder of results, from which every figure can be recomputed; a second call only shows them.
"""

from dataclasses import replace
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from hybrid.evaluation.config import EvaluationConfig
from hybrid.evaluation.evaluator import check_scoring, evaluate_encoder
from hybrid.evaluation.loading import LoadedTask, find_tasks, load_tasks
from hybrid.evaluation.results import (
    check_models,
    computed_with,
    model_digest,
    model_paths,
    results_folder,
    write_origin,
)
from hybrid.evaluation.table import scores_table
from hybrid.evaluation.task import registry
from hybrid.evaluation.tracked import Target, run_targets
from hybrid.models.config import ModelConfig
from hybrid.models.load import load_encoder
from hybrid.runtime.ending import STALL_SECONDS, Ending
from hybrid.runtime.errors import InputError, unwrapped
from hybrid.runtime.interruption import INTERRUPTED, leave, listen, run_to_end
from hybrid.runtime.launch import start
from hybrid.runtime.logs import bad_input_told, log
from hybrid.runtime.processes import Interrupted
from hybrid.runtime.tracking import Tracker, TrackingConfig
from hybrid.training.tags import tags_beside


def read_arguments(arguments: list[str] | None = None) -> Namespace:
    """Return the command line, with every field of the configuration as a flag."""
    parser = ArgumentParser(prog="evaluate.py", description=__doc__)
    parser.add_argument("--config", action="config", help="YAML file with any of these fields")
    parser.add_argument("--model", nargs="+", default=[], help="model directories, globs or hub ids")
    parser.add_argument(
        "--mlflow_run",
        nargs="+",
        default=[],
        help="MLflow runs, by id or name, whose models are scored; they get the scores",
    )
    parser.add_argument("--tasks", nargs="+", required=True, help=f"any of {', '.join(sorted(registry()))}")
    parser.add_argument("--data_dir", required=True, help="folder with a sub-folder for each task's files")
    parser.add_argument("--out_dir", default="results", help="where each model gets a folder of results")
    parser.add_argument("--reader", type=str | None, help="extractive question-answering model, for mlqa's answer F1")
    parser.add_argument("--encoder", type=ModelConfig, default=ModelConfig(), help="how the models are loaded")
    parser.add_argument("--evaluation", type=EvaluationConfig, default=EvaluationConfig(), help="how they are scored")
    parser.add_argument("--tracking", type=TrackingConfig, default=TrackingConfig(), help="where scores are logged")
    with unwrapped():
        found = parser.instantiate(parser.parse_args(arguments))
    if found.reader and found.evaluation.reader not in (None, found.reader):
        raise InputError(f"--reader {found.reader}: evaluation.reader is {found.evaluation.reader}; give one of them.")
    found.evaluation.reader = found.reader or found.evaluation.reader
    return found


def evaluate(arguments: Namespace) -> None:
    """Score every model on every task; bad places are told, and tasks read, before the first model is loaded."""
    if not arguments.model and not arguments.mlflow_run:
        raise InputError("neither --model nor --mlflow_run is given; say which models are to be scored.")
    for key in ("name", "from_scratch"):
        if value := getattr(arguments.encoder, key):
            raise InputError(f"--encoder.{key} is {value}, but what is scored is given as --model; remove it.")
    targets = [Target(path) for path in model_paths(arguments.model)]
    find_tasks(arguments.tasks, arguments.data_dir)
    accelerator = start(arguments.evaluation.encoding.precision, stall_seconds=STALL_SECONDS)
    with Ending("the same command goes on with the embeddings and scores that are written") as ending:
        for run in arguments.mlflow_run:
            targets += run_targets(run, arguments.tracking.uri, Path(arguments.out_dir) / "models")
        check_models([target.path for target in targets], arguments.encoder)
        tasks = load_tasks(arguments.tasks, arguments.data_dir, arguments.evaluation.lir)
        check_scoring(tasks, arguments.evaluation)
        for target in targets:
            evaluate_target(target, tasks, arguments, accelerator.device, ending)


def evaluate_target(target: Target, tasks: list[LoadedTask], arguments: Namespace, device, ending: Ending) -> None:
    """Score one model, log its scores, and show them."""
    encoder = load_encoder(replace(arguments.encoder, name=target.path)).to(device)
    digest = model_digest(encoder)
    folder = results_folder(arguments.out_dir, target.path, digest)
    write_origin(folder, target.path, digest)
    journal = folder / "runs" / target.run if target.run else folder
    tracker = Tracker(journal, target.name or f"evaluate {folder.name}", arguments.tracking, target.run)
    ending.tracker = tracker
    if not target.run:
        about = computed_with(encoder, arguments.evaluation.encoding.precision)
        about = {key: about[key] for key in ("device", "processes", "precision", "git")}
        trained = tags_beside(target.path)
        tracker.tags({"job": "evaluate", "model": target.path, "model_digest": digest, **trained, **about})
    metrics = evaluate_encoder(encoder, tasks, folder, arguments.evaluation, digest)
    tracker.metrics({f"{target.prefix}{name}": value for name, value in metrics.items()}, target.step)
    for task in dict.fromkeys(name.split("/")[0] for name in metrics):
        for file in sorted((folder / task).iterdir()):
            if file.name == "scores.json" or file.suffix in (".parquet", ".png"):
                tracker.artifact(file, f"results/evaluate/{target.prefix}{task}")
    if not target.run:
        tracker.describe(scores_table(metrics))
    tracker.close()
    ending.tracker = None
    log(f"\n{target.path}\n{scores_table(metrics)}\nresults: {folder}\nrun:     {tracker.place()}")


def main() -> None:
    """Run as a command: bad input is told in one sentence, with status 2; a signal ends it at the next boundary."""
    listen()
    try:
        with bad_input_told():
            evaluate(read_arguments())
    except Interrupted:
        leave(INTERRUPTED)


if __name__ == "__main__":
    run_to_end(main)
