"""What a run was made with: revision, versions, machine."""

import importlib.metadata
import platform
import subprocess
from pathlib import Path

_PACKAGES = ("torch", "accelerate", "transformers", "tokenizers", "datasets", "deepspeed", "mlflow", "numpy")


def environment() -> dict[str, str]:
    """Return package versions, Python, platform and the git revision of this code ("+" where it was changed)."""
    found = {"python": platform.python_version(), "platform": platform.platform(), "git": git_revision()}
    for package in (*_PACKAGES, "faiss-gpu", "faiss-cpu"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def git_revision() -> str:
    """Return the commit of this code, "+" behind it where files differ from it, "unknown" outside a checkout."""
    here = Path(__file__).parent
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=True)
        changes = subprocess.run(
            ["git", "status", "--porcelain", "-uno"], cwd=here, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit.stdout.strip() + ("+" if changes.stdout.strip() else "")
