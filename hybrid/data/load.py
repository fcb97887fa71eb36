"""From the recipe's data section to corpora, built once and read through memory maps afterwards."""

from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from hybrid.data.build import Builder
from hybrid.data.cache import FORM, built_once, cache_folder
from hybrid.data.config import DataConfig, DatasetConfig
from hybrid.data.corpus import ParallelCorpus
from hybrid.data.dev import check_apart, hold_out
from hybrid.data.leakage import Known, evaluation_set, hits_in, leaking
from hybrid.data.report import Report
from hybrid.data.sources import expected_languages, manifest, read_files
from hybrid.runtime.errors import InputError
from hybrid.runtime.files import digest, read_json, write_json
from hybrid.runtime.logs import log, warn

SUMMARY = "summary.json"
LARGE_GROUP, LARGE_SHARE = 50, 0.1  # items of a group, and their part of all, from which on a warning tells
RULES = 5  # of what is read, left out and held out; raised like FORM, which token stores go by too


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
    if config.hard_negatives:
        _tell_negatives(summary["with_negatives"])
    for line in summary["lines"]:
        log(line)
    train, dev = ([ParallelCorpus.load(folder / name) for name in summary[side]] for side in ("train", "dev"))
    return TrainingData(train, dev, summary["counts"])


def _tell_negatives(shares: dict[str, float]) -> None:
    """Tell the part of each data set's passages that have hard negatives; raises InputError if none at all has."""
    if not any(shares.values()):
        raise InputError(
            f"data.hard_negatives is set, but no passage of {', '.join(shares) or 'these data sets'} has any: "
            "data.negatives 'sentences' takes other sentences where the answer's place is known, 'given' the negatives "
            "of the files; set it to what the files have, or data.hard_negatives to 0."
        )
    for name, share in shares.items():
        (log if share else warn)(f"data: {share:.1%} of the passages of {name} have hard negatives")


class _Build:
    """Fills one cached folder."""

    def __init__(self, folder: Path, config: DataConfig):
        self.folder, self.config = folder, config
        self.warnings: list[str] = []
        self.lines: list[str] = []
        self.counts: dict[str, int] = {}
        self.held, self.holders = Known(), set()  # what is held out, and of which data sets

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
        if builder.unused and name in self.config.sets:
            self.warnings.append(
                f"{place}: {builder.unused} rows have negatives, which are not used; set data.negatives to given and "
                "data.hard_negatives to 1 or more to train with them."
            )
        if builder.unlike and name in self.config.sets:
            self.warnings.append(
                f"{place}: of {builder.unlike} rows the positive is a sentence with its paragraph, the negatives are "
                "paragraphs alone, which their form gives away; set data.passage to paragraph."
            )
        self.counts |= {f"rows/{name}/{cause}": count for cause, count in report.counts.items()}
        return corpus

    def fewer(self, corpus: ParallelCorpus, most: int | None, seed: int) -> ParallelCorpus:
        """Keep as many items as a `max_items` takes, the same whatever the languages."""
        if most is None or most >= len(corpus):
            return corpus
        chosen = np.zeros(len(corpus), bool)
        chosen[np.random.default_rng(seed).permutation(len(corpus))[:most]] = True
        self.lines.append(f"data: {most} of {len(corpus)} items of {corpus.name} are taken (max_items)")
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
        hits = hits_in(corpus, list(sets.values()), leakage.level)
        for (name, known), hit in zip(sets.items(), hits, strict=True):
            found, how = leaking(corpus, known, hit)
            if how["any"] and leakage.action == "refuse":
                raise InputError(
                    f"data.sets.{corpus.name}: {how['any']} items occur in {name} (the first is "
                    f"{corpus.item_name(int(found.argmax()))!r}); remove them, or set data.leakage.action to drop."
                )
            corpus = self._drop(corpus, name, found, how, "train on something else")
        return corpus

    def hold_out(self, corpus: ParallelCorpus) -> tuple[ParallelCorpus, ParallelCorpus]:
        """Split off the development split of one data set, and remember it."""
        corpus, held = hold_out(corpus, self.config.dev)
        self.held.add_corpus(held)
        self.holders.add(corpus.name)
        return corpus, held

    def without_dev(self, corpus: ParallelCorpus) -> ParallelCorpus:
        """Drop the items that occur in what was held out of another data set; of its own it has none any more."""
        if self.holders <= {corpus.name}:
            return corpus
        found, how = leaking(corpus, self.held, *hits_in(corpus, [self.held], self.config.dev.level))
        return self._drop(corpus, "the development split", found, how, "hold out other articles (data.dev.seed)")

    def _drop(self, corpus: ParallelCorpus, name: str, found: np.ndarray, how: dict, remedy: str) -> ParallelCorpus:
        """Leave out the items in bool [I] `found`, which occur in the set `name` in so many ways, and count them."""
        self.counts |= {f"leakage/{name}/{corpus.name}/{key}": count for key, count in how.items()}
        if found.all():
            raise InputError(f"data.sets.{corpus.name}: all {len(corpus)} items occur in {name}; {remedy}.")
        ways = ", ".join(f"{count} by {key}" for key, count in how.items() if key != "any")
        self.lines.append(
            f"data: {how['any']} of {len(corpus)} items of {corpus.name} occur in {name} and are left out ({ways})"
        )
        return corpus.subset(~found)

    def warn_of_groups(self, corpus: ParallelCorpus) -> None:
        """Warn where one group is so large that a batch has few negatives left."""
        size = int(np.bincount(corpus.groups).max())
        if size >= LARGE_GROUP and size > LARGE_SHARE * len(corpus):
            self.warnings.append(
                f"data.sets.{corpus.name}: {size} of {len(corpus)} items ({size / len(corpus):.0%}) are one group, as "
                "their answers share passages or group names in a chain; they are never each other's negatives, so "
                "batches teach little. Take out judgments or rows of passages that answer many questions."
            )

    def save(self, corpus: ParallelCorpus, side: str, place: str) -> str:
        """Write a corpus and return its folder's name."""
        corpus.save(self.folder / place / side)
        self.counts[f"{side}_items/{corpus.name}"] = len(corpus)
        return f"{place}/{side}"


