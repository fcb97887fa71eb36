"""Bilingual dictionaries in the forms that they are published in, as pairs of a word or phrase and its translation."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO
from xml.etree import ElementTree

from hybrid.data.files import open_text, read_lines
from hybrid.runtime.errors import InputError

MOST_BROKEN = 0.01  # of a file's lines: more of them, and it is no such file


@dataclass
class Entries:
    """The pairs of one dictionary file."""

    path: str
    pairs: list[tuple[str, str]] = field(default_factory=list)
    """Word or phrase, and a translation; an entry with several translations comes several times."""
    first: str = ""
    """Place of the first pair, for errors."""
    broken: list[str] = field(default_factory=list)
    """Places of lines that hold no pair."""

    def add(self, word: str, translation: str, place: str) -> None:
        """Take a pair."""
        if not self.pairs:
            self.first = f"{place}: {word!r}, {translation!r}"
        self.pairs.append((word, translation))


def read_dictionary(path: str) -> Entries:
    """Read a dictionary: FreeDict's TEI, or lines of two columns (a tab, or one space as MUSE has them, between).

    Raises InputError, with file and line, where it is missing or broken in more than one line of a hundred.
    """
    return _read_tei(path) if re.search(r"\.tei(\.gz)?$", path) else _read_columns(path)


def _read_columns(path: str) -> Entries:
    found = Entries(path)
    number = 0
    for number, line in read_lines(path):
        columns = [column.strip() for column in (line.split("\t") if "\t" in line else line.split(" "))]
        if len(columns) == 2 and all(columns):
            found.add(*columns, f"{path}, line {number}")
        else:
            found.broken.append(f"{path}, line {number}: {line[:60]!r}")
    if len(found.broken) > MOST_BROKEN * number:
        others = f", and neither are {count} other lines" if (count := len(found.broken) - 1) else ""
        raise InputError(
            f"{found.broken[0]} is no pair{others}, of {number}; expected a word, one space or a tab (a tab where "
            "there are phrases), and its translation. Mend the file."
        )
    return found


def _read_tei(path: str) -> Entries:
    """Read entries of FreeDict: the headwords of an entry, and the quotes of its translations, not of its examples."""
    found = Entries(path)
    try:
        with open_text(path) as file:
            for headwords, translations in _entries(file):
                for word in headwords:
                    for translation in translations:
                        found.add(word, translation, f"{path}, entry {word!r}")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); check the path.") from error
    except (ElementTree.ParseError, EOFError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: is broken XML ({error}); expected FreeDict's TEI. Replace the file.") from error
    if not found.pairs:
        raise InputError(f"{path}: holds no entry with a translation; expected FreeDict's TEI, with <entry> and <cit>.")
    return found


def _entries(file: IO[str]) -> Iterator[tuple[list[str], list[str]]]:
    for _, element in ElementTree.iterparse(file):
        if _name(element) == "entry":
            forms = _inside(element, "orth")
            # Some of its dictionaries have their translations as definitions.
            yield _texts(forms), _texts(_translations(element)) or _texts(_inside(element, "def"))
            element.clear()


def _translations(element: ElementTree.Element) -> Iterator[ElementTree.Element]:
    """Yield the quotes of an entry's translations; an example quotes a whole sentence, and so does its translation."""
    for child in element:
        kind = child.get("type") if _name(child) == "cit" else None
        if kind in ("trans", "translation"):
            yield from (part for part in child if _name(part) == "quote")
        elif _name(child) == "tr":  # older files
            yield child
        elif kind is None:
            yield from _translations(child)


def _inside(element: ElementTree.Element, name: str) -> Iterator[ElementTree.Element]:
    return (part for part in element.iter() if _name(part) == name)


def _texts(elements: Iterator[ElementTree.Element]) -> list[str]:
    texts = (" ".join("".join(element.itertext()).split()) for element in elements)
    return list(dict.fromkeys(text for text in texts if text))


def _name(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]
