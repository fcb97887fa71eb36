"""What the benchmarks share: interleaved repeats, one table, one JSON file."""

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from hybrid.runtime.errors import InputError
from hybrid.runtime.files import atomic_file, read_json

ROOT = Path(__file__).parents[2]
PACKAGES = ("torch", "transformers", "accelerate", "deepspeed", "sentence-transformers", "faiss-gpu", "numpy")
SAME = ("processor", "cores", "gpus", "python", "versions")
"""What has to be alike for repeats to go into one table."""
CALL = ("name", "run", "repeats", "out", "append")
"""What of a call says nothing about the work."""
PARTS = ("only", "models", "processes", "embeddings", "stages", "workers", "skip")
"""Flags that choose what is measured, not on which work: calls with different ones may add to one table."""
PREFIXES = {"query": "query: ", "passage": "passage: "}
"""What stands before a text on both sides, whatever the model's directory says of it: they are to do the same work."""


class OutOfMemory(RuntimeError):
    """A script needed more memory than its GPU has."""


@dataclass
class Case:
    """One line of a benchmark's table."""

    name: str
    unit: str
    """What the values count, such as pairs/s; a name that ends in /s is better when it is more."""
    values: list[float] = field(default_factory=list)
    """One value per repeat."""
    memory_gb: float | None = None
    """Peak resident memory, over all processes."""
    against: str | None = None
    """Name of the case that it is held against."""

    @property
    def median(self) -> float:
        """The middle of the repeats."""
        return statistics.median(self.values)


def interleaved(repeats: int, measures: dict[str, Callable[[], float]]) -> dict[str, list[float]]:
    """Measure each in turn, and all of it again, so that what the machine does meanwhile meets all of them alike."""
    values = {name: [] for name in measures}
    for _ in range(repeats):
        for name, measure in measures.items():
            values[name].append(measure())
    return values


