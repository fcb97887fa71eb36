"""Plain text with one sentence (or passage) a line: unlabelled, or translations line by line."""

from collections.abc import Iterator
from itertools import groupby, islice, repeat

from hybrid.data.config import DatasetConfig
from hybrid.data.files import expand, read_all_lines
from hybrid.data.records import Row
from hybrid.data.report import Report
from hybrid.runtime.errors import InputError


def line_rows(
    path: str, language: str, config: DatasetConfig, documents: list[str] | None, report: Report
) -> Iterator[Row]:
    """Yield a row for each text of a file, with the text as query and passage.

    Texts are named by line, so that those of several languages join where they are translations; unlabelled ones
    carry their file's name too. Empty and over-long lines are put down in `report`.
    """
    for number, lines, document in _texts(path, config, documents):
        place = f"{path}, line {number}"
        text = "\n".join(line.strip() for line in lines)
        if not all(line.strip() for line in lines):
            report.note("empty line", place)
        elif len(text) > config.max_characters:
            report.note(f"over-long line (more than max_characters, {config.max_characters})", place)
        else:
            name = f"line {number}" if config.format == "bitext" else place
            yield Row(name, text, language, text, language, article=document, named=False)


def read_documents(config: DatasetConfig, files: dict[str, list[str]], place: str) -> list[str] | None:
    """Return the document of each line, None where the recipe tells none.

    Raises InputError where files that should go line by line differ in length.
    """
    lengths = {path: sum(1 for _ in read_all_lines(path)) for path in _aligned(config, files)}
    documents = [line.strip() for line in read_all_lines(expand(config.documents))] if config.documents else None
    if documents is not None:
        lengths[str(config.documents)] = len(documents)
    first = next(iter(lengths.items()), None)
    for path, length in lengths.items():
        if length != first[1]:
            raise InputError(
                f"{place}: {path} has {length} lines, but {first[0]} has {first[1]}; lines of aligned files are "
                "translations of each other, one by one: mend the files."
            )
    return documents


def _aligned(config: DatasetConfig, files: dict[str, list[str]]) -> list[str]:
    """Return the files that have to have equally many lines."""
    paths = [path for found in files.values() for path in found]
    return paths if config.format == "bitext" or config.documents else []


def _texts(
    path: str, config: DatasetConfig, documents: list[str] | None
) -> Iterator[tuple[int, list[str], str | None]]:
    """Yield the number of the first line, the lines, and the document of each text."""
    lines = enumerate(zip(read_all_lines(path), documents or repeat(None), strict=False), 1)
    for name, own in groupby(lines, key=lambda each: each[1][1]):
        while part := list(islice(own, config.lines_per_text)):
            yield part[0][0], [line for _, (line, _) in part], name


def passages_alone(rows: Iterator[Row], groups: dict[str, str]) -> Iterator[Row]:
    """Yield each passage of rows once, as query and passage.

    Args:
        groups: of a data set's ids so far, which this adds to. Passages that answer one question, in any file, are
            translations, and no wrong answers to each other.
    """
    own: dict[str, str] = {}
    for row in rows:
        if row.passage in own:
            groups.setdefault(row.id, own[row.passage])
        else:
            own[row.passage] = groups.setdefault(row.id, row.id)
            yield Row(
                f"{row.passage_language} {row.id}",
                row.passage,
                row.passage_language,
                row.passage,
                row.passage_language,
                article=row.article,
                named=False,
                group=own[row.passage],
            )
