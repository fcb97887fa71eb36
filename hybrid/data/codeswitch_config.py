"""What a recipe says about code-switching."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from hybrid.runtime.errors import InputError, nearest


@dataclass
class AlignedText:
    """Parallel text, one sentence a line, with the links of a word aligner such as fast_align or eflomal."""

    source: str
    """Sentences in the source language, words apart by white space, as the aligner saw them."""
    target: str
    """Their translations, line by line."""
    links: str
    """The aligner's output in Pharaoh's form, a line per sentence: `0-0 1-2 ...`, word of the source, of the target."""


@dataclass
class CodeSwitchConfig:
    """Words, phrases or sentences of a text are replaced by translations, differently in every pass over the data."""

    dictionaries: str | list[str] | dict[str, str | list[str]] = field(default_factory=dict)
    """Bilingual dictionaries: {en-de: PATH, ...} (en:zh-Hant where a code holds a hyphen), or a path such as
    dictionaries/{language}.txt, in which {language} stands for the pair. `word translation` a line, apart by a tab
    (then both may be phrases) or a space (MUSE); files that end in .tei (also .tei.gz) are FreeDict's."""
    aligned: dict[str, AlignedText] = field(default_factory=dict)
    """Parallel text by pair, {en-de: ...}, from whose word alignment phrases and their translations are taken."""
    sentences: bool = False
    """Replace whole sentences by those of the item's own translations, where both texts have as many sentences: for
    aligned documents and passages, in place of dictionaries."""
    probability: float = 0.5
    """p, with which each word, phrase or sentence that has a translation is replaced."""
    sides: Literal["queries", "passages", "both"] = "both"
    """Which texts of a row are switched. Hard negatives are switched as the row's passage is."""
    target: Literal["text", "word"] = "text"
    """text: one target language a text (bilingual). word: one for each word, phrase or sentence (multilingual)."""
    languages: list[str] | None = None
    """Target languages; unset takes all that the dictionaries, or the item's translations, have."""
    sets: list[str] | None = None
    """Data sets whose texts are switched; unset takes all but unlabelled text."""
    identity: bool = False
    """Keep pairs of a dictionary whose translation is the word itself; they replace nothing, but use up draws."""
    both_ways: bool = False
    """Read each dictionary from its second language to its first as well."""
    phrase_words: int = 4
    """Words of the longest phrase that is looked up; longer entries of a dictionary are left out."""
    phrase_count: int = 1
    """Occurrences in `aligned` text from which on a phrase and its translation are taken."""
    segmenters: dict[str, str] = field(default_factory=dict)
    """Function that cuts a text into words, by language, {zh: "jieba:lcut"}: for sources that are written without
    spaces, which are left alone otherwise. The words, joined, have to give the text."""

    def __post_init__(self) -> None:
        origins = bool(self.dictionaries or self.aligned) + self.sentences
        if origins != 1:
            raise InputError(
                "data.codeswitch takes either dictionaries or aligned text, or sentences: true; set one of the two, or "
                "data.codeswitch to null."
            )
        if not 0 < self.probability <= 1:
            raise InputError(f"data.codeswitch.probability is {self.probability}; give a number above 0, at most 1.")
        for key in ("phrase_words", "phrase_count"):
            if getattr(self, key) < 1:
                raise InputError(f"data.codeswitch.{key} is {getattr(self, key)}; give 1 or more.")
        words_only = ("identity", "both_ways", "segmenters")
        if self.sentences and (ignored := [key for key in words_only if getattr(self, key)]):
            raise InputError(f"data.codeswitch.{ignored[0]} belongs to dictionaries, not to sentences; remove it.")
        for language, name in self.segmenters.items():
            if name.count(":") != 1:
                raise InputError(
                    f"data.codeswitch.segmenters.{language} is {name!r}; expected MODULE:FUNCTION such as jieba:lcut."
                )


def check_sets(sets: list[str] | None, known: Mapping[str, Any]) -> None:
    """Raise InputError where data.codeswitch.sets names no data set, or one that is `unlabelled`.

    Args:
        known: data sets by name, as they are configured or read.
    """
    for name in sets or []:
        if name not in known:
            raise InputError(
                f"data.codeswitch.sets names {name!r}{nearest(name, known)}; the data sets are {', '.join(known)}."
            )
        if known[name].unlabelled:
            raise InputError(
                f"data.codeswitch.sets names {name!r}, which is unlabelled text: its query and passage are one text "
                "under two dropout masks, and would differ; take it out."
            )


def pair_of(name: str, place: str) -> tuple[str, str]:
    """Return source and target language of `en-de` or `en:zh-Hant`; raises InputError that names `place`."""
    codes = name.split(":") if ":" in name else name.split("-")
    if len(codes) != 2 or not all(codes) or codes[0] == codes[1]:
        raise InputError(f"{place} names {name!r}; expected a pair such as en-de, or en:zh-Hant where codes hold '-'.")
    return codes[0], codes[1]
