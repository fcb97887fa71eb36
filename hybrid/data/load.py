"""From the recipe's data sets to corpora without leaks, and the development split."""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from hybrid.data.config import DataConfig, DatasetConfig
from hybrid.data.corpus import ParallelCorpus, build_corpus
from hybrid.data.leakage import without_leaks
from hybrid.data.squad import read_squad
from hybrid.runtime.errors import InputError
from hybrid.runtime.logs import warn


@dataclass
class TrainingData:
    """What training gets."""

    train: list[ParallelCorpus]
    dev: list[ParallelCorpus]
    """Held-out articles, empty where the recipe holds out none."""
    counts: dict[str, int]
    """What was left out, by reason."""


def load_corpora(config: DataConfig) -> TrainingData:
    """Read all data sets, drop what occurs in evaluation sets, and hold out the development split."""
    if not config.sets:
        raise InputError("data.sets is empty; name at least one data set with its files.")
    corpora = [_read(name, entry, config) for name, entry in config.sets.items()]
    corpora, counts = without_leaks(corpora, config.leakage)
    splits = [_split(corpus, config) for corpus in corpora]
    train, dev = [split[0] for split in splits], [split[1] for split in splits if split[1] is not None]
    counts |= {f"items/{corpus.name}": len(corpus) for corpus in train}
    counts |= {f"dev_items/{corpus.name}": len(corpus) for corpus in dev}
    return TrainingData(train, dev, counts)


def _read(name: str, entry: DatasetConfig, config: DataConfig) -> ParallelCorpus:
    if not entry.files:
        raise InputError(f"data.sets.{name}.files is empty; give a file for each language.")
    paragraphs = {}
    for language, path in entry.files.items():
        counts: Counter = Counter()
        paragraphs[language] = read_squad(path, language, counts)
        for reason, number in counts.items():
            if config.strict and reason != "unanswerable":
                raise InputError(f"{path}: {number} questions have an {reason}; mend them or set data.strict to false.")
            warn(f"{path}: {number} questions left out: {reason}")
    return build_corpus(name, paragraphs, config.passage == "sentence_in_paragraph")


def _split(corpus: ParallelCorpus, config: DataConfig) -> tuple[ParallelCorpus, ParallelCorpus | None]:
    if not config.dev.articles:
        return corpus, None
    titles = sorted(set(corpus.articles))
    if config.dev.articles >= len(titles):
        raise InputError(
            f"data.dev.articles is {config.dev.articles}, but data.sets.{corpus.name} has {len(titles)} articles; give fewer."
        )
    chosen = np.random.default_rng(config.dev.seed).permutation(len(titles))[: config.dev.articles]
    names = {titles[i] for i in chosen}
    held = np.array([title in names for title in corpus.articles])
    few = held & (np.cumsum(held) <= config.dev.max_items)
    return corpus.take(~held), corpus.take(few)