def worker(script: str, arguments: dict, processes: int = 1, launcher: tuple[str, ...] = ()) -> dict:
    """Run a script of this folder in processes of its own; returns the JSON of its last line.

    Args:
        script: file name; gets `arguments` as one JSON text. Where they say `gpu`, its processes see the GPUs.
        processes: gloo processes of one thread each, or GPUs.
        launcher: more arguments of `accelerate launch`.
    """
    command = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", "--num_processes", str(processes)]
    zero = "--use_deepspeed" in launcher
    command += ["--multi_gpu"] if processes > 1 and not zero else []
    command += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    command += [*launcher, str(Path(__file__).parent / script), json.dumps(arguments)]
    gpu, settings = arguments.get("gpu", False), {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    if not gpu:
        settings |= {"OMP_NUM_THREADS": "1"} | ({} if zero else {"ACCELERATE_USE_CPU": "true"})
    env = environment(gpu, **settings)
    done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        kind = OutOfMemory if "OutOfMemoryError" in done.stderr else RuntimeError
        raise kind(f"{script} {arguments} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def in_a_process(script: str, *arguments: object) -> dict:
    """Run a script of this folder in one process, not launched; returns the JSON of its last line."""
    env = environment(TOKENIZERS_PARALLELISM="true", HF_HUB_OFFLINE="1")
    command = [sys.executable, str(Path(__file__).parent / script), *map(str, arguments)]
    done = subprocess.run(command, env=env, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def environment(gpu: bool = False, **settings: str) -> dict[str, str]:
    """Return the environment of a process that measures; it sees no GPU but in the benchmark `gpu`.

    All others compare what processors do, with as many processes as they say: a GPU here must not serve one side, nor
    be too few.
    """
    hidden = {} if gpu else {"CUDA_VISIBLE_DEVICES": ""}
    return os.environ | {"PYTHONPATH": str(ROOT)} | hidden | settings


def report(
    cases: list[Case], notes: list[str], given: Namespace, conclude: Callable[[list[Case]], list[str]] = lambda _: []
) -> None:
    """Print one Markdown table with medians, spread and ratios, and write the same as OUT/NAME.json.

    Args:
        conclude: from all cases, those of earlier calls included, to more lines.
    """
    about, before = machine(given.name), earlier(given)
    if before:
        cases, notes = _joined(before, cases, notes)
    medians = {case.name: case.median for case in cases}
    print(f"\n{given.name}: {describe(about)}\n")
    print("| case | median | spread | memory | ratio |\n|---|---:|---:|---:|---:|")
    rows = []
    for case in cases:
        ratio = _ratio(case, medians[case.against]) if case.against in medians else None
        spread = f"{min(case.values):.4g} to {max(case.values):.4g}"
        memory = f"{case.memory_gb:.2f} GB" if case.memory_gb else ""
        beside = f"{ratio:.2f}x of {case.against}" if ratio else ""
        print(f"| {case.name} | {case.median:.4g} {case.unit} | {spread} ({len(case.values)}) | {memory} | {beside} |")
        rows.append(vars(case) | {"median": case.median, "ratio": ratio})
    content = {"name": given.name, "machine": about, "settings": _settings(given), "cases": rows, "notes": notes}
    content["conclusions"] = conclude(cases)
    print("\n" + "\n".join([*notes, *content["conclusions"]]))
    with atomic_file(_file(given)) as file:
        file.write(json.dumps(content, indent=1) + "\n")


def earlier(given: Namespace) -> dict | None:
    """Return what OUT/NAME.json holds where the call is to add to it (--append), None where there is nothing.

    Raises InputError where it was measured on another machine, with other versions or on other work.
    """
    file = _file(given)
    if not given.append or not file.exists():
        return None
    found, about = read_json(file), machine(given.name)
    there = {key: found["machine"][key] for key in SAME} | found["settings"]
    here = {key: about[key] for key in SAME} | _settings(given)
    if other := next((key for key in {**there, **here} if there.get(key) != here.get(key)), None):
        raise InputError(
            f"{file}: was measured with {other} = {there.get(other)}, this call has {here.get(other)}; one table holds "
            "one work on one machine: call it alike, or give another --out."
        )
    return found


def _joined(before: dict, cases: list[Case], notes: list[str]) -> tuple[list[Case], list[str]]:
    """Put earlier repeats before those of the same case, and earlier cases and notes before the new ones."""
    known = {row["name"]: Case(**{key: row[key] for key in Case.__dataclass_fields__}) for row in before["cases"]}
    for case in cases:
        old = known.setdefault(case.name, Case(case.name, case.unit, [], case.memory_gb, case.against))
        old.values += case.values
        old.memory_gb = max(old.memory_gb or 0, case.memory_gb or 0) or None
    return list(known.values()), list(dict.fromkeys([*before["notes"], *notes]))


def _settings(given: Namespace) -> dict:
    settings = {key: value for key, value in vars(given).items() if key not in (*CALL, *PARTS)}
    return json.loads(json.dumps(settings, default=str))


def _file(given: Namespace) -> Path:
    return given.out / f"{given.name}.json"


def data_folder() -> Path:
    """Return the folder of the real data sets; raises InputError where HYBRID_DATA does not name one."""
    folder = os.environ.get("HYBRID_DATA", "")
    if not Path(folder, "squad").is_dir():
        raise InputError(
            f"HYBRID_DATA is {folder!r}; set it to the folder of the real data sets that holds squad/ and xquad-r/."
        )
    return Path(folder)


def machine(benchmark: str) -> dict:
    """Return what the figures of a benchmark were measured on."""
    import torch

    gpus = torch.cuda.device_count() if benchmark == "gpu" else 0
    return {
        "date": date.today().isoformat(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "gpus": [torch.cuda.get_device_name(number) for number in range(gpus)],
        "python": platform.python_version(),
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
    }


def describe(about: dict) -> str:
    """Return the machine in one line."""
    gpus = f", {len(about['gpus'])} x {about['gpus'][0]}" if about["gpus"] else ""
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    load = f"load {about['load']} at the end"
    return f"{about['date']}, {about['processor']}, {about['cores']} cores{gpus}, {load}; {versions}"


def memory_gb() -> float:
    """Return this process's peak memory: of the GPU where there is one."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def _ratio(case: Case, other: float) -> float:
    return case.median / other if case.unit.endswith("/s") else other / case.median


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    found = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), None)
    return found or platform.processor()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
