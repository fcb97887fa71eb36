"""Start a script in several real processes, the way users do."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def environment(**more: str) -> dict[str, str]:
    """Return the environment of a process with one thread that finds the project, and `more` variables."""
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)} | more


def launch(
    script: str | Path,
    *arguments: str,
    processes: int = 2,
    zero: int | str | None = None,
    timeout: int = 300,
    status: int = 0,
    **variables: str,
) -> str:
    """Run a script with accelerate on `processes` gloo processes, return what it printed.

    Args:
        zero: the ZeRO stage, or the name of a file in ds_configs/; unset runs DDP, or one plain process.
        timeout: seconds.
        status: the exit status that it has to have; with another one this fails with the output.
        variables: of the environment.
    """
    command = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch"]
    if zero is None:
        command += ["--multi_gpu"] if processes > 1 else []
        variables = {"ACCELERATE_USE_CPU": "true"} | variables
    else:
        file = f"ds_configs/zero{zero}.json" if isinstance(zero, int) else f"ds_configs/{zero}.json"
        command += ["--use_deepspeed", "--deepspeed_config_file", file]
    command += ["--num_processes", str(processes), "--num_machines", "1", "--mixed_precision", "no"]
    command += ["--dynamo_backend", "no", "--main_process_port", "0", str(script), *map(str, arguments)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == status, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout
