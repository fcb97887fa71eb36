"""Passages out of corpus files: JSON lines of BEIR, MIRACL and Pyserini, TSV of DPR and MS MARCO."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from hybrid.data.cache import FORM, built_once, cache_folder, counted
from hybrid.data.files import parse_json, read_lines
from hybrid.data.texts import IDS, PlainTextWriter, Texts
from hybrid.runtime.errors import InputError
from hybrid.runtime.files import digest

ID = ("_id", "docid", "id")
TEXT = ("text", "contents", "passage")
# Raised where the same files give other passages than before: FORM counts what the data room changes.
_FORM = 1
_DPR = ["id", "text", "title"]
"""The first line of DPR's ``psgs_w100.tsv``."""
_LONGEST = 1 << 24
"""Letters of a quoted column; an opening quote that is never closed ends there."""


def read_corpus(paths: Sequence[Path]) -> tuple[Texts, Texts]:
    """Return the ids and texts of all passages: ``title\\ntext`` where there is a title, as MIRACL and BGE-M3 have it.

    JSON lines have an id (``_id``, ``docid`` or ``id``), a text (``text``, ``contents`` or ``passage``) and perhaps a
    title. Lines of TSV are id, text and perhaps title, or as a first line of column names says; where that is
    ``id text title``, as in DPR's file, columns are quoted as in CSV. Files may be .gz.

    They are read once, into a folder of the cache from which all processes of a node map them, again only where a
    file's path, size or time of change is another: tens of millions of passages are in nobody's memory.

    Raises InputError with file and line where a row has no id or text.
    """
    states = [(str(path.resolve()), path.stat()) for path in paths if path.exists()]
    files = [(name, state.st_size, state.st_mtime_ns) for name, state in states]
    key = digest([FORM, _FORM, files, list(map(str, paths))])
    folder = built_once(cache_folder(None) / "passages" / key, partial(_store, paths=paths))
    return Texts(folder, IDS), Texts(folder)


def _store(folder: Path, paths: Sequence[Path]) -> None:
    ids, texts = PlainTextWriter(folder, IDS), PlainTextWriter(folder)
    for path in paths:
        for name, title, text in counted(_json(path) if ".json" in path.name else _tabs(path)):
            try:
                ids.add(name)
                texts.add(f"{title}\n{text}" if title else text)
            except UnicodeEncodeError as error:
                raise InputError(f"{path}: passage {name!a} is no valid Unicode ({error.reason}); mend it.") from error
    ids.close()
    texts.close()


def either(path: Path) -> Path:
    """Return the path, or the same with .gz behind it where only that is there."""
    packed = path.with_name(path.name + ".gz")
    return packed if packed.exists() and not path.exists() else path


def json_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number, object) of a file of JSON lines."""
    for number, line in read_lines(str(path)):
        yield number, parse_json(line, f"{path}, line {number}")


def _json(path: Path) -> Iterator[tuple[str, str, str]]:
    for number, row in json_rows(path):
        name, text = (first_of(row, keys, f"{path}, line {number}") for keys in (ID, TEXT))
        yield name, str(row.get("title") or ""), text


def _quoted(lines: Iterable[tuple[int, str]], path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield (last line number, columns) of CSV with tabs, in which a quoted text may go over several lines."""
    at = [0]

    def text() -> Iterator[str]:
        for at[0], line in lines:
            yield f"{line}\n"

    csv.field_size_limit(_LONGEST)
    try:
        for columns in csv.reader(text(), delimiter="\t", strict=True):
            yield at[0], columns
    except csv.Error as error:
        raise InputError(
            f"{path}, line {at[0]}: is not quoted as DPR's psgs_w100.tsv is ({error}); fetch the file again, or leave "
            "its first line out if it has no quoting."
        ) from error


def first_of(row: dict[str, Any], keys: Sequence[str], place: str) -> str:
    """Return the value of the first of these keys that a row has; raises InputError with `place` if it has none."""
    for key in keys:
        if row.get(key) is not None:
            return str(row[key])
    raise InputError(f"{place}: has none of {', '.join(keys)}, only {', '.join(row) or 'nothing'}; expected a passage.")


def _tabs(path: Path) -> Iterator[tuple[str, str, str]]:
    """Yield (id, title, text) of a file with or without a first line of names; `_DPR`'s is quoted as CSV is."""
    lines = read_lines(str(path))
    first = next(lines)
    given = [column.strip() for column in first[1].split("\t")]
    named = {"id", "text"} <= set(given)
    names = given if named else ["id", "text", "title"]
    rest = lines if named else chain([first], lines)
    rows = _quoted(rest, path) if given == _DPR else ((number, line.split("\t")) for number, line in rest)
    for number, columns in rows:
        if not 2 <= len(columns) <= len(names):
            raise InputError(f"{path}, line {number}: has {len(columns)} columns; expected {', '.join(names)}.")
        row = dict(zip(names, columns, strict=False))
        yield row["id"], row.get("title", ""), row["text"]
