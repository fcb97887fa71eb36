"""Nested sets of languages: each within the next, in the order that a rule says."""

import json
from itertools import pairwise

import pytest

from hybrid.data.nested import as_given, by_script, by_size, main, nested_sets, script_of, sizes_of
from hybrid.runtime.errors import InputError

SIZES = {"en": 90, "de": 80, "fr": 70, "ru": 60, "uk": 50, "zh": 40, "ja": 10}
SCRIPTS = {"en": "LATIN", "de": "LATIN", "fr": "LATIN", "ru": "CYRILLIC", "uk": "CYRILLIC", "zh": "CJK", "ja": "CJK"}


def test_sets_are_nested_and_double():
    sets = nested_sets(by_size(SIZES))
    assert [len(languages) for languages in sets] == [1, 2, 4, 7]
    assert all(small == large[: len(small)] for small, large in pairwise(sets))
    assert nested_sets(["a", "b", "c", "d"]) == [["a"], ["a", "b"], ["a", "b", "c", "d"]]
    assert nested_sets(["a", "b", "c"], [1, 3]) == [["a"], ["a", "b", "c"]]


def test_by_size_the_largest_come_first_and_equal_ones_by_code():
    assert by_size(SIZES | {"ar": 80}) == ["en", "ar", "de", "fr", "ru", "uk", "zh", "ja"]


def test_by_script_every_prefix_has_as_many_scripts_as_it_can():
    order = by_script(SIZES, SCRIPTS)
    assert order == ["en", "ru", "zh", "de", "uk", "ja", "fr"]
    for count in range(1, len(order) + 1):
        assert len({SCRIPTS[code] for code in order[:count]}) == min(count, 3)


def test_a_given_order_is_taken_as_it_is_and_must_name_languages_of_the_data():
    assert as_given(["ja", "en"], SIZES) == ["ja", "en"]
    with pytest.raises(InputError, match="names 'eng', did you mean 'en'"):
        as_given(["eng"], SIZES)
    with pytest.raises(InputError, match="names 'en' twice"):
        as_given(["en", "en"], SIZES)
    with pytest.raises(InputError, match="9 languages is asked for, but there are 7"):
        nested_sets(by_size(SIZES), [9])


def test_scripts_are_read_from_the_texts():
    found = [script_of([text]) for text in ("Der Fluss.", "Река.", "新しい川", "नदी", "1894.")]
    assert found == ["LATIN", "CYRILLIC", "CJK", "DEVANAGARI", "NONE"]


def test_sizes_count_items_by_language(toy):
    assert sizes_of([toy]) == ({"en": 5, "de": 3}, {"en": "LATIN", "de": "LATIN"})


def test_the_command_prints_settings_for_a_recipe(tmp_path, capsys):
    main(["hybrid/recipes/quickstart.yaml", "--rule", "script", "--data.cache", str(tmp_path)])
    told = capsys.readouterr().out.splitlines()
    sets = [line for line in told if "--mixture.languages" in line]
    assert [line.split(":")[0] for line in sets] == ["1", "2", "4", "8"]
    assert {"ar", "hi", "ru", "zh"} & set(json.loads(sets[2].split("'")[1]))


def test_help_needs_no_description(capsys):
    with pytest.raises(SystemExit) as left:
        main(["--help"])
    assert left.value.code == 0
    told = capsys.readouterr()
    assert "python -m hybrid.data.nested [--rule RULE]" in told.out
    assert "--rule script" not in told.err
