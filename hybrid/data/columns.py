"""Rows whose fields have names: JSON lines, TSV with a line of column names, `datasets` tables."""

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from hybrid.data.config import DatasetConfig
from hybrid.data.files import parse_json, read_lines
from hybrid.data.records import Row
from hybrid.data.report import Report
from hybrid.data.squad import BAD_ANSWERS, UNANSWERABLE, answers_of, find_answer
from hybrid.runtime.errors import InputError, nearest

FIELDS = ("query", "passage", "query_lang", "passage_lang", "lang", "negatives", "id", "group", "article", "answers")
SPLIT = re.compile(r"(train|valid|dev|test)(ation)?(?![a-z])")  # with which the hub's names of files begin
TABLES = {".parquet": "parquet", ".arrow": "arrow", ".jsonl": "json", ".csv": "csv"}  # endings, builders of `datasets`


class Columns:
    """Finds the fields of a row under the names that a file gives them."""

    def __init__(self, config: DatasetConfig, place: str):
        for name in config.columns:
            if name not in FIELDS:
                raise InputError(
                    f"{place}.columns has {name!r}{nearest(name, FIELDS)}; the fields are {', '.join(FIELDS)}."
                )
        self.names = {field: config.columns.get(field, field) for field in FIELDS}
        self.languages = config.languages

    def row(self, values: Mapping[str, Any], where: str, language: str | None, report: Report) -> Row | None:
        """Return the Row of one line; notes it in `report` and returns None if it lacks something.

        Args:
            values: the line's values by column.
            where: file and line, for errors, and the row's id where it has none.
            language: that of the file, where the recipe tells it.
        """
        found = {field: self._value(values, field) for field in FIELDS}
        both = found["lang"] or language
        languages = found["query_lang"] or both, found["passage_lang"] or both
        name = found["id"]
        place = f"{where}, id {name}" if name not in (None, "") else where
        for field, value in (("query", found["query"]), ("passage", found["passage"])):
            if not isinstance(value, str) or not value.strip():
                return report.note(f"no {field}", place)
        for side, code in zip(("query_lang", "passage_lang"), languages, strict=True):
            if not isinstance(code, str) or not code:
                return report.note(f"no {side}", place)
            if self.languages and code not in self.languages:
                return report.note(f"language {code} is not among those taken", place, bad=False)
        negatives = _texts(found["negatives"])
        if negatives is None:
            report.note("negatives that are not texts, left out", place, bad=False)
            negatives = []
        start, texts = None, _texts(found["answers"]) or []
        if _tell_places(found["answers"]):
            if (answers := answers_of(found["answers"])) is None:
                return report.note(BAD_ANSWERS, place)
            start, _, cause = find_answer(answers, found["passage"])
            texts = [text for text, _ in answers]
            if cause:
                report.note(cause, place, bad=cause != UNANSWERABLE)
            if start is None:
                return None
        return Row(
            id=str(name) if name not in (None, "") else where,
            query=found["query"],
            query_language=str(languages[0]),
            passage=found["passage"],
            passage_language=str(languages[1]),
            answer_start=start,
            answers=texts,
            article=_text(found["article"]),
            group=_text(found["group"]),
            negatives=negatives,
            named=name not in (None, ""),
        )

    def _value(self, values: Mapping[str, Any], field: str) -> Any:
        name = self.names[field]
        value = name[1:] if name.startswith("=") else values.get(name)
        return None if value != value else value  # pandas writes NaN for what is missing


def pair_rows(path: str, language: str | None, columns: Columns, report: Report) -> Iterator[Row]:
    """Yield the rows of a JSONL file, or of a TSV file whose first line names its columns."""
    header: list[str] | None = None
    for number, line in read_lines(path):
        where = f"{path}, line {number}"
        if header is None:  # the first line that holds something tells the form of all
            header = [] if line.lstrip().startswith("{") else line.split("\t")
            if header:
                _check_header(header, columns, path)
                continue
        if header and line.count("\t") != len(header) - 1:
            raise InputError(f"{where}: has {line.count(chr(9)) + 1} columns, but the first line names {len(header)}.")
        values = dict(zip(header, line.split("\t"), strict=True)) if header else parse_json(line, where)
        if not isinstance(values, dict):
            raise InputError(
                f"{where}: is {line[:60]!r}, no JSON object; expected {{...}} as in the first line, mend it."
            )
        if row := columns.row(values, where, language, report):
            yield row


