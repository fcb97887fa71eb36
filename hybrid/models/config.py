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
class LoraConfig:
    """Low-rank adapters (LoRA, arXiv 2106.09685): they alone are trained, and are added into the saved weights."""

    rank: int = 16
    """Rank r of an adapter's two factors."""
    alpha: float = 32.0
    """The adapters' product is scaled by alpha / rank."""
    dropout: float = 0.0
    """Dropout of what goes into the adapters while training."""
    targets: list[str] | None = None
    """Linear layers that get an adapter, by the last part of their name, such as [query, value] (mT5: [q, v]); unset
    takes all of the backbone."""

    def __post_init__(self) -> None:
        if self.rank < 1 or not self.alpha > 0:
            raise InputError(f"model.lora: rank is {self.rank} and alpha {self.alpha}; give positive numbers.")
        if not 0 <= self.dropout < 1:
            raise InputError(f"model.lora.dropout is {self.dropout}; give a probability of at least 0 and below 1.")
        if self.targets == []:
            raise InputError("model.lora.targets is empty; name linear layers, or leave it unset for all of them.")


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
    """Dimensions of a linear map without bias after pooling; unset adds none. A saved one of as many is kept, with its
    bias and activation."""
    layers: int | None = None
    """Take only this many bottom layers of the backbone; the saved model has that depth. Unset takes all."""
    dropout: float | None = None
    """Dropout of hidden states and attention while training; unset keeps the backbone's own."""
    freeze_embeddings: bool = False
    """Leave the token embedding matrix as it is (most of a multilingual encoder's parameters)."""
    lora: LoraConfig | None = None
    """Train adapters of low rank beside frozen weights, {rank: 16}; unset trains the weights themselves."""
    chunk_tokens: int | None = None
    """Tokens, padding included, that go through the backbone at once; texts of like length go together. Unset takes
    2048 on a CPU, for its caches, and 65536 elsewhere."""
    attention: Literal["auto", "packed", "sdpa", "eager"] = "auto"
    """packed: no padding is computed, by torch's variable-length kernel (XLM-R's and BERT's family on CUDA, in bf16,
    without dropout of attention). sdpa, eager: transformers' own, on chunks of like length. auto: packed where that
    can be; two matrix products in bf16 on a CPU, where sdpa takes 2.4 times as long; else sdpa, or
    eager where the backbone has no other."""
    trust_remote_code: bool = False
    """Run code that comes with a hub model. Read it first."""
    allow_pickle: bool = False
    """Load weights that are no safetensors; a pickle can run code when it is read."""

    def __post_init__(self) -> None:
        if self.name and self.from_scratch:
            raise InputError("model.name and model.from_scratch are both set; an encoder has one origin, remove one.")
        if self.revision and self.from_scratch:
            raise InputError("model.revision is set, but model.from_scratch takes no saved weights; remove one.")
        if self.dropout is not None and not 0 <= self.dropout < 1:
            raise InputError(f"model.dropout is {self.dropout}; give a probability of at least 0 and below 1.")
        if self.chunk_tokens is not None and self.chunk_tokens < 1:
            raise InputError(f"model.chunk_tokens is {self.chunk_tokens}; give a positive number of tokens.")
        if self.lora and self.freeze_embeddings:
            raise InputError(
                "model.lora and model.freeze_embeddings are both set; LoRA freezes all weights, remove one."
            )
        for key in ("projection", "layers"):
            if (value := getattr(self, key)) is not None and value < 1:
                raise InputError(f"model.{key} is {value}; give a positive number or leave it unset.")
