"""What the benchmarks share: interleaved repeats, one table, one JSON file."""

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("torch", "transformers", "accelerate", "deepspeed", "sentence-transformers", "faiss-gpu", "numpy")


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
    """Run a script of this folder in processes of its own, one thread each; returns the JSON of its last line.

    Args:
        script: file name; gets `arguments` as one JSON text.
        processes: gloo processes, or GPUs where there are some.
        launcher: more arguments of `accelerate launch`.
    """
    command = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", "--num_processes", str(processes)]
    zero = "--use_deepspeed" in launcher
    command += ["--multi_gpu"] if processes > 1 and not zero else []
    command += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    command += [*launcher, str(Path(__file__).parent / script), json.dumps(arguments)]
    settings = {"PYTHONPATH": str(ROOT), "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    if not _gpus():
        settings |= {"OMP_NUM_THREADS": "1"} | ({} if zero else {"ACCELERATE_USE_CPU": "true"})
    done = subprocess.run(command, env=os.environ | settings, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{script} {arguments} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def report(name: str, cases: list[Case], notes: list[str], out: Path) -> None:
    """Print one Markdown table with medians, spread and ratios, and write the same as OUT/NAME.json."""
    medians = {case.name: case.median for case in cases}
    print(f"\n{name}: {describe(machine())}\n")
    print("| case | median | spread | memory | ratio |\n|---|---:|---:|---:|---:|")
    rows = []
    for case in cases:
        ratio = _ratio(case, medians[case.against]) if case.against else None
        spread = f"{min(case.values):.4g} to {max(case.values):.4g}"
        memory = f"{case.memory_gb:.2f} GB" if case.memory_gb else ""
        beside = f"{ratio:.2f}x of {case.against}" if ratio else ""
        print(f"| {case.name} | {case.median:.4g} {case.unit} | {spread} ({len(case.values)}) | {memory} | {beside} |")
        rows.append(vars(case) | {"median": case.median, "ratio": ratio})
    print("\n" + "\n".join(notes))
    out.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"name": name, "machine": machine(), "cases": rows, "notes": notes}, indent=1)
    (out / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def machine() -> dict:
    """Return what the figures were measured on."""
    import torch

    return {
        "date": date.today().isoformat(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "gpus": [torch.cuda.get_device_name(number) for number in range(_gpus())],
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


def _gpus() -> int:
    import torch

    return torch.cuda.device_count()
