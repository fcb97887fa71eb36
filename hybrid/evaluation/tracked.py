"""Runs in MLflow, found again by id or name: where their files and models are, and how their loss went."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from hybrid.runtime.errors import InputError
from hybrid.runtime.files import read_json
from hybrid.runtime.processes import gather_objects, is_main
from hybrid.runtime.tracking import SENT


@dataclass(frozen=True)
class Target:
    """A model that is scored.

    Attributes:
        path: directory or hub id.
        run: MLflow id of the run that made it and gets its scores, None for a run of its own.
        name: of the MLflow run, and of the model where a run has several.
        step: the last training step, at which its scores stand.
        prefix: before the names of metrics; empty unless a run has several models.
    """

    path: str
    run: str | None = None
    name: str = ""
    step: int = 0
    prefix: str = ""


def client_of(uri: str | None):
    """Return MLflow's client for a tracking server or store, None for MLflow's own choice."""
    import mlflow

    return mlflow.MlflowClient(tracking_uri=uri)


def find_run(place: str, uri: str | None):
    """Return the MLflow run of an id, or of a name that one run has; raises InputError where there is none, or more."""
    from mlflow.exceptions import MlflowException

    client = client_of(uri)
    try:
        return client.get_run(place)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise InputError(f"{place}: the tracking server cannot be asked for it ({error}).") from error
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    name = place.replace("'", "''")
    runs = client.search_runs(experiments, f"attributes.run_name = '{name}'", max_results=2)
    if len(runs) != 1:
        count = "more than one run" if runs else "no run"
        raise InputError(
            f"{place}: is no folder, no MLflow run id, and the name of {count} in MLflow; give a folder, a run's id or "
            "a name that one run has (--tracking_uri or --tracking.uri says where runs are looked for)."
        )
    return runs[0]


def download(run_id: str, uri: str | None, artifact: str = "", target: str | Path | None = None) -> Path:
    """Return a folder with a run's artifacts, all or those below one path; a temporary folder unless one is given."""
    target = Path(target or tempfile.mkdtemp(prefix="hybrid-run-"))
    target.mkdir(parents=True, exist_ok=True)
    return Path(client_of(uri).download_artifacts(run_id, artifact, str(target)))


def run_targets(place: str, uri: str | None, folder: str | Path) -> list[Target]:
    """Return the models of an MLflow run: those in its folder if it is here, else among its artifacts.

    Every rank has to call it; the main one asks and downloads.

    Args:
        place: id or name of the run.
        folder: where models that are artifacts are downloaded to, a folder for each run.

    Raises InputError, on every rank, where there is no such run or it has no model.
    """
    found, error = [], None
    if is_main():
        try:
            found = _run_targets(place, uri, Path(folder))
        except InputError as raised:
            error = raised
    found, error = gather_objects((found, error))[0]
    if error:
        raise error
    return found


def _run_targets(place: str, uri: str | None, folder: Path) -> list[Target]:
    run = find_run(place, uri)
    here = Path(run.data.tags.get("folder", "nowhere"))
    run_id = run.info.run_id
    own = _of_run(here, run_id)
    models = model_folders(here) if own else []
    if not models:
        client = client_of(uri)
        for item in client.list_artifacts(run_id):
            if item.is_dir and any(
                inner.path.endswith("/config.json") for inner in client.list_artifacts(run_id, item.path)
            ):
                download(run_id, uri, item.path, folder / run_id)
        models = model_folders(folder / run_id)
    if not models:
        raise InputError(
            f"--mlflow_run: run {place} has no model: neither in its folder ({here}"
            f"{'' if own else ', where another run has taken its place'}) nor among its "
            "artifacts; give the model's directory with --model."
        )
    # MLflow keeps a parameter's first value; of a run that was lengthened the new one is a tag.
    step = int(run.data.tags.get("changed.training.steps") or run.data.params.get("training.steps", 0))
    name = run.info.run_name
    if len(models) == 1:
        return [Target(str(models[0]), run_id, name, step)]
    return [Target(str(path), run_id, name, step, f"{path.name}/") for path in models]


def _of_run(folder: Path, run_id: str) -> bool:
    """Return whether what lies in a run's folder is still that run's: another may have taken its place."""
    return not (folder / SENT).exists() or read_json(folder / SENT)["run_id"] in (run_id, None)


def model_folders(folder: Path) -> list[Path]:
    """Return the model directories in a folder: those with a configuration and weights."""
    return sorted(path.parent for path in folder.glob("*/config.json") if any(path.parent.glob("*.safetensors")))
