"""A small parallel corpus, and a tokenizer like XLM-R's."""

import pytest

from hybrid.models.tokenizer import train_tokenizer
from tests.data.toy import ARTICLES, TRANSLATED, make_corpus


@pytest.fixture
def toy(tmp_path):
    """English and German: b1, b2, t1 in both; b3, m1 in English alone."""
    return make_corpus(tmp_path, {"en": ARTICLES, "de": TRANSLATED})


@pytest.fixture(scope="session")
def tokenizer():
    """A Unigram tokenizer of the toy texts."""
    texts = [t for side in (ARTICLES, TRANSLATED) for paragraphs in side.values() for t, _ in paragraphs]
    return train_tokenizer(texts * 20, 200, 512)
