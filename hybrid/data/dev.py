"""The development split: whole articles of the training corpora, or files of its own."""

from collections.abc import Sequence

import numpy as np

from hybrid.data.config import DevConfig, Level
from hybrid.data.corpus import ParallelCorpus
from hybrid.data.leakage import Known, hits_in, leaking
from hybrid.runtime.errors import InputError


def hold_out(corpus: ParallelCorpus, config: DevConfig) -> tuple[ParallelCorpus, ParallelCorpus]:
    """Return a corpus without some of its articles, and the items of those articles, `max_items` at most.

    What is left shares no article with what is held out, nor a question or passage that happens to be equal. Other
    corpora may: the caller looks there. Raises InputError if no article would be left.
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
    equal = leaking(corpus, known, *hits_in(corpus, [known], config.level))[0]
    return corpus.subset(~held & ~equal), dev


def check_apart(dev: ParallelCorpus, place: str, train: Sequence[ParallelCorpus], sets: dict[str, Known], level: Level):
    """Raise InputError if a development set shares an item with a training corpus or an evaluation set.

    Args:
        place: the development set's key in the recipe.
        sets: the evaluation sets by name.
    """
    own = Known()
    own.add_corpus(dev)
    # The small set is held in memory, the training texts are gone through.
    pairs = [("the training corpus", corpus, own) for corpus in train]
    for other, corpus, known in [*pairs, *((name, dev, known) for name, known in sets.items())]:
        shared, how = leaking(corpus, known, *hits_in(corpus, [known], level))
        if how.pop("any"):
            raise InputError(
                f"{place}: {int(shared.sum())} items are in {other} too ({how}; the first is "
                f"{corpus.item_name(int(shared.argmax()))!r} of {corpus.name}); take them out of one of the two, or "
                "compare by data.dev.level question."
            )
