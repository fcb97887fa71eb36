"""Whether dictionaries fit the texts that they are to switch: their coverage, and their direction."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from hybrid.data.codeswitch_sentences import SentenceSwitch
from hybrid.data.codeswitch_words import WordSwitch
from hybrid.data.corpus import ParallelCorpus
from hybrid.data.lexicon import Lexicon
from hybrid.data.words import base
from hybrid.runtime.errors import InputError, nearest
from hybrid.runtime.logs import log, warn

SAMPLE = 400  # texts of each language that coverage is measured on
FEW = 200  # words below which a sample says nothing about a dictionary's direction; texts to split into sentences
SURE = 0.1  # of the words, from which on they are the dictionary's language and no chance


def check_words(switch: WordSwitch, corpora: Sequence[ParallelCorpus]) -> dict[tuple[str, str], float]:
    """Log and return the part of a language's words that have a translation, by (source, target).

    Raises InputError for dictionaries that fit no text, go in the wrong direction, or lack a language that is named.
    """
    known = sorted({target for lexicon in switch.lexicons.values() for target in lexicon.targets})
    for code in switch.config.languages or []:
        if code not in known:
            raise InputError(
                f"data.codeswitch.languages names {code!r}{nearest(code, known)}; the dictionaries lead to "
                f"{', '.join(known)}."
            )
    texts = _sample(corpora)
    found: dict[tuple[str, str], float] = {}
    for language in sorted(texts):
        if not (lexicon := switch.lexicon(language)):
            continue
        if not (cut := switch.cutter(language)):
            warn(
                f"data.codeswitch: {language} is written without spaces, so its texts are left as they are; name what "
                f"cuts them into words in data.codeswitch.segmenters.{base(language)}."
            )
            continue
        words = [text[a:b].casefold() for text in texts[language] for a, b in cut(text)]
        found |= _coverage(switch, lexicon, language, words)
    if not found:
        raise InputError(
            f"data.codeswitch: the dictionaries are for texts in {', '.join(sorted(switch.lexicons))}, but the texts "
            f"are in {', '.join(sorted(texts))}; give dictionaries out of those, or set data.codeswitch.both_ways."
        )
    parts = [f"{source} > {target} {100 * part:.0f}%" for (source, target), part in found.items()]
    log(f"data: code-switching: words that have a translation: {', '.join(parts)}")
    return found


def check_sentences(switch: SentenceSwitch, numbers: Sequence[int], sides: Sequence[str]) -> dict[str, float]:
    """Log and return the part of each language's texts that have a translation of as many sentences.

    Args:
        numbers: of the corpora whose texts are switched.
        sides: "query", "passage" or both.
    """
    able: dict[str, list[bool]] = {}
    for number in numbers:
        corpus, places = switch.corpora[number], defaultdict(list)
        for side, items, language, texts in _sides(corpus):
            if side in sides:
                places[side, corpus.languages[language]].append(np.stack([items, texts], axis=1))
        for (side, name), found in places.items():
            rows = np.concatenate(found)
            for item, text in rows[:: -(-len(rows) // FEW)].tolist():
                others = switch.others(number, item, side, name, corpus.texts[text])
                able.setdefault(name, []).append(bool(others))
    parts = {name: sum(own) / len(own) for name, own in sorted(able.items())}
    told = ", ".join(f"{name} {100 * part:.0f}%" for name, part in parts.items())
    log(f"data: code-switching: texts that have a translation of as many sentences: {told or 'none'}")
    return parts


def _coverage(switch: WordSwitch, lexicon: Lexicon, language: str, words: list[str]) -> dict[tuple[str, str], float]:
    units = np.array([unit for word in words if (unit := lexicon.units.get(word)) is not None], np.int64)
    targets = switch.targets(lexicon, language)
    begin, end = lexicon.ranges(targets, units)
    found = {}
    for target, known in zip(targets.tolist(), (end > begin).sum(1).tolist(), strict=True):
        part = known / max(1, len(words))
        _check_direction(lexicon, target, language, words, part)
        found[language, lexicon.targets[target]] = part
    return found


def _check_direction(lexicon: Lexicon, target: int, language: str, words: list[str], part: float) -> None:
    """Raise InputError where a dictionary's translations know a language's words better than its own words do; warn
    where both know next to nothing."""
    vocabulary = lexicon.vocabulary(target)
    other = sum(word in vocabulary for word in words) / max(1, len(words))
    if len(words) < FEW or other < part:
        return
    code = lexicon.targets[target]
    about = (
        f"{lexicon.first[code]}: the dictionary is named {lexicon.source}-{code}, but of the words of the {language} "
        f"texts {100 * part:.0f}% are in its first column and {100 * other:.0f}% in its second"
    )
    if other < SURE:
        warn(f"{about}, so it replaces next to nothing; see whether it is of these languages.")
    elif other > part:
        raise InputError(f"{about}, so it leads to {language}; name it {code}-{lexicon.source}.")


def _sample(corpora: Sequence[ParallelCorpus]) -> dict[str, list[str]]:
    """Return texts of each language, from all over the corpora."""
    found: dict[str, list[str]] = {}
    for corpus in corpora:
        for _, _, language, numbers in _sides(corpus):
            own = found.setdefault(corpus.languages[language], [])
            chosen = numbers[:: max(1, len(numbers) // SAMPLE)][: SAMPLE - len(own)]
            own += [corpus.texts[number] for number in chosen.tolist()]
    return found


def _sides(corpus: ParallelCorpus) -> Iterator[tuple[str, np.ndarray, int, np.ndarray]]:
    """Yield side, items, language and text numbers of the queries, then of the passages, by language."""
    tables = corpus.tables
    for items, language, rows in corpus.each_query():
        yield "query", items, language, tables.query_text[rows]
    for items, language, rows in corpus.each_passage():
        yield "passage", items, language, tables.candidate_passage[tables.answer[rows]]