def _build(folder: Path, config: DataConfig) -> None:
    build = _Build(folder, config)
    known, train, dev = build.known(), {}, []
    for name, entry in config.sets.items():
        place = f"data.sets.{name}"
        train[name] = build.without_leaks(build.corpus(name, place, entry), known)
        if config.dev and config.dev.articles and entry.has_questions:
            train[name], held = build.hold_out(train[name])
            dev.append(build.save(held, "dev", place))
    # After all are held out: what one data set holds out must not be trained on through another, nor as plain text.
    for name, entry in config.sets.items():
        train[name] = build.fewer(build.without_dev(train[name]), entry.max_items, config.seed)
    for name, entry in (config.dev.sets if config.dev else {}).items():
        place = f"data.dev.sets.{name}"
        corpus = build.corpus(name, place, entry)
        check_apart(corpus, place, list(train.values()), known, config.dev.level)
        corpus = build.fewer(corpus, min(config.dev.max_items, entry.max_items or len(corpus)), config.dev.seed)
        dev.append(build.save(corpus, "dev", place))
    for corpus in train.values():
        build.warn_of_groups(corpus)
    asked = [name for name, entry in config.sets.items() if entry.has_questions]
    shares = {name: train[name].with_negatives() for name in asked}
    train = [build.save(corpus, "train", f"data.sets.{name}") for name, corpus in train.items()]
    summary = {"train": train, "dev": dev, "counts": build.counts, "warnings": build.warnings, "lines": build.lines}
    summary["with_negatives"] = shares
    write_json(folder / SUMMARY, summary)


def _key(config: DataConfig) -> str:
    """Return the digest of all that the corpora come from: settings, and each file's path, size and time of change.

    The order of data sets and of their files counts: it numbers the texts, and the streams of the mixture.
    """
    entries = {f"data.sets.{name}": entry for name, entry in config.sets.items()}
    against = config.leakage.against.items()
    entries |= {f"data.leakage.against.{name}": evaluation_set(entry) for name, entry in against}
    entries |= {f"data.dev.sets.{name}": entry for name, entry in (config.dev.sets if config.dev else {}).items()}
    files = {place: manifest(entry, place) for place, entry in entries.items()}
    seed = config.seed if any(entry.max_items for entry in config.sets.values()) else None
    settings = [seed, config.passage, config.negatives, config.strict, config.leakage.level, config.leakage.action]
    settings += [asdict(config.dev) if config.dev else None, {place: asdict(entry) for place, entry in entries.items()}]
    return digest(_in_order([FORM, RULES, version("sentencex"), *settings, files]))


def _in_order(value: Any) -> Any:
    """Return a value with dictionaries as lists of pairs, whose order a digest sees."""
    if isinstance(value, dict):
        return [[key, _in_order(content)] for key, content in value.items()]
    return list(map(_in_order, value)) if isinstance(value, list | tuple) else value
