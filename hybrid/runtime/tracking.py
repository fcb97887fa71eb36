"""MLflow, through a journal: what is logged is written to a file first and sent from there.

A server that is down stops nothing: the training goes on, and what could not be sent is sent when the server is back,
or later by ``python -m hybrid.runtime.tracking RUN_FOLDER``.
"""

import json
import os
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hybrid.runtime.errors import InputError, first_line
from hybrid.runtime.files import read_json, write_json
from hybrid.runtime.logs import log, warn
from hybrid.runtime.mlflow_store import make_store
from hybrid.runtime.processes import is_main

JOURNAL, SENT = "tracking.jsonl", "tracking.json"
LONGEST_PARAMETER = 6000
"""Characters of a parameter's value that MLflow takes."""


@dataclass
class TrackingConfig:
    """Where runs are logged."""

    enabled: bool = True
    """Log to MLflow."""
    uri: str | None = None
    """Tracking server or store; unset takes MLFLOW_TRACKING_URI, else sqlite:///mlflow.db in this folder."""
    experiment: str = "hybrid"
    """Experiment in which the run appears."""
    tags: dict[str, str] = field(default_factory=dict)
    """Tags beside those that every run gets; mlflow.parentRunId puts the run below another."""
    retry_seconds: float = 30.0
    """Seconds between two attempts to reach a server that is down."""

    def __post_init__(self) -> None:
        if not self.retry_seconds > 0:
            raise InputError(f"tracking.retry_seconds is {self.retry_seconds}; give a positive number.")


