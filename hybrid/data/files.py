"""Opening what a recipe names: globs, environment variables, gzip, JSON; every failure is one sentence."""

import glob
import gzip
import json
import os
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from hybrid.data.config import Files
from hybrid.runtime.errors import InputError


def resolve(files: Files, place: str) -> dict[str | None, list[str]]:
    """Return the paths per language that `files` names; under None those that tell their languages themselves.

    Args:
        files: a path or paths, with `*`, ``${NAME}`` and ``{language}``, or such per language.
        place: the key that they stand under, for errors.
    """
    if isinstance(files, dict):
        return {language: _expand_all(paths, f"{place}.{language}") for language, paths in files.items()}
    paths = [files] if isinstance(files, str) else files
    if not any("{language}" in path for path in paths):
        return {None: _expand_all(paths, place)}
    found: dict[str | None, list[str]] = {}
    for path in paths:
        if "{language}" not in path:
            raise InputError(
                f"{place} = {path}: has no {{language}}, unlike others of the list; write {{en: PATH}} for all of them."
            )
        for language, name in _by_language(path, place):
            found.setdefault(language, []).append(name)
    return dict(sorted(found.items()))


def read_json_file(path: str) -> Any:
    """Read JSON, plain or .gz; raises InputError with file and position where it is missing, empty or broken."""
    with _told(path), open_text(path) as file:
        text = file.read()
    if not text.strip():
        raise InputError(f"{path}: is empty; expected JSON. Replace the file.")
    return parse_json(text, path)


def read_lines(path: str) -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, line without its end) of a text file, plain or .gz; empty lines are passed over."""
    empty = True
    with _told(path), open_text(path) as file:
        for number, line in enumerate(file, 1):
            if line := line.rstrip("\r\n"):
                empty = False
                yield number, line
    if empty:
        raise InputError(f"{path}: is empty; expected one row per line. Replace the file.")


def read_all_lines(path: str) -> Iterator[str]:
    """Yield every line of a text file, plain or .gz, without its end, empty ones too."""
    with _told(path), open_text(path) as file:
        for line in file:
            yield line.rstrip("\r\n")


def parse_json(text: str, place: str) -> Any:
    """Parse JSON; raises InputError that names `place` and the position in it."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise InputError(f"{place}: is broken JSON at {where} ({error.msg}); mend or replace the file.") from error


def open_text(path: str) -> IO[str]:
    """Open a UTF-8 file for reading, through gzip where its first two bytes say so."""
    with open(path, "rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rt", encoding="utf-8-sig") if packed else open(path, encoding="utf-8-sig")


@contextmanager
def _told(path: str) -> Iterator[None]:
    """Turn what goes wrong in reading one file into an InputError that names it."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 ({error.reason}); convert it.") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path}: is a broken gzip file ({error}); fetch or pack it again.") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path.") from error


def _expand_all(paths: str | list[str], place: str) -> list[str]:
    return [name for path in ([paths] if isinstance(paths, str) else paths) for name in _expand(path, place)]


def _expand(path: str, place: str) -> list[str]:
    name = expand(path)
    if os.path.exists(name):
        return [name]
    found = sorted(glob.glob(name, recursive=True)) if glob.has_magic(name) else []
    if not found:
        raise InputError(f"{place} = {path}: there is no such file; check the path ({os.getcwd()} is the folder here).")
    return found


def _by_language(path: str, place: str) -> Iterator[tuple[str, str]]:
    """Yield (language, path) of the files that a path with {language} stands for."""
    name = expand(path)
    pattern = re.escape(name).replace(re.escape("{language}"), "(?P<language>[^/.]+)", 1)
    pattern = pattern.replace(re.escape("{language}"), "(?P=language)").replace(r"\*", "[^/]*")
    before, _, after = name.partition("{language}")
    names = sorted(glob.glob(before + "*" + after.replace("{language}", "*")))
    matches = [match for match in (re.fullmatch(pattern, found) for found in names) if match]
    if not matches:
        raise InputError(f"{place} = {path}: no file matches with a language code in place of {{language}}.")
    yield from ((match["language"], match.group()) for match in matches)


def expand(path: str) -> str:
    """Return a path with ``~`` and ``$NAME`` replaced; raises InputError for a variable that is not set."""
    name = os.path.expanduser(os.path.expandvars(path))
    if missing := re.search(r"\$\{?(\w+)", name):
        raise InputError(f"{path}: the environment variable {missing[1]} is not set; set it to the folder.")
    return name
