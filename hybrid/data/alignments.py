"""Phrases and their translations out of word-aligned parallel text."""

from collections import Counter
from collections.abc import Iterator
from itertools import zip_longest

from hybrid.data.codeswitch_config import AlignedText
from hybrid.data.dictionaries import Entries
from hybrid.data.files import expand, read_all_lines
from hybrid.data.words import spans
from hybrid.runtime.errors import InputError

Links = list[tuple[int, int]]

LEAST_SHARE = 0.25  # of the count of a phrase's commonest translation: what is rarer is mostly an aligner's slip


def read_aligned(config: AlignedText, most_words: int, least_count: int) -> Entries:
    """Return the phrases of at most `most_words` words that aligned text translates `least_count` times or more.

    Of a phrase's translations those are taken that are not much rarer than its commonest one.

    Raises InputError, with file and line, for links in another form, or to words that a line does not have, and where
    the three files differ in length.
    """
    counts: Counter[tuple[str, str]] = Counter()
    found = Entries(config.links)
    for place, source, target, links in _lines(config):
        for first, last, start, stop in phrases(links, most_words):
            # Marks that the aligner saw as words are no end of a phrase: texts are looked up by words alone.
            if all(map(spans, (source[first], source[last], target[start], target[stop]))):
                pair = " ".join(source[first : last + 1]), " ".join(target[start : stop + 1])
                counts[_bare(pair[0]), _bare(pair[1])] += 1
        found.first = found.first or place
    commonest: Counter[str] = Counter()
    for (phrase, _), count in counts.items():
        commonest[phrase] = max(commonest[phrase], count)
    found.pairs = [
        pair for pair, count in counts.items() if count >= max(least_count, LEAST_SHARE * commonest[pair[0]])
    ]
    if not found.pairs:
        raise InputError(
            f"{config.links}: no phrase is translated {least_count} times; lower data.codeswitch.phrase_count, or give "
            "more aligned text."
        )
    return found


def phrases(links: Links, most_words: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield the consistent phrase pairs of one sentence (Koehn et al. 2003, "Statistical phrase-based translation",
    section 3.1): first and last word of the source, first and last word of the target.

    Words inside link to words inside alone, and at least one link is inside. Unaligned words at the ends stay out.
    """
    linked = sorted({source for source, _ in links})
    for place, first in enumerate(linked):
        for last in linked[place:]:
            if last - first >= most_words:
                break
            targets = [target for source, target in links if first <= source <= last]
            start, stop = min(targets), max(targets)
            inside = (first <= source <= last for source, target in links if start <= target <= stop)
            if stop - start < most_words and all(inside):
                yield first, last, start, stop


def _lines(config: AlignedText) -> Iterator[tuple[str, list[str], list[str], Links]]:
    paths = [expand(path) for path in (config.source, config.target, config.links)]
    for number, (a, b, c) in enumerate(zip_longest(*map(read_all_lines, paths)), 1):
        if a is None or b is None or c is None:
            short = [path for path, line in zip(paths, (a, b, c), strict=True) if line is None]
            raise InputError(f"{short[0]}: ends before line {number}, which {paths[0]} or its partners have.")
        words = a.split(), b.split()
        yield f"{paths[2]}, line {number}", *words, _links(c, *words, f"{paths[2]}, line {number}")


def _links(line: str, source: list[str], target: list[str], place: str) -> Links:
    found = []
    for link in line.split():
        first, mark, second = link.partition("-")
        if not (mark and first.isdigit() and second.isdigit()):
            raise InputError(f"{place}: has {link!r}; expected links such as 0-0 (word of the source, of the target).")
        pair = int(first), int(second)
        if pair[0] >= len(source) or pair[1] >= len(target):
            raise InputError(
                f"{place}: links {link}, but the sentences have {len(source)} and {len(target)} words; give the text "
                "that the aligner saw."
            )
        found.append(pair)
    return found


def _bare(phrase: str) -> str:
    """Return a phrase without the marks at its ends."""
    words = spans(phrase)
    return phrase[words[0][0] : words[-1][1]]
