"""Answer the research questions by runs: `python -m hybrid.studies run NAME [--scale tiny|small|full] [--seeds 3]`."""

import signal
import sys
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from hybrid.runtime.errors import InputError, nearest
from hybrid.runtime.logs import bad_input_told, log
from hybrid.studies.jobs import Choice, check_same, resolve, with_tags
from hybrid.studies.study import HERE, ROOT, Study, names, read_study


def read_arguments(arguments: list[str] | None = None) -> Namespace:
    """Return the command line."""
    parser = ArgumentParser(prog="python -m hybrid.studies", description=__doc__)
    commands = parser.add_subcommands()
    commands.add_subcommand("list", ArgumentParser(description="Name the studies and how far they are."))
    for name, text in (
        ("run", "Run what is not done yet, then write the report."),
        ("show", "Show a study's question, arms and runs, and what is done."),
        ("report", "Write the report of the runs that are done."),
    ):
        sub = ArgumentParser(description=text)
        sub.add_argument("study", help="name of a study, or a file of your own that ends in .yaml")
        sub.add_argument("--scale", default="small", help="tiny, small, full, or another one that the study declares")
        sub.add_argument("--seeds", type=int, help="seeds of every arm (default: what the scale says)")
        sub.add_argument("--model", help="directory or hub id of the pretrained encoder, for arms that name none")
        sub.add_argument(
            "--reader", help="directory of a reader (hybrid.evaluation.reader), for F1 on tasks with answers"
        )
        sub.add_argument("--arms", nargs="+", default=[], help="only these arms")
        sub.add_argument("--runs_dir", help="folder of the runs (default: runs/STUDY-SCALE)")
        sub.add_argument("--reports_dir", default=str(HERE / "reports"), help="where the report and its plots go")
        if name == "run":
            sub.add_argument(
                "--accelerate", help="file of accelerate_configs/ (default: cpu_2, with a GPU one_process)"
            )
            sub.add_argument("--print_commands", action="store_true", help="print a line a run, and run nothing")
        commands.add_subcommand(name, sub)
    return parser.parse_args(arguments)


def choice_of(study: Study, given: Namespace) -> Choice:
    """Return what the command chose, checked against the study."""
    if given.scale not in study.scales:
        raise InputError(
            f"study {study.name} has no scale {given.scale!r}{nearest(given.scale, study.scales)}; it has "
            f"{', '.join(study.scales)}."
        )
    arms = study.arms_at(given.scale)
    for arm in given.arms:
        if arm not in arms:
            raise InputError(
                f"--arms: {arm!r} is no arm of {study.name}{nearest(arm, arms)}; it has {', '.join(arms)}."
            )
    seeds = study.scales[given.scale].seeds if given.seeds is None else given.seeds
    if seeds < 1:
        raise InputError(f"--seeds is {seeds}; give a positive number.")
    runs = Path(given.runs_dir or f"runs/{study.name}-{given.scale}")
    return Choice(given.scale, runs, seeds, tuple(given.arms), given.model, given.reader, given.get("accelerate"))


def accelerate_config(given: str | None) -> str:
    """Return the launcher's file: the given one, by name or path, or what suits this machine."""
    import torch

    name = given or ("one_process" if torch.cuda.is_available() else "cpu_2")
    for path in (Path(name), Path("accelerate_configs") / f"{name}.yaml"):
        if (ROOT / path).is_file():
            return str(path)
    known = [path.stem for path in (ROOT / "accelerate_configs").glob("*.yaml")]
    raise InputError(f"--accelerate: {name!r} is no file and none of {', '.join(sorted(known))}{nearest(name, known)}.")


def list_studies() -> None:
    """Print every study's question, how many runs of each scale are done, and the answer of the report."""
    for name in names():
        study = read_study(name)
        log(f"{name}: {study.question}")
        for scale in study.scales:
            done = sorted((ROOT / "runs" / f"{name}-{scale}").glob("*/finished.json"))
            log(f"  {scale}: {len(study.arms_at(scale))} arms" + (f", {len(done)} trained runs" if done else ""))
        report = HERE / "reports" / f"{name}.md"
        lines = report.read_text(encoding="utf-8").splitlines() if report.exists() else []
        for line in filter(lambda line: line.startswith("**Answer.**"), lines):
            log(f"  {line.replace('**', '')} ({report.relative_to(ROOT)})")


def show(study: Study, choice: Choice) -> None:
    """Print a study's arms and the state of their runs."""
    from hybrid.studies.arms import arms_table

    log(f"{study.name} at scale {choice.scale}: {study.question}\n")
    log(arms_table(study, choice))
    log(f"\ntasks: {', '.join(study.scales[choice.scale].tasks)}")
    for job in resolve(study, choice):
        state = "done" if job.done() else "trained" if job.trained and not job.zero_shot else "to do"
        log(f"  {job.name}: {state}")


def run(study: Study, choice: Choice, given: Namespace) -> int:
    """Run or print what is not done, then write the report; returns the exit status."""
    from hybrid.studies.record import Parent
    from hybrid.studies.run import locked, print_commands, run_all
    from hybrid.studies.sample import prepare

    accelerate = accelerate_config(given.accelerate)
    jobs = resolve(study, choice)
    for job in jobs:
        check_same(job)
    with locked(choice) as lock, Parent(study, choice) as parent:
        prepare(study, choice)
        tags = parent.tags()
        jobs = [with_tags(job, tags | {"arm": job.arm}) for job in jobs]
        if given.print_commands:
            return 1 if print_commands(jobs, choice, accelerate) else 0
        failed = run_all(jobs, choice, accelerate, lock)
        if any(job.done() for job in jobs):
            write_report(study, choice, given, parent)
    if failed:
        log(f"{len(failed)} runs failed: {', '.join(failed)}; mend what their logs say and give the command again.")
    return 1 if failed else 0


def write_report(study: Study, choice: Choice, given: Namespace, parent=None) -> None:
    """Write the report of the runs that are done, and log it with the study's own run."""
    from hybrid.studies.record import Parent
    from hybrid.studies.report import report

    written = report(study, choice, Path(given.reports_dir))
    if parent:
        parent.log(*written)
    else:
        with Parent(study, choice) as parent:
            parent.log(*written)
    log(f"report: {written[0]}")


def main(arguments: list[str] | None = None) -> None:
    """Run as a command: bad input is told in one sentence, with status 2."""
    given = read_arguments(arguments)
    with bad_input_told():
        if given.subcommand == "list":
            return list_studies()
        options = given[given.subcommand]
        study = read_study(options.study)
        choice = choice_of(study, options)
        if given.subcommand == "show":
            return show(study, choice)
        if given.subcommand == "run":
            try:
                sys.exit(run(study, choice, options))
            except KeyboardInterrupt:
                log("interrupted; the same command goes on.")
                sys.exit(128 + signal.SIGINT)
        write_report(study, choice, options)


if __name__ == "__main__":
    main()
