"""What a recipe says about training data."""

from dataclasses import dataclass, field
from typing import Literal

from hybrid.runtime.errors import InputError


@dataclass
class DatasetConfig:
    """One data set: files of one format, parallel across languages where ids agree."""

    format: Literal["squad", "lareqa"] = "squad"
    """squad: SQuAD-format JSON, plain or .gz; lareqa: the same with sentence_breaks."""
    files: dict[str, str] = field(default_factory=dict)
    """File by language code. $NAME takes a variable of the environment."""


@dataclass
class LeakageConfig:
    """Training items that occur in an evaluation set."""

    against: dict[str, str] = field(default_factory=dict)
    """Folder of LANGUAGE.json files, or one file, by the evaluation set's name."""
    level: Literal["question", "passage"] = "passage"
    """question: the same id or the same normalised question; passage: or the same normalised passage too."""
    action: Literal["drop", "refuse"] = "drop"
    """drop the items and count them, or refuse to train."""


@dataclass
class DevConfig:
    """Development split: whole articles of the training corpus."""

    articles: int = 0
    """Number of articles that are held out, drawn by the seed; 0 holds out none."""
    seed: int = 0
    """Seed of the draw."""
    max_items: int = 500
    """Items of the split at the most."""


@dataclass
class DataConfig:
    """Training data."""

    sets: dict[str, DatasetConfig] = field(default_factory=dict)
    """Data sets by name."""
    passage: Literal["paragraph", "sentence_in_paragraph"] = "sentence_in_paragraph"
    """What is scored: the paragraph, or the answer's sentence followed by its paragraph (LAReQA)."""
    hard_negatives: int = 0
    """Hard negatives of each row: other sentences of its paragraph, where it has so many."""
    leakage: LeakageConfig = field(default_factory=LeakageConfig)
    """Check against evaluation sets."""
    dev: DevConfig = field(default_factory=DevConfig)
    """Development split."""
    query_max_length: int = 64
    """Tokens of a query, prefix and special tokens included; longer ones are cut at the end."""
    passage_max_length: int = 256
    """Tokens of a passage, prefix and special tokens included; longer ones are cut at the end."""
    strict: bool = False
    """Refuse files that disagree, instead of reporting and leaving out."""
    cache: str = ".cache/hybrid"
    """Folder of token stores, which later runs use again."""