class Tracker:
    """One run's journal and the thread that sends it; does nothing on other ranks than the main one."""

    def __init__(
        self, folder: str | Path, name: str, config: TrackingConfig, run_id: str | None = None, hold: bool = False
    ):
        """Open the journal in `folder`, going on with the MLflow run that it already belongs to.

        Args:
            run_id: of an MLflow run that something is added to; its status and times stay as they are.
            hold: send nothing before `adopt` has said which run a checkpoint names.
        """
        self.folder = Path(folder)
        self.on = config.enabled and is_main()
        self.adds = run_id is not None
        if not self.on:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        state = read_json(self.folder / SENT) if (self.folder / SENT).exists() else {"offset": 0, "run_id": run_id}
        uri = config.uri or os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
        self.state = {"uri": uri, "experiment": config.experiment, "name": name} | state
        if self.state["uri"] != uri:
            warn(f"tracking: {self.folder} goes on at {self.state['uri']}, where it began, and not at {uri}.")
        self.retry_seconds = config.retry_seconds
        self.unwritten: list[str] = []
        _mend(self.folder / JOURNAL)
        write_json(self.folder / SENT, self.state)
        self.news, self.closing, self.tried = threading.Event(), threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self._send_all, name="tracking", daemon=True)
        if not hold:
            self.thread.start()
        if not self.adds:
            self._write("begin", {})
        if config.tags:
            self.tags(config.tags)

    @property
    def run_id(self) -> str | None:
        """MLflow's id of this run, once it is known there."""
        return self.state["run_id"] if self.on else None

    def wait_for_id(self, wait_seconds: float) -> str | None:
        """Return MLflow's id of this run, None where the first attempt to reach the server fails or takes longer."""
        if self.on:
            self.tried.wait(wait_seconds)
        return self.run_id

    def adopt(self, run_id: str | None) -> None:
        """Send, to the MLflow run that a checkpoint names, if any, where the journal does not belong to one yet."""
        if not self.on:
            return
        if run_id and not self.state["run_id"]:
            self.state["run_id"] = run_id
        self.thread.start()

    def place(self) -> str:
        """Return where the run can be looked at, in words for the user."""
        if not self.on:
            return "not logged (tracking.enabled is false)"
        return f"{self.state['name']} in experiment {self.state['experiment']} at {self.state['uri']}" + (
            f" (mlflow ui --backend-store-uri {self.state['uri']})" if "sqlite" in self.state["uri"] else ""
        )

    def params(self, values: dict[str, Any]) -> None:
        """Log parameters; a changed value of a continued run goes to the tag ``changed.KEY``."""
        self._write("params", {key: str(value) for key, value in values.items()})

    def metrics(self, values: dict[str, float], step: int = 0) -> None:
        """Log metrics of a step."""
        self._write("metrics", {key: float(value) for key, value in values.items()}, step=step)

    def tags(self, values: dict[str, str]) -> None:
        """Set tags, by which runs are filtered."""
        self._write("tags", {key: str(value) for key, value in values.items()})

    def describe(self, text: str) -> None:
        """Show Markdown at the head of the run's page; what is longer than MLflow takes is cut after a whole line."""
        if len(text) > LONGEST_PARAMETER:
            text = text[: text.rfind("\n", 0, LONGEST_PARAMETER) + 1] + "\n(cut; all of it is among the artifacts)"
        self.tags({"mlflow.note.content": text})

    def artifact(self, path: str | Path, folder: str = "") -> None:
        """Log a file or a folder; it is read when it is sent, so it must stay."""
        self._write("artifact", {"path": str(Path(path).resolve()), "folder": folder})

    def close(self, status: str = "FINISHED", wait_seconds: float = 60.0) -> None:
        """End the run as FINISHED, FAILED or KILLED, and wait a while for what has not been sent."""
        if not self.on:
            return
        if not self.adds:
            self._write("end", {"status": status})
        if not self.thread.ident:
            self.thread.start()
        self.closing.set()
        self.news.set()
        self.thread.join(wait_seconds)
        if self.state["offset"] < (self.folder / JOURNAL).stat().st_size:
            warn(
                f"not all of the run could be logged to {self.state['uri']}; nothing is lost: "
                f"`python -m hybrid.runtime.tracking {self.folder}` sends the rest when the server is back."
            )

    def _write(self, kind: str, values: dict, **more: Any) -> None:
        if not self.on:
            return
        event = {"kind": kind, "time": int(time.time() * 1000), "values": values, **more}
        self.unwritten.append(json.dumps(event, ensure_ascii=False) + "\n")
        try:
            _mend(self.folder / JOURNAL)
            with open(self.folder / JOURNAL, "a", encoding="utf-8") as journal:
                journal.write("".join(self.unwritten))
        except OSError as error:
            if len(self.unwritten) == 1:
                warn(f"{self.folder / JOURNAL}: cannot be written ({error.strerror}); what is logged waits in memory.")
            return
        self.unwritten.clear()
        self.news.set()

    def _send_all(self) -> None:
        told = False
        while True:
            self.news.wait()
            self.news.clear()
            ending = self.closing.is_set()
            try:
                send(self.folder, self.state)
                if told:
                    log(f"tracking: {self.state['uri']} is back, everything has been sent.")
                told = False
            except Exception as error:
                if not told:
                    first = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
                    warn(f"tracking: {self.state['uri']} cannot be reached ({first}); training goes on, trying again.")
                told = True
                self.tried.set()
                if not ending:
                    self.closing.wait(self.retry_seconds)
                    self.news.set()
            self.tried.set()
            if ending:
                return


def _mend(journal: Path) -> None:
    """Remove the half of a line that a killed job, or a full disk, has left at the end."""
    if not journal.exists():
        return
    with open(journal, "r+b") as file:
        size = keep = file.seek(0, os.SEEK_END)
        while keep:
            start = max(0, keep - 65536)
            file.seek(start)
            found = file.read(keep - start).rfind(b"\n")
            if found >= 0:
                keep = start + found + 1
                break
            keep = start
        if keep < size:
            file.truncate(keep)


