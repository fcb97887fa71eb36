"""What a training job is handed to score its encoder with: benchmarks at the end, the development split on the way."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from hybrid.evaluation.config import BenchmarkConfig
from hybrid.evaluation.evaluator import LoadedTask, evaluate_encoder, load_tasks


class Benchmarks:
    """Reads the tasks at once, so that a missing file is known before anything expensive begins."""

    def __init__(self, config: BenchmarkConfig, folder: Path):
        """Results go below `folder`. Raises InputError for unknown tasks and missing files."""
        self.settings, self.folder = config.settings, folder
        self.tasks = load_tasks(config.tasks, os.path.expandvars(config.data_dir)) if config.tasks else []

    def score(self, encoder, when: str, tasks: Sequence[LoadedTask] | None = None) -> dict[str, float]:
        """Return the encoder's metrics; files go to ``folder/WHEN/TASK``. Every rank has to call it."""
        tasks = self.tasks if tasks is None else tasks
        return evaluate_encoder(encoder, list(tasks), self.folder / when, self.settings) if tasks else {}

    def development(self, corpora: Sequence, config) -> Callable:
        """Return a function of (encoder, step) that scores the held-out corpora of a `DataConfig`."""
        from hybrid.evaluation.development import development_tasks

        tasks = development_tasks(corpora, config)
        return lambda encoder, step: self.score(encoder, "dev", tasks)
