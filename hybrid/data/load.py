"""From the recipe's data section to corpora, built once and read through memory maps afterwards."""

from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np

from hybrid.data.build import Builder
from hybrid.data.cache import FORM, built_once, cache_folder
from hybrid.data.config import DataConfig, DatasetConfig
from hybrid.data.corpus import ParallelCorpus
from hybrid.data.dev import check_apart, hold_out
from hybrid.data.leakage import Known, evaluation_set, leaking
from hybrid.data.report import Report
from hybrid.data.sources import expected_languages, manifest, read_files
from hybrid.runtime.errors import InputError
from hybrid.runtime.files import digest, read_json, write_json
from hybrid.runtime.logs import log, warn

SUMMARY = "summary.json"


@dataclass
class TrainingData:
    """What a recipe's data section comes to."""

    train: list[ParallelCorpus]
    """One corpus per data set, without leaks and without the development split."""
    dev: list[ParallelCorpus]
    """The development split, empty where the recipe has none."""
    counts: dict[str, int]
    """Items, and rows left out by cause, under names for logs."""


def load_corpora(config: DataConfig) -> TrainingData:
    """Return the corpora of a recipe; reads the source files only where their cached result is missing.

    Every rank may call this: one of a node builds. Raises InputError, one sentence, for whatever is wrong with files.
    """
    folder = cache_folder(config.cache) / "corpora" / _key(config)
    built_once(folder, partial(_build, config=config))
    summary = read_json(folder / SUMMARY)
    for line in summary["warnings"]:
        warn(line)
    for line in summary["lines"]:
        log(line)
    train, dev = ([ParallelCorpus.load(folder / name) for name in summary[side]] for side in ("train", "dev"))
    return TrainingData(train, dev, summary["counts"])


class _Build:
    """Fills one cached folder."""

    def __init__(self, folder: Path, config: DataConfig):
        self.folder, self.config = folder, config
        self.warnings: list[str] = []
        self.lines: list[str] = []
        self.counts: dict[str, int] = {}

    def corpus(self, name: str, place: str, entry: DatasetConfig) -> ParallelCorpus:
        """Read one data set."""
        log(f"data: reading {place}")
        report = Report(place, self.config.strict)
        folder = self.folder / place
        folder.mkdir()
        builder = Builder(folder, self.config, report)
        for file, content in read_files(entry, place, report):
            builder.add(content, file)
        corpus = replace(builder.finish(name, expected_languages(entry, place)), unlabelled=entry.unlabelled)
        self.warnings += report.lines()
        self.counts |= {f"rows/{name}/{cause}": count for cause, count in report.counts.items()}
        return corpus

    def fewer(self, corpus: ParallelCorpus, entry: DatasetConfig) -> ParallelCorpus:
        """Keep the items that `max_items` takes, the same whatever the languages."""
        if entry.max_items is None or entry.max_items >= len(corpus):
            return corpus
        chosen = np.zeros(len(corpus), bool)
        generator = np.random.default_rng(self.config.seed)
        chosen[generator.permutation(len(corpus))[: entry.max_items]] = True
        self.lines.append(f"data: {entry.max_items} of {len(corpus)} items of {corpus.name} are taken (max_items)")
        return corpus.subset(chosen)

    def known(self) -> dict[str, Known]:
        """Read the evaluation sets. Raises InputError for one without a usable row, which would find no leak."""
        sets = {}
        for name, entry in self.config.leakage.against.items():
            place, sets[name] = f"data.leakage.against.{name}", Known()
            report = Report(place)
            for _, content in read_files(evaluation_set(entry), place, report):
                sets[name].add(content)
            if not sets[name].questions:
                raise InputError(
                    f"{place}: its files hold no usable row, so nothing could be held against it; "
                    f"{'; '.join(report.lines()) or 'they are empty'}. Mend its files or columns, or take it out."
                )
            self.warnings += report.lines()
        return sets

    def without_leaks(self, corpus: ParallelCorpus, sets: dict[str, Known]) -> ParallelCorpus:
        """Drop, or refuse, the items that occur in an evaluation set."""
        leakage = self.config.leakage
        for name, known in sets.items():
            found, how = leaking(corpus, known, leakage.level)
            self.counts |= {f"leakage/{name}/{corpus.name}/{key}": count for key, count in how.items()}
            if how["any"] and leakage.action == "refuse":
                raise InputError(
                    f"data.sets.{corpus.name}: {how['any']} items occur in {name} (the first is "
                    f"{corpus.item_name(int(found.argmax()))!r}); remove them, or set data.leakage.action to drop."
                )
            if found.all():
                raise InputError(
                    f"data.sets.{corpus.name}: all {len(corpus)} items occur in {name}; train on something else."
                )
            ways = ", ".join(f"{count} by {key}" for key, count in how.items() if key != "any")
            self.lines.append(
                f"data: {how['any']} of {len(corpus)} items of {corpus.name} occur in {name} and are left out ({ways})"
            )
            corpus = corpus.subset(~found)
        return corpus

    def save(self, corpus: ParallelCorpus, side: str, place: str) -> str:
        """Write a corpus and return its folder's name."""
        corpus.save(self.folder / place / side)
        self.counts[f"{side}_items/{corpus.name}"] = len(corpus)
        return f"{place}/{side}"