def send(folder: Path, state: dict[str, Any]) -> None:
    """Send what the journal in `folder` holds beyond ``state["offset"]`` bytes; updates `state` and its file.

    Raises whatever MLflow raises when the server is down; what was sent until then is remembered.
    """
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    import logging

    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    with open(folder / JOURNAL, "rb") as file:
        file.seek(state["offset"])
        lines = file.readlines()
    lines = [line for line in lines if line.endswith(b"\n")]
    if not lines:
        return
    make_store(state["uri"])
    client = MlflowClient(tracking_uri=state["uri"])
    if not state["run_id"]:
        state["run_id"] = _create_run(client, state, json.loads(lines[0])["time"])
        write_json(folder / SENT, state)
    for line in lines:
        try:
            _send_event(client, state["run_id"], json.loads(line))
        except MlflowException as error:
            if error.error_code != "INVALID_PARAMETER_VALUE":
                raise
            # It would be refused for ever, and all behind it wait.
            warn(f"tracking: MLflow refuses {line.decode()[:100].strip()} ({first_line(error)}); it is left out.")
        state["offset"] += len(line)
    write_json(folder / SENT, state)


def _create_run(client, state: dict[str, Any], start: int) -> str:
    experiment = client.get_experiment_by_name(state["experiment"])
    number = experiment.experiment_id if experiment else client.create_experiment(state["experiment"])
    return client.create_run(number, start_time=start, run_name=state["name"]).info.run_id


def _send_event(client, run_id: str, event: dict[str, Any]) -> None:
    from mlflow.entities import Metric, RunTag

    values, when = event["values"], event["time"]
    if event["kind"] == "params":
        _send_params(client, run_id, values)
    elif event["kind"] == "metrics":
        client.log_batch(run_id, metrics=[Metric(k, v, when, event["step"]) for k, v in values.items()])
    elif event["kind"] == "tags":
        client.log_batch(run_id, tags=[RunTag(key, value) for key, value in values.items()])
    elif event["kind"] == "artifact":
        _send_artifact(client, run_id, Path(values["path"]), values["folder"])
    elif event["kind"] == "begin":
        client.update_run(run_id, status="RUNNING")
    else:
        client.set_terminated(run_id, status=values["status"], end_time=when)


def _send_params(client, run_id: str, values: dict[str, str]) -> None:
    from mlflow.entities import Param, RunTag

    run = client.get_run(run_id).data
    known = run.params
    # A value that changes back to the first one changes the tag.
    changed = {k: v for k, v in values.items() if run.tags.get(f"changed.{k}", known.get(k, v)) != v}
    short = {k: v for k, v in values.items() if k not in known and len(v) <= LONGEST_PARAMETER}
    for key in values.keys() - known.keys() - short.keys():
        client.log_text(run_id, values[key], f"params/{key}.txt")
    pairs = sorted(short.items())
    for start in range(0, len(pairs), 100):
        client.log_batch(run_id, params=[Param(key, value) for key, value in pairs[start : start + 100]])
    if changed:
        client.log_batch(run_id, tags=[RunTag(f"changed.{k}", v[:LONGEST_PARAMETER]) for k, v in changed.items()])


def _send_artifact(client, run_id: str, path: Path, folder: str) -> None:
    if path.is_dir():
        client.log_artifacts(run_id, str(path), folder or path.name)
    elif path.exists():
        client.log_artifact(run_id, str(path), folder or None)
    else:
        warn(f"tracking: {path} is gone and cannot be logged.")


def main(arguments: list[str]) -> int:
    """Send what is left of the journals in the given run folders."""
    if not arguments:
        print("usage: python -m hybrid.runtime.tracking RUN_FOLDER ...", file=sys.stderr)
        return 2
    for folder in map(Path, arguments):
        try:
            state = read_json(folder / SENT)
            send(folder, state)
        except InputError as error:
            print(error, file=sys.stderr)
            return 2
        except Exception as error:
            print(f"{folder}: {state['uri']} cannot be reached ({error}); try again later.", file=sys.stderr)
            return 1
        log(f"{folder}: everything is logged, run {state['run_id']} at {state['uri']}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
