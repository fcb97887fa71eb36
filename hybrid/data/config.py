"""What a recipe says about data."""

from dataclasses import dataclass, field
from typing import Literal

from hybrid.data.codeswitch_config import CodeSwitchConfig
from hybrid.runtime.errors import InputError

Files = str | list[str] | dict[str, str | list[str]]
Level = Literal["question", "passage"]
LINES = ("lines", "bitext")


@dataclass
class DatasetConfig:
    """A data set: files of one format whose rows are joined by id."""

    format: Literal["squad", "lareqa", "pairs", "trec", "hub", "lines", "bitext"] = "squad"
    """squad and lareqa: JSON per language; pairs: JSONL or TSV with a line of column names; trec: queries and passages
    as TSV per language, and qrels; hub: a `datasets` hub id, or local Arrow or Parquet files; lines: unlabelled text,
    one a line; bitext: a file per language whose lines are translations of each other."""
    files: Files = field(default_factory=dict)
    """A path per language, {en: dev.en.json.gz, es: dev.es.json.gz}; or one path in which {language} stands for the
    code; for pairs and hub a path, or a list of them, whose rows tell their languages. Paths may hold * and ${NAME} of
    the environment. For trec: the passages, `docid<TAB>text` or `docid<TAB>title<TAB>text`."""
    queries: Files = field(default_factory=dict)
    """Format trec: the queries, `id<TAB>text`, given as `files` are."""
    qrels: str | None = None
    """Format trec: judgments for all languages, `id 0 docid relevance` or `id docid`; relevance 0 is a negative."""
    hub: str | None = None
    """Format hub: id of a data set on the hub, in place of `files`."""
    subset: str | None = None
    """Format hub: configuration name of a hub data set."""
    split: str = "train"
    """Format hub: split of a hub data set, or of a folder of save_to_disk; single files have none."""
    revision: str | None = None
    """Format hub: commit or tag; unset takes the newest, which can change under your feet."""
    columns: dict[str, str] = field(default_factory=dict)
    """Formats pairs and hub: the file's column for a field that is named otherwise, {query: question}. Fields: query,
    passage, query_lang, passage_lang, lang (both), negatives, id, group, article, answers (SQuAD's, for the answer's
    sentence). A value "=xx" is the constant xx."""
    languages: list[str] | None = None
    """Take only these languages; unset takes all there are."""
    passages_alone: bool = False
    """Take the passages without their questions, each once, as unlabelled text for kind self_supervised; format lines
    is unlabelled anyway."""
    max_length: int | None = None
    """Tokens of a text of this data set, prefix and special tokens included; unset takes data.query_max_length and
    data.passage_max_length."""
    max_items: int | None = None
    """Take this many items, drawn by data.seed; unset takes all. It holds the number of pairs fixed where languages
    are compared."""
    documents: str | None = None
    """Formats lines and bitext: a file with the document that each line is from, line by line (NTREX-128's
    DOCUMENT_IDS.tsv); lines of one document are one article."""
    lines_per_text: int = 1
    """Formats lines and bitext: consecutive lines, of one document where `documents` tells, that make a text."""
    max_characters: int = 5000
    """Formats lines and bitext: texts longer than this are left out and counted; they are seldom what was meant."""

    @property
    def unlabelled(self) -> bool:
        """Whether query and passage of a row are one text."""
        return self.passages_alone or self.format == "lines"

    @property
    def has_questions(self) -> bool:
        """Whether its rows are questions and their passages."""
        return not self.unlabelled and self.format != "bitext"

    def check(self, place: str) -> None:
        """Raise InputError for what contradicts itself; `place` is the key, such as data.sets.squad."""
        if self.hub and self.files:
            raise InputError(f"{place}.hub and {place}.files are both set; the rows have one origin, remove one.")
        if not (self.hub or self.files):
            raise InputError(f"{place}.files is not set; give the files of the data set.")
        if self.hub and self.format != "hub":
            raise InputError(f"{place}.hub is set with format {self.format!r}; set {place}.format to hub.")
        if not self.hub and (self.subset or self.revision):
            raise InputError(
                f"{place}.subset and .revision belong to data sets of the hub; remove them, or set {place}.hub."
            )
        if self.format == "trec" and not (self.queries and self.qrels):
            raise InputError(f"{place} has format 'trec', which needs queries and qrels beside files; set them.")
        if self.format != "trec" and (self.queries or self.qrels):
            raise InputError(f"{place}.queries and .qrels belong to format 'trec', not {self.format!r}; remove them.")
        if self.columns and self.format not in ("pairs", "hub"):
            raise InputError(f"{place}.columns belongs to formats 'pairs' and 'hub', not {self.format!r}; remove it.")
        if self.format not in LINES and (self.documents or self.lines_per_text != 1):
            raise InputError(
                f"{place}.documents and .lines_per_text belong to formats 'lines' and 'bitext', not {self.format!r}; "
                "remove them."
            )
        for key, files in (("files", self.files), ("queries", self.queries)):
            for language in files if isinstance(files, dict) else ():
                if not isinstance(language, str):
                    raise InputError(f"{place}.{key} has the language {language!r}; write it in quotes, such as 'no'.")
        for key in ("max_length", "max_items", "lines_per_text", "max_characters"):
            least = 4 if key == "max_length" else 1
            if (value := getattr(self, key)) is not None and value < least:
                raise InputError(f"{place}.{key} is {value}; give at least {least}.")


