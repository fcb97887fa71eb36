"""What a recipe says about the encoder."""

from dataclasses import dataclass, field
from typing import Any, Literal

from hybrid.runtime.errors import InputError


@dataclass
class FromScratch:
    """A randomly initialised backbone instead of pretrained weights."""

    model_type: str = "xlm-roberta"
    """Architecture by its transformers name (xlm-roberta, bert, mt5 ...)."""
    config: dict[str, Any] = field(default_factory=dict)
    """Arguments of the architecture's configuration, for example {hidden_size: 128, num_hidden_layers: 2}."""
    tokenizer: str | None = None
    """Directory or hub id of a tokenizer; unset trains a Unigram tokenizer on the training corpus."""
    vocabulary: int = 8000
    """Number of pieces of a tokenizer that is trained on the corpus."""


@dataclass
class ModelConfig:
    """The encoder that is trained or evaluated."""

    name: str | None = None
    """Directory (ours, sentence-transformers' or transformers') or hub id of a pretrained encoder."""
    revision: str | None = None
    """Commit or tag of a hub id; unset takes the newest."""
    from_scratch: FromScratch | None = None
    """Random initialisation in place of `name`."""
    pooling: Literal["mean", "cls"] | None = None
    """How token vectors become one; unset takes what the directory says, else mean."""
    query_prefix: str | None = None
    """Text before each query, for example "query: "; unset takes what the directory says, else nothing."""
    passage_prefix: str | None = None
    """Text before each passage; unset takes what the directory says, else nothing."""
    projection: int | None = None
    """Dimensions of a linear map without bias after pooling; unset adds none (a saved one is kept)."""
    layers: int | None = None
    """Keep only this many bottom layers of the backbone; unset keeps all."""
    dropout: float | None = None
    """Dropout of hidden states and attention while training; unset keeps the backbone's own."""
    freeze_embeddings: bool = False
    """Leave the token embedding matrix as it is (most of a multilingual encoder's parameters)."""
    chunk_tokens: int = 16384
    """Tokens, padding included, that go through the backbone at once; texts of like length go together."""
    attention: Literal["sdpa", "eager", "flash_attention_2"] = "sdpa"
    """Attention implementation of transformers."""
    trust_remote_code: bool = False
    """Run code that comes with a hub model. Read it first."""
    allow_pickle: bool = False
    """Load weights that are no safetensors; a pickle can run code when it is read."""

    def __post_init__(self) -> None:
        if self.name and self.from_scratch:
            raise InputError("model.name and model.from_scratch are both set; an encoder has one origin, remove one.")
        if self.dropout is not None and not 0 <= self.dropout < 1:
            raise InputError(f"model.dropout is {self.dropout}; give a probability of at least 0 and below 1.")
        if self.chunk_tokens < 1:
            raise InputError(f"model.chunk_tokens is {self.chunk_tokens}; give a positive number of tokens.")
        for key in ("projection", "layers"):
            if (value := getattr(self, key)) is not None and value < 1:
                raise InputError(f"model.{key} is {value}; give a positive number or leave it unset.")
