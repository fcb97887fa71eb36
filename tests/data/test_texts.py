"""Texts in one file: each once, numbered in the order of their first use, in little memory."""

import random
import tracemalloc

import pytest

from hybrid.data.config import DataConfig, DatasetConfig
from hybrid.data.load import load_corpora
from hybrid.data.texts import Texts, TextWriter, _Numbers


@pytest.mark.parametrize("slots", [None, 3])
def test_numbers_are_those_that_a_dictionary_would_give(slots):
    """With few slots that digests can name, nearly all clash, at the table's end too."""
    numbers, expected, draw = _Numbers(), {}, random.Random(0)
    for _ in range(1500 if slots else 20000):
        start = (2**64 - 1 - draw.randrange(slots)).to_bytes(8, "little") if slots else draw.randbytes(8)
        again = draw.choice(list(expected)) if expected and draw.random() < 0.01 else None
        digest = again or start + draw.randbytes(8)
        assert numbers(digest) == expected.setdefault(digest, len(expected))
    assert bytes(numbers.digests) == b"".join(expected)


def test_a_text_that_comes_again_keeps_its_number_and_stands_in_the_file_once(tmp_path):
    writer, draw = TextWriter(tmp_path), random.Random(0)
    given = [f"text {draw.randrange(3000)}" for _ in range(9000)]
    numbers = [writer.add(f" {text}\n") for text in given]
    writer.close()
    texts = Texts(tmp_path)
    assert [texts[number] for number in numbers] == given
    assert len(texts) == len(set(given)) == max(numbers) + 1
    assert list(texts) == list(dict.fromkeys(given))


def test_reading_a_corpus_holds_a_hundred_bytes_a_text_not_its_texts(tmp_path):
    def peak(count: int) -> int:
        path = tmp_path / f"{count}.tsv"
        lines = (f"{n}\twhat is {n}? {'x' * 300}\tit is {n}. {'y' * 300}\n" for n in range(count))
        path.write_text("id\tquery\tpassage\n" + "".join(lines))
        config = DatasetConfig(format="pairs", files={"en": str(path)})
        tracemalloc.start()
        load_corpora(DataConfig(sets={"a": config}, passage="paragraph", cache=str(tmp_path / "cache")))
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(1000)  # what the first build imports
    small, large = peak(5000), peak(25000)
    assert (large - small) / 40000 < 130, (large - small) / 40000