@dataclass
class LeakageConfig:
    """What must not be trained on."""

    against: dict[str, str | DatasetConfig] = field(default_factory=dict)
    """Evaluation sets by name: a folder of LANGUAGE.json files in SQuAD's form, or a data set."""
    level: Level = "passage"
    """question: an item leaks when its id or one of its questions is in an evaluation set; passage: or a passage too.
    Texts are compared without case, marks and spacing."""
    action: Literal["drop", "refuse"] = "drop"
    """Leave leaking items out and count them, or refuse to go on."""


@dataclass
class DevConfig:
    """Where the development split comes from: a part of the articles, or files of its own."""

    articles: float = 0.0
    """Below 1: this part of each data set's articles; otherwise their number. Whole articles are held out."""
    max_items: int = 1000
    """Items of a split, or of each set of `sets`, at the most; the other items of held-out articles are trained on no
    more for it."""
    seed: int = 0
    """Which articles, and which items."""
    sets: dict[str, DatasetConfig] = field(default_factory=dict)
    """Development sets of their own, in place of `articles`."""
    level: Level = "passage"
    """What a development set must not share with the training corpus or an evaluation set: see leakage.level."""

    def __post_init__(self) -> None:
        if bool(self.articles) == bool(self.sets):
            raise InputError("data.dev takes either articles or sets; set one of the two, or data.dev to null.")
        if self.articles < 0 or (self.articles >= 1 and self.articles % 1):
            raise InputError(f"data.dev.articles is {self.articles}; give a part below 1 or a whole number.")
        if self.max_items < 1:
            raise InputError(f"data.dev.max_items is {self.max_items}; give at least 1, or set data.dev to null.")


@dataclass
class DataConfig:
    """Training data."""

    sets: dict[str, DatasetConfig] = field(default_factory=dict)
    """Data sets by name."""
    passage: Literal["paragraph", "sentence_in_paragraph"] = "sentence_in_paragraph"
    """What is encoded as a passage: the paragraph, or the answer's sentence and then its paragraph (LAReQA)."""
    negatives: Literal["sentences", "given"] = "sentences"
    """Origin of hard negatives: other sentences of the same paragraph, or the file's own negatives; those of all rows
    with the same id and passage language count as one row's."""
    hard_negatives: int = 0
    """Hard negatives per row, drawn anew each step; a row that has fewer takes those that it has."""
    negative_language: Literal["passage", "query"] = "passage"
    """Language of the sentences that serve as hard negatives. query: in a cross-lingual row the wrong sentence is in
    the query's own language, so that language alone never tells the answer."""
    query_max_length: int = 64
    """Tokens of a query, prefix and special tokens included; what is longer is cut."""
    passage_max_length: int = 256
    """Tokens of a passage, prefix and special tokens included; what is longer is cut."""
    strict: bool = False
    """Refuse the data at the first bad row; otherwise bad rows are left out or mended, counted and reported."""
    leakage: LeakageConfig = field(default_factory=LeakageConfig)
    """Evaluation sets whose items must not be trained on."""
    dev: DevConfig | None = None
    """Development split, for early stopping and for every choice; null makes none."""
    codeswitch: CodeSwitchConfig | None = None
    """Code-switching of training texts; null leaves them as they are."""
    seed: int = 0
    """Which hard negatives are drawn, which words are switched, and which items `max_items` takes."""
    cache: str | None = None
    """Folder of built corpora and token stores; unset takes $XDG_CACHE_HOME/hybrid or ~/.cache/hybrid."""

    def __post_init__(self) -> None:
        if not self.sets:
            raise InputError("data.sets is empty; name at least one data set and its files.")
        groups = {"data.sets": self.sets, "data.leakage.against": self.leakage.against}
        groups["data.dev.sets"] = self.dev.sets if self.dev else {}
        for place, sets in groups.items():
            for name, config in sets.items():
                if isinstance(config, DatasetConfig):
                    config.check(f"{place}.{name}")
        if self.dev and self.dev.articles and not any(entry.has_questions for entry in self.sets.values()):
            raise InputError(
                "data.dev.articles is set, but no data set has questions to hold out; set data.dev to null."
            )
        if self.hard_negatives < 0:
            raise InputError(f"data.hard_negatives is {self.hard_negatives}; give 0 or more.")
        if self.hard_negatives and self.negatives == "sentences" and self.passage == "paragraph":
            raise InputError(
                "data.negatives is 'sentences', but data.passage is 'paragraph', where sentences are no passages; set "
                "data.passage to sentence_in_paragraph, data.negatives to given, or data.hard_negatives to 0."
            )
        if self.negatives == "given" and not self.hard_negatives:
            raise InputError(
                "data.negatives is 'given', but data.hard_negatives is 0, so none would be used; set "
                "data.hard_negatives to 1 or more, or remove data.negatives."
            )
        if self.negative_language == "query" and (self.negatives == "given" or not self.hard_negatives):
            raise InputError(
                "data.negative_language is 'query', which belongs to hard negatives that are sentences; set "
                "data.hard_negatives to 1 or more and data.negatives to sentences, or leave it at passage."
            )
        for key in ("query_max_length", "passage_max_length"):
            if getattr(self, key) < 4:
                raise InputError(f"data.{key} is {getattr(self, key)}; give at least 4 tokens.")

    def lengths(self, questions: bool = False) -> dict[str, int]:
        """Return the most tokens that texts have, or of data sets with questions alone, by the key that says so."""
        found = {f"data.{key}": getattr(self, key) for key in ("query_max_length", "passage_max_length")}
        own = {
            f"data.sets.{name}.max_length": entry.max_length
            for name, entry in self.sets.items()
            if entry.max_length and (entry.has_questions or not questions)
        }
        return found | own
