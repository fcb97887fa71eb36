"""MLflow's SQLite store, whole or not there."""

import os
import tempfile
from pathlib import Path

PREFIX = "sqlite:///"


def make_store(uri: str) -> None:
    """Make the SQLite store of a URI where its file is missing; any other store is left to MLflow.

    MLflow makes its tables one by one, and never goes on with those of a job that was killed meanwhile: they are made
    in a file beside, which then gets the name, unless another job was faster. Raises what MLflow raises.
    """
    path = Path(uri.removeprefix(PREFIX))
    if not uri.startswith(PREFIX) or "?" in uri or path.exists() or not path.parent.is_dir():
        return
    from mlflow.tracking import MlflowClient

    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        made = Path(folder).absolute() / path.name
        MlflowClient(tracking_uri=f"{PREFIX}{made}").search_experiments(max_results=1)
        try:
            os.link(made, path)
        except FileExistsError:
            pass
        except OSError:
            os.rename(made, path)  # a file system without links
