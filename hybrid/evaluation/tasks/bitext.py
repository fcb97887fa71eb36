"""Tatoeba, FLORES-200 and NTREX-128: nearest-neighbour accuracy of translations, to and from English."""

import re
from pathlib import Path

from hybrid.evaluation.bitext import Bitext, check_bitext
from hybrid.evaluation.languages import FLORES_203, NTREX_127, RESOURCES, TATOEBA_112, XLMR, group_of, xtreme_36
from hybrid.evaluation.task import Setting, Task
from hybrid.runtime.errors import InputError


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").removesuffix("\n").split("\n")


def _bitext(pairs: dict[str, tuple[list[str], list[str]]], place: Path) -> Bitext:
    groups = {name: group_of(pairs, codes) for name, codes in {"xlmr_languages": XLMR, **RESOURCES}.items()}
    english = frozenset(code for code in pairs if code.startswith("eng"))
    groups["other_languages"] = frozenset(pairs) - groups["xlmr_languages"] - english
    groups["xtreme_36"] = xtreme_36(pairs)
    return check_bitext(Bitext("eng", pairs, groups), str(place))


def read_tatoeba(folder: Path) -> Bitext:
    """Read ``tatoeba.xxx-eng.xxx`` and ``tatoeba.xxx-eng.eng`` for each language xxx."""
    codes = [
        match[1] for path in sorted(folder.iterdir()) if (match := re.fullmatch(r"tatoeba\.(\w+)-eng\.\1", path.name))
    ]
    pairs = {}
    for code in codes:
        english = folder / f"tatoeba.{code}-eng.eng"
        if not english.exists():
            raise InputError(f"{english}: is missing beside its {code} side; fetch the pair again.")
        pairs[code] = (_lines(folder / f"tatoeba.{code}-eng.{code}"), _lines(english))
    return _bitext(pairs, folder)


def read_flores(folder: Path) -> Bitext:
    """Read ``CODE.devtest`` of every language, such as ``deu_Latn.devtest``, with ``eng_Latn`` as the pivot."""
    sides = {path.stem: _lines(path) for path in sorted(folder.glob("*.devtest"))}
    return _with_english(sides, "eng_Latn", folder)


def read_ntrex(folder: Path) -> Bitext:
    """Read ``newstest2019-ref.CODE.txt`` of every language, with ``newstest2019-src.eng.txt`` as the pivot."""
    sides = {path.name.split(".")[1]: _lines(path) for path in sorted(folder.glob("newstest2019-*.txt"))}
    return _with_english(sides, "eng", folder)


def _with_english(sides: dict[str, list[str]], english: str, folder: Path) -> Bitext:
    if english not in sides:
        raise InputError(f"{folder}: has no file of {english}, which all others are compared with; fetch it again.")
    pairs = {code: (lines, sides[english]) for code, lines in sides.items() if code != english}
    return _bitext(pairs, folder)


def _task(name: str, read, folder: str, **about) -> Task:
    settings = tuple(
        Setting(f"{way}_eng", "other", ("accuracy", "accuracy_xtreme_36"), depth=10) for way in ("to", "from")
    )
    return Task(name, read, folder, settings, query_max_length=128, prefixes=("query", "query"), **about)


TASKS = [
    _task(
        "tatoeba",
        read_tatoeba,
        "tatoeba",
        source="https://github.com/facebookresearch/LASER (data/tatoeba/v1)",
        licence="CC BY 2.0 FR",
        citation="Artetxe and Schwenk 2019 (arXiv 1812.10464)",
        languages=TATOEBA_112,
        revision="LASER, data/tatoeba/v1",
        digest="51e22e4d3a1d68b9b3652bf2d2314411",
    ),
    _task(
        "flores",
        read_flores,
        "flores-200",
        source="https://github.com/facebookresearch/flores",
        licence="CC BY-SA 4.0",
        citation="NLLB team 2022 (arXiv 2207.04672)",
        languages=FLORES_203,
        revision="FLORES-200 devtest",
        digest="60d5170c905516eb8cc6ed4ced2c8581",
    ),
    _task(
        "ntrex",
        read_ntrex,
        "ntrex-128",
        source="https://github.com/MicrosoftTranslator/NTREX",
        licence="CC BY-SA 4.0",
        citation="Federmann et al. 2022, NTREX-128",
        languages=NTREX_127,
        revision="NTREX-128, newstest2019",
        digest="c18cda45e73ef3a7dfc7ffc111af23f3",
    ),
]
