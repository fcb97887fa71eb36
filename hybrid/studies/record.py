"""What a study leaves in MLflow, and what its runs left in their journals."""

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from hybrid.runtime.logs import warn
from hybrid.runtime.tracking import JOURNAL, Tracker, TrackingConfig
from hybrid.studies.jobs import Choice
from hybrid.studies.study import ROOT, Study

WAIT_SECONDS = 600.0
"""How long the runs wait for the first answer of the tracking server; one that is down is known sooner."""


class Parent:
    """The study's own MLflow run, below which its runs stand."""

    def __init__(self, study: Study, choice: Choice):
        """It goes on with the run that an earlier command made for the same folder."""
        self.study, self.choice = study, choice

    def __enter__(self) -> "Parent":
        study, choice = self.study, self.choice
        name = f"study {study.name} {choice.scale}"
        self.tracker = Tracker(ROOT / choice.runs, name, TrackingConfig())
        self.tracker.tags({"job": "study", "study": study.name, "scale": choice.scale, "question": study.question})
        return self

    def __exit__(self, kind: type[BaseException] | None, *_) -> None:
        self.tracker.close("FINISHED" if kind is None else "KILLED" if kind is KeyboardInterrupt else "FAILED")

    def tags(self) -> dict[str, str]:
        """Return the tags of the study's runs; waits for the server's id of its own run, for a while."""
        tags = {"study": self.study.name, "scale": self.choice.scale}
        if own := self.tracker.wait_for_id(WAIT_SECONDS):
            return tags | {"mlflow.parentRunId": own}
        warn("the tracking server does not answer: the runs get the tag study, but stand below no run of it.")
        return tags

    def log(self, report: Path, figures: Sequence[Path], metrics: Mapping[str, float]) -> None:
        """Log the report, its figures and the figures of every arm."""
        self.tracker.metrics(dict(metrics))
        self.tracker.artifact(report)
        for figure in figures:
            self.tracker.artifact(figure, figure.parent.name)


def journal(folder: Path) -> tuple[dict[str, str], float]:
    """Return the parameters that a run logged, and the seconds that it ran: of a run that was interrupted and gone on
    with, without what lay between."""
    path = folder / JOURNAL
    if not path.exists():
        return {}, 0.0
    events = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    values = {key: value for event in events if event["kind"] == "params" for key, value in event["values"].items()}
    parts = ((a, b) for a, b in pairwise(events) if b["kind"] != "begin" and a["kind"] != "end")
    return values, sum(b["time"] - a["time"] for a, b in parts) / 1000
