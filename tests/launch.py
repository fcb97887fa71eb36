"""Start a script in several real processes, the way users do."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def environment(**more: str) -> dict[str, str]:
    """Return the environment of a process with one thread that finds the project, and `more` variables."""
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)} | more


def launch(script: str | Path, *arguments: str, processes: int = 2, timeout: int = 300, **variables: str) -> str:
    """Run a script with accelerate on `processes` gloo processes, return what it printed; fails with its output."""
    command = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch"]
    command += ["--multi_gpu"] if processes > 1 else []
    command += ["--num_processes", str(processes), "--num_machines", "1", "--mixed_precision", "no"]
    command += ["--dynamo_backend", "no", "--main_process_port", "0", str(script), *map(str, arguments)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment(ACCELERATE_USE_CPU="true", **variables),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout
