"""BUCC 2018: translations among German, French, Russian or Chinese sentences and English ones.

Read as published: ``de-en.training.de``, ``.en`` (id, tab, sentence) and ``.gold`` (two ids). The test split's gold is
not public: XTREME tunes the threshold on ``sample`` and scores ``training``, which it calls ``dev`` and ``test``; these
names are read too.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from hybrid.data.files import read_lines
from hybrid.evaluation.comparable import WAYS, Comparable
from hybrid.evaluation.judged import check_documents, check_unknown
from hybrid.evaluation.margin import NEIGHBOURS, Split, side
from hybrid.evaluation.task import Setting, Task
from hybrid.runtime.errors import InputError

_SPLITS = ("sample", "dev", "training", "test")


def read(folder: Path) -> Comparable:
    """Read every pair: the last split with a gold list is scored, the threshold is tuned on the one before it."""
    golds = sorted((*folder.glob("*.gold"), *folder.glob("*/*.gold")))
    names = {path: re.fullmatch(r"(\w+)-(\w+)\.(\w+)\.gold", path.name) for path in golds}
    found: dict[str, dict[str, Path]] = {}
    for path, name in names.items():
        if name and name[3] in _SPLITS:
            found.setdefault(f"{name[1]}>{name[2]}", {})[name[3]] = path
    if not found:
        raise InputError(f"{folder}: holds no file such as de-en.training.gold; get them from {TASK.source}.")
    pairs, counts = {}, {}
    for code, by_split in found.items():
        chosen = [split for split in _SPLITS if split in by_split][-2:]
        if len(chosen) < 2:
            raise InputError(
                f"{folder}: {code} has a gold list for {chosen[0]} only; the threshold is tuned on another split: add "
                f"{code.replace('>', '-')}.sample.gold with its two texts."
            )
        counts[code] = {}
        pairs[code] = tuple(_split(by_split[split], split, counts[code]) for split in chosen)
    return Comparable(pairs, counts)


def _split(gold: Path, name: str, counts: dict[str, int]) -> Split:
    source, target = re.fullmatch(r"(\w+)-(\w+)\..*", gold.name).groups()
    sides = []
    for language in (source, target):
        path = gold.with_suffix(f".{language}")
        if not path.exists():
            raise InputError(f"{path}: is missing beside {gold.name}; fetch the split again.")
        rows = list(_columns(path))
        check_documents([row[0] for row in rows], str(path))
        sides.append([(name, text.strip()) for name, text in rows if text.strip()])
        counts[f"{name}: empty sentences of {language}"] = len(rows) - len(sides[-1])
        if len(sides[-1]) < NEIGHBOURS:
            raise InputError(f"{path}: holds {len(sides[-1])} sentences; the margin needs {NEIGHBOURS} at least.")
    pairs = [tuple(row) for row in _columns(gold)]
    known = [{row[0] for row in rows} for rows in sides]
    unknown = [f"{one} {other}" for one, other in pairs if one not in known[0] or other not in known[1]]
    check_unknown(unknown, len(pairs), str(gold))
    counts[f"{name}: gold pairs with an unknown id"] = len(unknown)
    return Split(name, side(sides[0]), side(sides[1]), frozenset(pairs))


def _columns(path: Path) -> Iterator[tuple[str, str]]:
    for number, line in read_lines(str(path)):
        name, tab, text = line.partition("\t")
        if not tab or not name.strip():
            raise InputError(f"{path}, line {number}: is {line!r:.60}; expected an id, a tab and a sentence or an id.")
        yield name.strip(), text.strip()


TASK = Task(
    name="bucc",
    read=read,
    folder="bucc2018",
    settings=tuple(Setting(way, "other", ("f1", "precision", "recall")) for way in WAYS),
    source="https://comparable.limsi.fr/bucc2018/bucc2018-task.html",
    licence="for research; see the source",
    citation="Zweigenbaum et al. 2018, BUCC 2018 shared task; Artetxe and Schwenk 2019 (arXiv 1811.01136)",
    query_max_length=128,
    prefixes=("query", "query"),
    languages=("de>en", "fr>en", "ru>en", "zh>en"),
    revision="2018, sample and training",
)