def table_rows(config: DatasetConfig, paths: list[str], place: str, report: Report) -> Iterator[Row]:
    """Yield the rows of a hub data set, of local Arrow or Parquet files, or of a folder of ``save_to_disk``."""
    columns, name = Columns(config, place), config.hub or ", ".join(paths)
    number = -1
    try:
        for number, values in enumerate(_open_table(config, paths, place)):
            if row := columns.row(values, f"{name}, row {number}", None, report):
                yield row
    except InputError:
        raise
    except Exception as error:
        first_line = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise InputError(
            f"{place}: `datasets` cannot read {name} after row {number} ({first_line}); check the name, its split "
            f"{config.split!r} and the network."
        ) from error


def _open_table(config: DatasetConfig, paths: list[str], place: str) -> Iterable[Mapping[str, Any]]:
    import datasets

    if config.hub:
        return datasets.load_dataset(config.hub, config.subset, split=config.split, revision=config.revision)
    if os.path.isdir(paths[0]):
        table = datasets.load_from_disk(paths[0])
        if isinstance(table, datasets.DatasetDict):
            return table[config.split]
        _check_no_split(config, place, f"{paths[0]} is one table")
        return table
    builder = TABLES.get(os.path.splitext(paths[0])[1])
    if not builder:
        raise InputError(f"{place}.files = {paths[0]}: expected a folder of save_to_disk, or {', '.join(TABLES)}.")
    _check_no_split(config, place, f"{paths[0]} is a file")
    splits = {found[1] for path in paths if (found := SPLIT.match(os.path.basename(path)))}
    if isinstance(config.files, str) and len(splits) > 1:
        raise InputError(
            f"{place}.files = {config.files}: stands for files of the splits {', '.join(sorted(splits))}; name those "
            "of one, such as train-*.parquet, or list the files to take them all."
        )
    return datasets.load_dataset(builder, data_files=paths, split="train", streaming=True)


def _check_no_split(config: DatasetConfig, place: str, what: str) -> None:
    if config.split != DatasetConfig.split:
        raise InputError(
            f"{place}.split is {config.split!r}, but {what}, which has no splits; name what the split consists of in "
            f"{place}.files, and leave split out."
        )


def _check_header(header: list[str], columns: Columns, path: str) -> None:
    for field in ("query", "passage"):
        if columns.names[field] not in header and not columns.names[field].startswith("="):
            raise InputError(
                f"{path}, line 1: names the columns {', '.join(header)[:100]}, but no {columns.names[field]!r}; name "
                f"it there, or set the data set's columns.{field} to the column that holds it."
            )


def _texts(value: Any) -> list[str] | None:
    """Return texts given as a list, as JSON in a TSV column, as one text, or not at all; None where one is no text.

    Empty ones are passed over.
    """
    if isinstance(value, str):
        found = _listed(value)
        value = [value] if found is None else found
    value = [] if value is None else value
    if not isinstance(value, list) or any(text is not None and not isinstance(text, str) for text in value):
        return None
    return [text for text in value if text and text.strip()]


def _listed(text: str) -> list | None:
    """Return the list of texts that a text is in JSON; None for any other, such as one that begins with "[1]"."""
    try:
        found = json.loads(text) if text.startswith("[") else None
    except json.JSONDecodeError:
        return None
    return found if found == [] or (found and any(isinstance(each, str) for each in found)) else None


def _tell_places(answers: Any) -> bool:
    """Whether answers are of SQuAD's form or the hub's; bare strings, as MKQA has them, tell no place."""
    return isinstance(answers, Mapping) or (isinstance(answers, list) and any(isinstance(a, Mapping) for a in answers))


def _text(value: Any) -> str | None:
    return None if value in (None, "") else str(value)
