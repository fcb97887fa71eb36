"""The development split: whole articles of the training corpora, or files of its own."""

import numpy as np

from hybrid.data.config import DevConfig
from hybrid.data.corpus import ParallelCorpus
from hybrid.data.leakage import Known, leaking
from hybrid.runtime.errors import InputError


def hold_out(corpus: ParallelCorpus, config: DevConfig) -> tuple[ParallelCorpus, ParallelCorpus]:
    """Return a corpus without some of its articles, and the items of those articles, `max_items` at most.

    What is trained on shares no article with what is held out, nor a question or passage that happens to be equal.
    Raises InputError if no article would be left.
    """
    articles = np.unique(corpus.tables.article)
    count = int(config.articles) if config.articles >= 1 else max(1, round(config.articles * len(articles)))
    if count >= len(articles):
        raise InputError(
            f"data.dev.articles is {config.articles:g}, but data.sets.{corpus.name} has {len(articles)} articles; hold "
            "out fewer, or give data.dev.sets."
        )
    generator = np.random.default_rng(config.seed)
    held = np.isin(corpus.tables.article, generator.permutation(articles)[:count])
    chosen = np.zeros(len(corpus), bool)
    chosen[generator.permutation(np.flatnonzero(held))[: config.max_items]] = True
    dev, known = corpus.subset(chosen), Known()
    known.add_corpus(dev)
    equal = leaking(corpus, known, config.level)[0] & ~held
    return corpus.subset(~held & ~equal), dev


def check_apart(dev: ParallelCorpus, place: str, known: Known, other: str, config: DevConfig) -> None:
    """Raise InputError if a development set shares an item with what `known` was made of."""
    found, how = leaking(dev, known, config.level)
    if how.pop("any"):
        raise InputError(
            f"{place}: {int(found.sum())} items are in {other} too ({how}; the first is "
            f"{dev.item_name(int(found.argmax()))!r}); take them out of one of the two, or compare by data.dev.level "
            "question."
        )
