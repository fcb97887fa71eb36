"""A fixed part of the benchmarks, the same for all arms: every n-th article or line."""

import gzip
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from hybrid.data.files import read_json_file
from hybrid.evaluation.answers import MLQA_LANGUAGES
from hybrid.evaluation.task import find_task
from hybrid.runtime.errors import InputError
from hybrid.runtime.files import atomic_folder, file_digest, read_json, write_json
from hybrid.studies.jobs import Choice
from hybrid.studies.stand_ins import MLQA, mlqa_form
from hybrid.studies.study import ROOT, Scale, Study

MANIFEST = "samples.json"
OTHERS = ("README", "LICENSE", "LICENSE.md", "metadata_devtest.tsv", "DOCUMENT_IDS.tsv", "LANGUAGES.tsv")
"""Files that no task reads."""


def prepare(study: Study, choice: Choice) -> None:
    """Make the study's data folder where its scale scores a sample or a stand-in."""
    scale = study.scales[choice.scale]
    if not scale.own_data:
        return
    source, target = Path(os.path.expandvars(scale.data_dir)), ROOT / choice.data
    sampled(source, target, scale.sample, [task for task in scale.tasks if not _made(task, scale)])
    if scale.mlqa_from and not (target / MLQA).exists():
        folder = target if scale.mlqa_from in scale.sample else source
        mlqa_form(folder / scale.mlqa_from, target / MLQA, scale.mlqa_languages or MLQA_LANGUAGES)


def _made(task: str, scale: Scale) -> bool:
    return scale.mlqa_from is not None and find_task(task).folder == MLQA


def sampled(source: Path, target: Path, every: Mapping[str, int], tasks: Sequence[str]) -> None:
    """Make `target` a data folder for `tasks`: sampled copies of the folders in `every`, links to all others.

    A folder that was sampled before is left as it is. Articles of SQuAD's and LAReQA's JSON and lines of other files
    are taken by their place, the first, the first + n ..., so parallel files stay parallel.

    Raises InputError where a folder is missing or sampled otherwise than before.
    """
    if not source.is_dir():
        raise InputError(f"{source}: is no folder; set HYBRID_DATA to the folder of the public data sets.")
    target.mkdir(parents=True, exist_ok=True)
    known = read_json(target / MANIFEST) if (target / MANIFEST).exists() else {}
    for name, step in every.items():
        now = {"every": step, "files": _digests(source / name)}
        if known.setdefault(name, now) != now:
            raise InputError(
                f"{target / name}: was made of every {known[name]['every']}-th part of other files than those in "
                f"{source / name}, or with another step than {step}; keep the runs on them elsewhere by --runs_dir."
            )
        if not (target / name).exists():
            with atomic_folder(target / name) as folder:
                for path in now["files"]:
                    _copy(source / name / path, folder / path, step)
    write_json(target / MANIFEST, known)
    for name in {Path(find_task(task).folder).parts[0] for task in tasks} - set(every):
        _link(target / name, (source / name).resolve())


def _link(path: Path, to: Path) -> None:
    """Make `path` a link to a folder, also where it was one to another: HYBRID_DATA may have moved."""
    if path.is_symlink() and path.readlink() != to:
        path.unlink()
    if not path.is_symlink():
        path.symlink_to(to)


def _digests(folder: Path) -> dict[str, str]:
    if not folder.is_dir():
        raise InputError(f"{folder}: is no folder; get its files (the README says where from).")
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return {name: file_digest(folder / name) for name in names if os.path.basename(name) not in OTHERS}


def _copy(source: Path, target: Path, step: int) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    ending = source.name.removesuffix(".gz")
    opened = gzip.open if source.suffix == ".gz" else open
    if not ending.endswith(".json"):
        with opened(source, "rb") as lines, opened(target, "wb") as out:
            out.writelines(line for number, line in enumerate(lines) if number % step == 0)
        return
    value = read_json_file(str(source))
    if not isinstance(value, dict) or not isinstance(value.get("data"), list):
        raise InputError(f"{source}: has no list 'data' of articles, so it cannot be sampled; leave it out of sample.")
    with opened(target, "wt", encoding="utf-8") as out:
        json.dump(value | {"data": value["data"][::step]}, out, ensure_ascii=False)
