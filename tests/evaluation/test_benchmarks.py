"""What a training job is handed to score its encoder with."""

from pathlib import Path

import pytest

from hybrid.evaluation import development
from hybrid.evaluation.benchmarks import Benchmarks
from hybrid.evaluation.config import BenchmarkConfig
from hybrid.evaluation.loading import loaded_task
from hybrid.evaluation.passages import passage_collection
from hybrid.evaluation.task import THREE_SETTINGS, Task
from hybrid.runtime.errors import InputError
from tests.evaluation.conftest import made_paragraphs


@pytest.fixture
def benchmarks(monkeypatch):
    task = Task("dev", passage_collection, "", THREE_SETTINGS, "nowhere", "CC0", "")
    tasks = [loaded_task(task, passage_collection(made_paragraphs()))]
    monkeypatch.setattr(development, "development_tasks", lambda corpora, config: tasks)
    return Benchmarks(BenchmarkConfig(), Path())


@pytest.mark.parametrize("best", [None, "dev/multilingual/map", "dev/monolingual/recall_at_10"])
def test_the_best_weights_are_known_by_a_score_that_rises(benchmarks, best):
    assert callable(benchmarks.development([], None, best))


@pytest.mark.parametrize("best", ["dev/multilingual/mapp", "multilingual/map", "dev/multilingual/rank_distance"])
def test_a_score_that_is_none_or_falls_is_refused_before_training(benchmarks, best):
    with pytest.raises(InputError, match=rf"training.keep_best is {best}; expected .* more is better"):
        benchmarks.development([], None, best)
