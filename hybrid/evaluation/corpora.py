"""Passages out of corpus files: JSON lines of BEIR, MIRACL and Pyserini, TSV of DPR and MS MARCO."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from hybrid.data.files import parse_json, read_lines
from hybrid.runtime.errors import InputError

_ID = ("_id", "docid", "id")
_TEXT = ("text", "contents", "passage")


def read_corpus(paths: Iterable[Path]) -> tuple[list[str], list[str]]:
    """Return the ids and texts of all passages: ``title\\ntext`` where there is a title, as MIRACL and BGE-M3 have it.

    JSON lines have an id (``_id``, ``docid`` or ``id``), a text (``text``, ``contents`` or ``passage``) and perhaps a
    title. Lines of TSV are id, text and perhaps title, or as a first line of column names says. Files may be .gz.

    Raises InputError with file and line where a row has no id or text.
    """
    ids, texts = [], []
    for path in paths:
        for name, title, text in _json(path) if ".json" in path.name else _tabs(path):
            ids.append(name)
            texts.append(f"{title}\n{text}" if title else text)
    return ids, texts


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
        name, text = (_first(row, keys, f"{path}, line {number}") for keys in (_ID, _TEXT))
        yield str(name), str(row.get("title") or ""), str(text)


def _first(row: dict[str, Any], keys: Sequence[str], place: str) -> Any:
    for key in keys:
        if key in row:
            return row[key]
    raise InputError(f"{place}: has none of {', '.join(keys)}, only {', '.join(row) or 'nothing'}; expected a passage.")


def _tabs(path: Path) -> Iterator[tuple[str, str, str]]:
    names = ["id", "text", "title"]
    for number, line in read_lines(str(path)):
        columns = line.split("\t")
        if number == 1 and {"id", "text"} <= {column.strip() for column in columns}:
            names = [column.strip() for column in columns]
            continue
        if not 2 <= len(columns) <= len(names):
            raise InputError(f"{path}, line {number}: has {len(columns)} columns; expected {', '.join(names)}.")
        row = dict(zip(names, columns, strict=False))
        yield row["id"], row.get("title", ""), row["text"]
