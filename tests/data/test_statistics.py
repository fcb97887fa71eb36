"""The statistics command: figures that can be counted by hand."""

import json

import numpy as np
import pytest

from hybrid.data.__main__ import main
from hybrid.data.statistics import describe, pair_counts
from hybrid.data.store import token_store
from hybrid.runtime.errors import InputError
from tests.data.toy import ARTICLES, TRANSLATED, make_config, make_corpus, write


def test_pairs_count_the_items_that_both_languages_have(toy):
    assert toy.languages == ("de", "en")
    assert pair_counts(toy).tolist() == [[3, 3], [3, 5]]


def test_lengths_are_of_the_whole_passage(tmp_path, toy, tokenizer):
    config = make_config(tmp_path, {"en": ARTICLES, "de": TRANSLATED})
    lines = list(describe(toy, config, token_store([toy], tokenizer, tmp_path)))
    longest = next(line.split()[-2] for line in lines if line.split()[:2] == ["en", "passages"])
    context, sentence = ARTICLES["Bridge"][0][0], "The bridge was built in 1894."
    assert int(longest) == len(tokenizer(f"{sentence} {context}", add_special_tokens=False)["input_ids"])


def test_equal_questions_are_counted_per_language(tmp_path):
    twice = {"A": [("Tea is old.", [("1", "Old?", "Tea")]), ("Ice is old.", [("2", "Old?", "Ice")])]}
    corpus = make_corpus(tmp_path, {"en": twice})
    row = next(line.split() for line in describe(corpus, make_config(tmp_path, {"en": twice}), None) if " en " in line)
    assert row == ["en", "2", "2", "1", "1.00"]


def test_the_command_reads_a_recipe_and_takes_flags(tmp_path, capsys):
    config = make_config(tmp_path, {"en": ARTICLES, "de": TRANSLATED})
    files = config.sets["toy"].files
    recipe = {"data": {"sets": {"toy": {"files": files}}, "cache": config.cache}, "training": {"steps": 1}}
    path = write(tmp_path / "recipe.yaml", json.dumps(recipe))
    main([path, "--data.dev.articles", "1"])
    printed = capsys.readouterr().out
    assert "toy: " in printed
    assert "development data" in printed
    assert "lengths in characters" in printed
    with pytest.raises(InputError, match="there is no such file"):
        main([str(tmp_path / "no.yaml")])
    with pytest.raises(InputError, match="queries"):
        main([path, "--data.queries", "1"])


def test_a_corpus_without_tokens_is_measured_in_characters(tmp_path, toy):
    config = make_config(tmp_path, {"en": ARTICLES})
    lines = [line.split() for line in describe(toy, config, None)]
    longest = max(len(question) for content in ARTICLES.values() for _, qas in content for _, question, _ in qas)
    assert next(int(line[-1]) for line in lines if line[:2] == ["en", "queries"]) == longest
    assert np.array(pair_counts(toy)).max() == len(toy)