def _build(folder: Path, config: DataConfig) -> None:
    build = _Build(folder, config)
    known, train, dev = build.known(), {}, []
    seen, held_out = Known(), {}
    # Questions first: what is held out of them must not be trained on as plain text either.
    for name, entry in sorted(config.sets.items(), key=lambda pair: not pair[1].has_questions):
        place = f"data.sets.{name}"
        corpus = build.without_leaks(
            build.corpus(name, place, entry), known if entry.has_questions else known | held_out
        )
        if config.dev and config.dev.articles and entry.has_questions:
            corpus, held = hold_out(corpus, config.dev)
            dev.append(build.save(held, "dev", place))
            held_out.setdefault("the development split", Known()).add_corpus(held)
        corpus = build.fewer(corpus, entry)
        if config.dev and config.dev.sets:
            seen.add_corpus(corpus)
        train[name] = build.save(corpus, "train", place)
    for name, entry in (config.dev.sets if config.dev else {}).items():
        place = f"data.dev.sets.{name}"
        corpus = build.corpus(name, place, entry)
        for other, content in ({"the training corpus": seen} | known).items():
            check_apart(corpus, place, content, other, config.dev)
        dev.append(build.save(corpus, "dev", place))
    if config.dev and config.dev.articles and not dev:
        raise InputError("data.dev.articles is set, but no data set has questions to hold out; set data.dev to null.")
    train = [train[name] for name in config.sets]
    summary = {"train": train, "dev": dev, "counts": build.counts, "warnings": build.warnings, "lines": build.lines}
    write_json(folder / SUMMARY, summary)


def _key(config: DataConfig) -> str:
    """Return the digest of all that the corpora come from: settings, and each file's path, size and time of change."""
    entries = {f"data.sets.{name}": entry for name, entry in config.sets.items()}
    against = config.leakage.against.items()
    entries |= {f"data.leakage.against.{name}": evaluation_set(entry) for name, entry in against}
    entries |= {f"data.dev.sets.{name}": entry for name, entry in (config.dev.sets if config.dev else {}).items()}
    files = {place: manifest(entry, place) for place, entry in entries.items()}
    seed = config.seed if any(entry.max_items for entry in config.sets.values()) else None
    settings = [seed, config.passage, config.negatives, config.strict, config.leakage.level, config.leakage.action]
    dev = asdict(config.dev) if config.dev else None
    return digest(
        [FORM, version("sentencex"), settings, dev, {place: asdict(entry) for place, entry in entries.items()}, files]
    )
