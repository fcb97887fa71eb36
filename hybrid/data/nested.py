"""Nested sets of training languages: ``python -m hybrid.data.nested DESCRIPTION [--rule size|script|en,de,...]``.

Prints a `mixture.languages` for 1, 2, 4, 8 ... languages, each set within the next. With training.steps and
training.global_batch left alone the number of updates and of pairs is the same for all of them; `max_items` of a data
set holds the number of different pairs fixed too.
"""

import json
import sys
import unicodedata
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from hybrid.data.corpus import ParallelCorpus
from hybrid.runtime.errors import InputError, nearest
from hybrid.runtime.logs import bad_input_told, log

SAMPLE = 20  # texts of a language from which its script is read


def by_size(sizes: Mapping[str, int]) -> list[str]:
    """Return languages, those with the most items first; equal ones by their code."""
    return sorted(sizes, key=lambda code: (-sizes[code], code))


def by_script(sizes: Mapping[str, int], scripts: Mapping[str, str]) -> list[str]:
    """Return languages so that every set of the first few has as many scripts as it can.

    The largest language of each script comes first, the scripts in the order of those languages' sizes; then the second
    of each script, and so on.
    """
    ordered = by_size(sizes)
    rank = Counter()
    turn = {}
    for code in ordered:
        turn[code] = rank[scripts[code]]
        rank[scripts[code]] += 1
    return sorted(ordered, key=lambda code: (turn[code], ordered.index(code)))


def as_given(given: Sequence[str], sizes: Mapping[str, int]) -> list[str]:
    """Return the languages in a given order; raises InputError for one that the data lacks, or that comes twice."""
    for code in given:
        if code not in sizes:
            raise InputError(f"--rule names {code!r}{nearest(code, sizes)}; the data has {', '.join(sorted(sizes))}.")
    if twice := [code for code, count in Counter(given).items() if count > 1]:
        raise InputError(f"--rule names {twice[0]!r} twice; name each language once.")
    return list(given)


def nested_sets(order: Sequence[str], counts: Iterable[int] | None = None) -> list[list[str]]:
    """Return the first 1, 2, 4, 8 ... languages of an order and all of them, or the first of each of `counts`."""
    if counts is None:
        counts = [2**power for power in range(len(order).bit_length()) if 2**power < len(order)] + [len(order)]
    if wrong := [count for count in counts if not 1 <= count <= len(order)]:
        raise InputError(f"a set of {wrong[0]} languages is asked for, but there are {len(order)}; ask for fewer.")
    return [list(order[:count]) for count in counts]


def script_of(texts: Iterable[str]) -> str:
    """Return the script of most letters of texts, by Unicode's names: LATIN, CYRILLIC, CJK (kana included) ..."""
    letters = (unicodedata.name(c, "OTHER").split()[0] for text in texts for c in text if c.isalpha())
    found = Counter("CJK" if name in ("HIRAGANA", "KATAKANA") else name for name in letters)
    return min(found, key=lambda name: (-found[name], name)) if found else "NONE"


def sizes_of(corpora: Iterable[ParallelCorpus]) -> tuple[dict[str, int], dict[str, str]]:
    """Return the number of items that have a passage in each language, and the script of its passages."""
    sizes, samples = Counter(), {}
    for corpus in corpora:
        tables = corpus.tables
        for items, language, rows in corpus.each_passage():
            code = corpus.languages[language]
            sizes[code] += len(items)
            texts = samples.setdefault(code, [])
            numbers = tables.candidate_passage[tables.answer[rows[: SAMPLE - len(texts)]]].tolist()
            texts += [corpus.texts[number] for number in numbers]
    return dict(sizes), {code: script_of(texts) for code, texts in samples.items()}


def main(arguments: list[str]) -> None:
    """Print the nested sets of a description's training languages."""
    from hybrid.data.__main__ import read_arguments
    from hybrid.data.load import load_corpora

    parser = ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--rule", default="size")
    given, rest = parser.parse_known_args(arguments)
    rule = given.rule
    config, _ = read_arguments(rest, "python -m hybrid.data.nested [--rule RULE]", __doc__)
    sizes, scripts = sizes_of(load_corpora(config).train)
    if rule == "script":
        order = by_script(sizes, scripts)
    else:
        order = by_size(sizes) if rule == "size" else as_given(rule.split(","), sizes)
    for code in order:
        log(f"{code}: {sizes[code]} items, {scripts[code]}")
    for languages in nested_sets(order):
        log(f"{len(languages)}: --mixture.languages '{json.dumps(languages)}'")  # a bare no is YAML's false


if __name__ == "__main__":
    with bad_input_told():
        main(sys.argv[1:])
