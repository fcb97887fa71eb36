"""What a recipe or a command says about scoring. Imports nothing heavy: every command reads it."""

from dataclasses import dataclass, field
from typing import Literal

from hybrid.runtime.errors import InputError

TREATED = "-lir"
"""After a task's name: its scores after language information removal."""


def _check_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise InputError(f"{name} is {value}; give a whole number of at least {least}.")


@dataclass
class EncodingConfig:
    """How texts become embeddings."""

    precision: Literal["bf16", "fp32"] = "bf16"
    """Arithmetic of the encoder: bf16 is mixed precision (autocast)."""
    batch_tokens: int | None = None
    """Tokens of a batch, padding included; unset: 16384 on a GPU, 1024 on a CPU, whose caches hold that much."""
    storage: Literal["float32", "float16"] = "float32"
    """Number format of the embeddings on disk."""

    def __post_init__(self) -> None:
        if self.batch_tokens is not None:
            _check_least("encoding.batch_tokens", self.batch_tokens, 1)

    def tokens(self, device: str) -> int:
        """Return the tokens of a batch on a device's type."""
        return self.batch_tokens or (1024 if device == "cpu" else 16384)


@dataclass
class SearchConfig:
    """How the first documents are found."""

    backend: Literal["torch", "faiss"] = "torch"
    """torch: blocks of exact scores; faiss: an index, trained once a rank, filled block by block."""
    factory: str = "Flat"
    """FAISS index by its factory string; all but Flat are approximate, and their recall is reported."""
    parameters: str = ""
    """How an approximate FAISS index is searched, such as nprobe=16 or efSearch=128."""
    block_rows: int = 131072
    """Documents that are searched at once; with GPUs, on each of them."""
    device: Literal["cpu", "cuda"] | None = None
    """Where it is searched; unset takes the GPU where there is one."""

    def __post_init__(self) -> None:
        if self.exact and self.parameters:
            raise InputError(
                f"search.parameters is {self.parameters!r}, but the search is exact and takes none; leave it out, or "
                "give search.backend faiss and an approximate search.factory."
            )
        if self.backend == "torch" and self.factory != "Flat":
            raise InputError(
                f"search.factory is {self.factory!r}, but search.backend is torch, which searches exactly and has no "
                "index; give search.backend faiss, or leave the factory out."
            )
        _check_least("search.block_rows", self.block_rows, 1)

    @property
    def exact(self) -> bool:
        """Whether the result is that of a plain sort of all scores."""
        return self.backend == "torch" or self.factory == "Flat"


@dataclass
class EvaluationConfig:
    """How tasks are scored and what is written."""

    encoding: EncodingConfig = field(default_factory=EncodingConfig)
    """How texts become embeddings."""
    search: SearchConfig = field(default_factory=SearchConfig)
    """How documents are found for what is searched (MIRACL, BEIR, TREC, mlqa, mkqa, bucc); other tasks rank whole
    pools."""
    lir: int = 0
    """Directions of each language to remove from its embeddings; scores go to TASK-lir, beside the others. 0: none."""
    lir_texts: str | None = None
    """Texts on which they are estimated, one a line, such as flores-200/{language}.txt; unset: the task's passages."""
    reader: str | None = None
    """Directory or hub id of an extractive question-answering model, for tasks with answers (mlqa): F1 and exact match
    of what it reads in the passages found. Unset reports neither."""
    reader_passages: int = 1
    """Passages of each query, from the first, that the reader reads."""
    run_depth: int = 1000
    """Most documents per ranking in the TREC runs (a setting may keep fewer); 0 writes no runs and qrels."""
    keep_embeddings: bool = False
    """Leave the embeddings beside the results, with the row and the id of each text."""
    overwrite: bool = False
    """Score again where results of the same model, data and settings lie."""

    def __post_init__(self) -> None:
        for name, least in (("lir", 0), ("reader_passages", 1), ("run_depth", 0)):
            _check_least(f"evaluation.{name}", getattr(self, name), least)
        if self.lir_texts and not self.lir:
            raise InputError("evaluation.lir_texts is set, but evaluation.lir is 0; say how many directions to remove.")


@dataclass
class BenchmarkConfig:
    """What an encoder is scored on around its training."""

    tasks: list[str] = field(default_factory=list)
    """Names of tasks (see evaluate.py --help); none skips the scoring."""
    data_dir: str | None = None
    """Folder that holds a folder per task. $NAME takes a variable of the environment."""
    note: str | None = None
    """A sentence that belongs to these scores, such as what was seen in training; printed and logged with them."""
    before: bool = False
    """Score the encoder before training too."""
    settings: EvaluationConfig = field(default_factory=EvaluationConfig)
    """How tasks are scored."""
