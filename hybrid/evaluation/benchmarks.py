"""What a training job is handed to score its encoder with: benchmarks at the end, the development split on the way."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from hybrid.evaluation.config import BenchmarkConfig, SearchConfig
from hybrid.evaluation.evaluator import check_scoring, evaluate_encoder
from hybrid.evaluation.loading import LoadedTask, load_tasks
from hybrid.runtime.errors import InputError, nearest


class Benchmarks:
    """Reads the tasks at once, so that a missing file is known before anything expensive begins."""

    def __init__(self, config: BenchmarkConfig, folder: Path):
        """Results go below `folder`. Raises InputError for unknown tasks, missing files, what scoring would refuse."""
        self.settings, self.folder = config.settings, folder
        place, lir = os.path.expandvars(config.data_dir or ""), config.settings.lir
        self.tasks = load_tasks(config.tasks, place, lir) if config.tasks else []
        check_scoring(self.tasks, config.settings)

    def score(self, encoder, when: str, tasks: Sequence[LoadedTask] | None = None) -> dict[str, float]:
        """Return the encoder's metrics; files go to ``folder/WHEN/TASK``. Every rank has to call it."""
        tasks = self.tasks if tasks is None else tasks
        return evaluate_encoder(encoder, list(tasks), self.folder / when, self.settings) if tasks else {}

    def development(self, corpora: Sequence, config, best: str | None) -> Callable:
        """Return a function of (encoder, step) that scores the held-out corpora of a `DataConfig`.

        Raises InputError where `best`, by which the best weights are known, is no score of theirs that rises.
        """
        from hybrid.evaluation.development import development_tasks

        tasks = development_tasks(corpora, config)
        check_scoring(tasks, replace(self.settings, reader=None, reader_passages=1, search=SearchConfig()))
        rising = [
            f"{loaded.task.name}/{setting.name}/{measure}"
            for loaded in tasks
            for setting in loaded.task.settings
            for measure in setting.measures
            if not measure.startswith("rank_distance")
        ]
        if best and best not in rising:
            raise InputError(
                f"training.keep_best is {best}; expected a score of the development split of which more is better"
                f"{nearest(best, rising)} (such as {rising[0]})."
            )
        return lambda encoder, step: self.score(encoder, "dev", tasks)
