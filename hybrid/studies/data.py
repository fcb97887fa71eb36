"""What a study's runs were trained and scored on: digests, leakage counts, samples, machine."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from hybrid.evaluation.runs import task_folders
from hybrid.evaluation.table import markdown, number
from hybrid.runtime.files import read_json
from hybrid.studies.jobs import Choice, Job
from hybrid.studies.record import journal
from hybrid.studies.study import Study


def data_tables(jobs: Mapping[str, Sequence[Job]]) -> str:
    """Return the training sets and the benchmarks of all runs as Markdown."""
    return "\n\n".join(part for part in (_training(jobs), _benchmarks(jobs)) if part)


def _each(jobs: Mapping[str, Sequence[Job]]) -> Iterable[Job]:
    return (job for seeds in jobs.values() for job in seeds)


def _training(jobs: Mapping[str, Sequence[Job]]) -> str:
    rows: dict[tuple[str, str], list[str]] = {}
    for job in _each(jobs):
        values, _ = journal(job.folder)
        drawn = {row["dataset"] for row in streams(job)}
        for key, digest in values.items():
            name = key.removeprefix("digest.")
            if key != name and name in drawn:
                items = values.get(f"train_items/{name}", "-")
                rows.setdefault((name, digest), [name, digest[:12], items, _leaks(values, name), ""])
                if job.arm not in rows[name, digest][4].split(", "):
                    rows[name, digest][4] = ", ".join(filter(None, [rows[name, digest][4], job.arm]))
    header = ["training set", "digest", "items", "left out: items that occur in", "arms"]
    return markdown(header, list(rows.values())) if rows else "Nothing was trained, or its journal is gone."


def _leaks(values: Mapping[str, str], name: str) -> str:
    """Return ``xquad-r 1190 (1190 by id, 1190 by question, 1190 by passage)`` for every set it was held against."""
    counts: dict[str, dict[str, str]] = {}
    for key, value in values.items():
        parts = key.split("/")
        if parts[0] == "leakage" and len(parts) == 4 and parts[2] == name:
            counts.setdefault(parts[1], {})[parts[3]] = value
    told = []
    for against, how in counts.items():
        ways = ", ".join(f"{count} by {way}" for way, count in how.items() if way != "any")
        told.append(f"{against} {how['any']} ({ways})")
    return "; ".join(told) or "held against no set"


def _benchmarks(jobs: Mapping[str, Sequence[Job]]) -> str:
    rows = {}
    for job in _each(jobs):
        for scores in _scores(job):
            size = f"{scores.get('queries', '-')} queries, {scores.get('documents', '-')} passages"
            languages = len(scores.get("languages", []))
            rows.setdefault(scores["task"], [scores["task"], scores["revision"][:12], str(languages), size])
    return markdown(["scored on", "digest", "languages", "size"], [rows[name] for name in sorted(rows)])


def means_table(jobs: Mapping[str, Sequence[Job]], names: Sequence[str]) -> str | None:
    """Return measures that have a mean and no value for each query, the mean over seeds, as Markdown."""
    found: dict[tuple[str, str, str], list[dict]] = {}
    for job in _each(jobs):
        for scores in _scores(job):
            for setting, values in scores["settings"].items():
                for name in (name for name in names if name in values["measures"]):
                    place = (f"{scores['task']}/{setting}", name, job.arm)
                    found.setdefault(place, []).append(values["measures"][name])
    rows = [
        [" ".join(place), number(sum(seed["mean"] for seed in seeds) / len(seeds)), str(seeds[0].get("languages", "-"))]
        for place, seeds in sorted(found.items())
    ]
    return markdown(["task, measure and arm", "mean", "languages"], rows) if rows else None


def _scores(job: Job) -> Iterable[dict]:
    """Yield what stands in the scores.json of each task of a run, as the comparison reads them: each task once."""
    return (read_json(path / "scores.json") for path in task_folders(job.folder, str(job.folder), dev=True).values())


def languages_of(study: Study, choice: Choice, job: Job) -> set[str]:
    """Return the languages that count as seen: what the arm declares, else those of the streams it was trained on."""
    declared = study.arms_at(choice.scale)[job.arm].seen
    return (
        set(declared) if declared is not None else {row[side] for row in streams(job) for side in ("query", "passage")}
    )


def streams(job: Job) -> list[dict]:
    """Return what a run was trained on: a row for each stream of its mixture, none where nothing was trained."""
    path = job.folder / "mixture.json"
    return read_json(path) if path.exists() else []


def machine(jobs: Mapping[str, Sequence[Job]]) -> str:
    """Return when, with what and how long the runs ran."""
    times = [seconds for job in _each(jobs) if (seconds := journal(job.folder)[1])]
    paths: list[Path] = [job.folder / "environment.json" for job in _each(jobs)]
    about = [read_json(path) for path in paths if path.exists()]
    if not about:
        return "Nothing was trained."
    revisions = sorted({entry.get("git", "unknown")[:12] for entry in about})
    last = about[-1]
    took = f"; a run took {min(times) / 60:.1f} to {max(times) / 60:.1f} minutes" if times else ""
    return (
        f"{len(about)} trained runs, code {', '.join(revisions)}, torch {last.get('torch')}, "
        f"transformers {last.get('transformers')}, {last.get('platform')}{took}."
    )
