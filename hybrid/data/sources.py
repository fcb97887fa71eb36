"""The files of a data set, whatever its format: which they are, and the rows that they hold."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from hybrid.data.columns import Columns, pair_rows, table_rows
from hybrid.data.config import DatasetConfig, Files
from hybrid.data.files import expand, resolve
from hybrid.data.lareqa import read_lareqa
from hybrid.data.lines import line_rows, passages_alone, read_documents
from hybrid.data.records import Row
from hybrid.data.report import Report
from hybrid.data.squad import read_squad, rows
from hybrid.data.trec import read_qrels, trec_rows
from hybrid.runtime.errors import InputError, nearest

Source = tuple[str, Iterable[Row]]


def read_files(config: DatasetConfig, place: str, report: Report) -> Iterator[Source]:
    """Yield the name of each file of a data set, given under the key `place`, and its rows.

    Raises InputError, one sentence, if files are missing, broken or of another format.
    """
    groups: dict[str, str] = {}
    for name, content in READERS[config.format](config, place, report):
        yield name, passages_alone(content, groups) if config.passages_alone else content


def manifest(config: DatasetConfig, place: str) -> list[tuple[str, int, int]]:
    """Return path, size and time of change (nanoseconds) of each file of a data set."""
    found = [path for files in (config.files, config.queries) for path in _flat(files, place)]
    paths = [*found, *(expand(path) for path in (config.qrels, config.documents) if path)]
    # A folder of save_to_disk keeps its own time when it is written over.
    paths = [str(name) for path in paths for name in (sorted(Path(path).rglob("*")) if os.path.isdir(path) else [path])]
    try:
        states = [(path, os.stat(path)) for path in paths]
    except OSError as error:
        raise InputError(f"{place}: {error.filename} cannot be read ({error.strerror}); check the path.") from error
    return [(os.path.abspath(path), state.st_size, state.st_mtime_ns) for path, state in states]


def expected_languages(config: DatasetConfig, place: str) -> list[str]:
    """Return the languages of which a data set must have rows: those that it names, or that its files are of."""
    if config.languages or not config.files:
        return config.languages or []
    return [language for language in resolve(config.files, f"{place}.files") if language]


def files_by_language(files: Files, key: str, config: DatasetConfig, place: str) -> dict[str, list[str]]:
    """Return the paths of `files`, given under `key`, by language: those of ``config.languages``, or all.

    Raises InputError where the files tell no languages, or not one that is named.
    """
    found = {str(language): paths for language, paths in resolve(files, key).items() if language}
    if not found:
        raise InputError(f"{key} tells no languages; write {{en: PATH}}, or put {{language}} into the path.")
    for language in config.languages or []:
        if language not in found:
            raise InputError(
                f"{place}.languages names {language!r}, but {key} has {', '.join(found)}{nearest(language, found)}; "
                "remove it or add its file."
            )
    return {language: paths for language, paths in found.items() if language in (config.languages or found)}


def _read_paragraphs(config: DatasetConfig, place: str, report: Report) -> Iterator[Source]:
    read = read_squad if config.format == "squad" else read_lareqa
    for language, paths in files_by_language(config.files, f"{place}.files", config, place).items():
        for path in paths:
            yield path, rows(read(path, report), language)


def _read_pairs(config: DatasetConfig, place: str, report: Report) -> Iterator[Source]:
    columns = Columns(config, place)
    for language, paths in resolve(config.files, f"{place}.files").items():
        for path in paths:
            yield path, pair_rows(path, language, columns, report)


def _read_trec(config: DatasetConfig, place: str, report: Report) -> Iterator[Source]:
    qrels = read_qrels(expand(str(config.qrels)))
    queries = files_by_language(config.queries, f"{place}.queries", config, place)
    passages = files_by_language(config.files, f"{place}.files", config, place)
    for language in queries:
        if language not in passages:
            raise InputError(f"{place}.queries has {language!r}, but {place}.files has not; give its passages.")
        yield queries[language][0], trec_rows(queries[language], passages[language], qrels, language, report)


def _read_hub(config: DatasetConfig, place: str, report: Report) -> Iterator[Source]:
    paths = _flat(config.files, place)
    yield config.hub or paths[0], table_rows(config, paths, place, report)


def _read_lines(config: DatasetConfig, place: str, report: Report) -> Iterator[Source]:
    files = files_by_language(config.files, f"{place}.files", config, place)
    if config.format == "bitext" and len(files) < 2:
        raise InputError(f"{place}.files has {', '.join(files)} alone; format 'bitext' needs two languages or more.")
    documents = read_documents(config, files, place)
    for language, paths in files.items():
        if config.format == "bitext" and len(paths) > 1:
            raise InputError(f"{place}.files has {len(paths)} files of {language!r}; give one, lines join by number.")
        for path in paths:
            yield path, line_rows(path, language, config, documents, report)


READERS = {
    "squad": _read_paragraphs,
    "lareqa": _read_paragraphs,
    "pairs": _read_pairs,
    "trec": _read_trec,
    "hub": _read_hub,
    "lines": _read_lines,
    "bitext": _read_lines,
}


def _flat(files: Files, place: str) -> list[str]:
    return [path for paths in resolve(files, f"{place}.files").values() for path in paths] if files else []
