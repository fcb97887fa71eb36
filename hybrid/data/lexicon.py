"""The dictionaries of a recipe, compiled once: what is looked up by word, and translations through a memory map."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict
from functools import cached_property
from pathlib import Path

import numpy as np

from hybrid.data.alignments import read_aligned
from hybrid.data.cache import FORM, built_once, cache_folder
from hybrid.data.codeswitch_config import CodeSwitchConfig, pair_of
from hybrid.data.dictionaries import Entries, read_dictionary
from hybrid.data.files import expand, resolve
from hybrid.data.texts import Texts, TextWriter
from hybrid.data.words import spans
from hybrid.runtime.errors import InputError
from hybrid.runtime.files import digest, read_json, write_json
from hybrid.runtime.logs import warn

UNITS, META = "units", "lexicon.json"
PLACE = "data.codeswitch"


class Lexicon:
    """Translations out of one source language. A unit is a word or phrase that some target language translates."""

    def __init__(self, folder: Path):
        self.folder = folder
        meta = read_json(folder / META)
        self.source: str = meta["source"]
        self.targets: list[str] = meta["targets"]
        self.first: dict[str, str] = meta["first"]
        """File and line of the first pair of each target language."""
        self.translations = Texts(folder)
        self.starts = np.asarray(np.load(folder / "starts.npy", mmap_mode="r"))  # [targets, units + 1]
        self.numbers = np.asarray(np.load(folder / "numbers.npy", mmap_mode="r"))  # of texts

    def __reduce__(self):
        return Lexicon, (self.folder,)

    @cached_property
    def units(self) -> dict[str, int]:
        """Number of each unit, by its words in lower case with a space between."""
        return {unit: number for number, unit in enumerate(Texts(self.folder, UNITS))}

    @cached_property
    def longest(self) -> dict[str, int]:
        """Words of the longest unit that begins with a word, where that is more than one."""
        found: dict[str, int] = {}
        for unit in self.units:
            head, space, _ = unit.partition(" ")
            if space:
                found[head] = max(found.get(head, 0), unit.count(" ") + 1)
        return found

    def ranges(self, targets: np.ndarray, units: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return where the translations of units, int64 [n], into targets, int64 [t], begin and end in `numbers`.

        Both are int64 [t, n]; begin is end where a unit has none.
        """
        return self.starts[np.ix_(targets, units)], self.starts[np.ix_(targets, units + 1)]

    def vocabulary(self, target: int) -> set[str]:
        """Return the words of all translations into a target language, in lower case."""
        numbers = np.unique(self.numbers[int(self.starts[target, 0]) : int(self.starts[target, -1])])
        texts = (self.translations[number].casefold() for number in numbers.tolist())
        return {text[start:stop] for text in texts for start, stop in spans(text)}


def load_lexicons(config: CodeSwitchConfig, cache: str | None) -> dict[str, Lexicon]:
    """Return the lexicon of each source language; reads the files only where their cached result is missing.

    Raises InputError for what is wrong with a file, with its line.
    """
    files = _files(config)
    states = [(path, Path(path).stat().st_size, Path(path).stat().st_mtime_ns) for path in _paths(config, files)]
    options = config.identity, config.both_ways, config.phrase_words, config.phrase_count
    aligned = {name: asdict(text) for name, text in config.aligned.items()}
    name = digest([FORM, states, {f"{s} {t}": paths for (s, t), paths in files.items()}, aligned, options])
    folder = built_once(
        cache_folder(cache) / "dictionaries" / name, lambda folder: _build(folder, config, _read(config, files))
    )
    for line in read_json(folder / META)["warnings"]:
        warn(line)
    return {lexicon.source: lexicon for lexicon in map(Lexicon, sorted(folder.glob("[0-9]*")))}


def _files(config: CodeSwitchConfig) -> dict[tuple[str, str], list[str]]:
    place = f"{PLACE}.dictionaries"
    if not config.dictionaries:
        return {}
    found = resolve(config.dictionaries, place)
    if None in found:
        raise InputError(f"{place} tells no languages; write {{en-de: PATH}}, or put {{language}} into the path.")
    return {pair_of(str(name), place): paths for name, paths in found.items()}


def _paths(config: CodeSwitchConfig, files: dict[tuple[str, str], list[str]]) -> list[str]:
    names = [path for paths in files.values() for path in paths]
    names += [expand(path) for text in config.aligned.values() for path in (text.source, text.target, text.links)]
    if missing := [name for name in names if not Path(name).is_file()]:
        raise InputError(f"{PLACE}: there is no file {missing[0]}; check the path.")
    return names


def _read(config: CodeSwitchConfig, files: dict[tuple[str, str], list[str]]) -> list[tuple[str, str, Entries]]:
    read = [(*pair, read_dictionary(path)) for pair, paths in files.items() for path in paths]
    for name, text in config.aligned.items():
        pair = pair_of(name, f"{PLACE}.aligned")
        read.append((*pair, read_aligned(text, config.phrase_words, config.phrase_count)))
    if config.both_ways:
        read += [(b, a, Entries(e.path, [(y, x) for x, y in e.pairs], e.first)) for a, b, e in read]
    return read


def _build(folder: Path, config: CodeSwitchConfig, read: list[tuple[str, str, Entries]]) -> None:
    warnings = [
        f"{entries.path}: {len(entries.broken)} lines are no pair and are left out: {'; '.join(entries.broken[:3])}"
        for _, _, entries in read
        if entries.broken
    ]
    sources = sorted({source for source, _, _ in read})
    for number, source in enumerate(sources):
        (folder / str(number)).mkdir()
        _compile(folder / str(number), config, source, [(b, entries) for a, b, entries in read if a == source])
    write_json(folder / META, {"warnings": warnings})


def _compile(folder: Path, config: CodeSwitchConfig, source: str, read: list[tuple[str, Entries]]) -> None:
    """Write the lexicon of one source language."""
    units, texts = TextWriter(folder, UNITS), TextWriter(folder)
    targets = sorted({target for target, _ in read})
    found: list[dict[int, dict[int, None]]] = [defaultdict(dict) for _ in targets]
    first: dict[str, str] = {}
    for target, entries in read:
        first.setdefault(target, entries.first)
        for word, translation in _wanted(entries.pairs, config):
            found[targets.index(target)][units.add(word)][texts.add(translation)] = None
    count = len(units.ends)
    units.close()
    texts.close()
    sizes = np.array([[len(own.get(unit, ())) for unit in range(count)] for own in found], np.int64)
    ends = np.cumsum(sizes.ravel()).reshape(sizes.shape)
    np.save(folder / "starts.npy", np.concatenate([ends[:, :1] - sizes[:, :1], ends], axis=1))
    numbers = [number for own in found for unit in range(count) for number in own.get(unit, ())]
    np.save(folder / "numbers.npy", np.array(numbers, np.int32))
    write_json(folder / META, {"source": source, "targets": targets, "first": first})


def _wanted(pairs: Iterable[tuple[str, str]], config: CodeSwitchConfig) -> Iterable[tuple[str, str]]:
    for word, translation in pairs:
        unit = unit_of(word)
        if unit and unit.count(" ") < config.phrase_words and (config.identity or unit != unit_of(translation)):
            yield unit, translation


def unit_of(text: str) -> str:
    """Return a word or phrase as it is looked up: its words in lower case, one space between them."""
    return " ".join(text[start:stop].casefold() for start, stop in spans(text))
