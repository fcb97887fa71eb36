"""Answers out of retrieved passages by a reader: any extractive question-answering model of transformers.

A pair of question and passage that is too long for the model is read in windows of the passage that overlap. The answer
is the span with the largest sum of start and end logit over all windows of all passages that are read.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hybrid.evaluation.results import network_digest
from hybrid.runtime.errors import InputError
from hybrid.runtime.files import digest, file_digest
from hybrid.runtime.logs import progress

MAX_LENGTH = 384
STRIDE = 128
_MAX_ANSWER = 30
_TOKENS = 16384
_FILES = (".safetensors", ".bin", ".json", ".txt", ".model")
ABOUT = "reader.json"
"""What the training of a reader writes beside it: about it, and no part of it."""


@dataclass
class Reader:
    """A question-answering model with its tokenizer, on its device."""

    model: Any
    tokenizer: Any
    precision: str = "bf16"

    @property
    def digest(self) -> str:
        """Of all that its answers depend on: what stands beside the scores that it made."""
        return network_digest(self.model, self.model.config, self.tokenizer)

    def read(self, questions: Sequence[str], passages: Sequence[Sequence[str]]) -> list[str]:
        """Return the answer to each question out of its own passages; empty where none has a token to take."""
        pairs = [(row, text) for row, texts in enumerate(passages) for text in texts]
        spans = self._spans([questions[row] for row, _ in pairs], [text for _, text in pairs])
        best: dict[int, tuple[float, str]] = {}
        for (row, text), (score, start, stop) in zip(pairs, spans, strict=True):
            if row not in best or score > best[row][0]:
                best[row] = (score, text[start:stop].strip())
        return [best[row][1] if row in best else "" for row in range(len(questions))]

    def _spans(self, questions: Sequence[str], passages: Sequence[str]) -> list[tuple[float, int, int]]:
        """Return (score, first character, character after the last) of each pair's best span."""
        windows = cut(self.tokenizer, questions, passages, self._max_length())
        found = [(-np.inf, 0, 0)] * len(questions)
        order = sorted(range(len(windows.ids)), key=lambda row: -len(windows.ids[row]))
        device = next(self.model.parameters()).device
        mixed = self.precision == "bf16"
        context = torch.autocast(device.type, torch.bfloat16) if mixed else nullcontext()
        with torch.no_grad(), context, progress(len(order), "reading", "windows") as bar:
            start = 0
            while start < len(order):
                rows = order[start : start + max(1, _TOKENS // len(windows.ids[order[start]]))]
                batch = self.tokenizer.pad([windows.inputs(row) for row in rows], return_tensors="pt")
                out = self.model(**batch.to(device))
                first, last = out.start_logits.float().cpu().numpy(), out.end_logits.float().cpu().numpy()
                for place, row in enumerate(rows):
                    span = _best_span(first[place], last[place], windows.offsets[row])
                    pair = windows.pair[row]
                    found[pair] = max(found[pair], span, key=lambda span: span[0])
                start += len(rows)
                bar.update(len(rows))
        return found

    def _max_length(self) -> int:
        return min(MAX_LENGTH, self.tokenizer.model_max_length)


@dataclass(frozen=True)
class Windows:
    """Token windows of question and passage pairs.

    Attributes:
        ids: token ids of each window, special tokens included.
        segments: of each token, whether it is the question's (0) or the passage's (1), of tokenizers that tell it
            (BERT's); else None.
        offsets: int64 [l, 2], the characters of the passage that each token covers; -1 outside the passage.
        pair: the pair of each window.
    """

    ids: list[list[int]]
    segments: list[list[int]] | None
    offsets: list[np.ndarray]
    pair: list[int]

    def inputs(self, row: int) -> dict[str, list[int]]:
        """Return what the model takes of a window, before it is padded."""
        segments = {"token_type_ids": self.segments[row]} if self.segments else {}
        return {"input_ids": self.ids[row], **segments}


def cut(tokenizer, questions: Sequence[str], passages: Sequence[str], max_length: int, stride: int = STRIDE) -> Windows:
    """Return the windows of pairs, in the order of the pairs; a question takes at most half of a window."""
    ends = tokenizer(
        list(questions),
        truncation=True,
        max_length=max_length // 2,
        add_special_tokens=False,
        return_offsets_mapping=True,
    )["offset_mapping"]
    texts = [text[: spans[-1][1]] if spans else text for text, spans in zip(questions, ends, strict=True)]
    out = tokenizer(
        texts,
        list(passages),
        truncation="only_second",
        max_length=max_length,
        stride=min(stride, max_length // 4),
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    offsets = []
    for row, spans in enumerate(out["offset_mapping"]):
        inside = np.array([side == 1 for side in out.sequence_ids(row)])
        offsets.append(np.where(inside[:, None], np.array(spans), -1))
    return Windows(out["input_ids"], out.get("token_type_ids"), offsets, out["overflow_to_sample_mapping"])


def _best_span(first: np.ndarray, last: np.ndarray, offsets: np.ndarray) -> tuple[float, int, int]:
    """Return the score of the best span of at most `_MAX_ANSWER` tokens of the passage, and its characters."""
    inside = np.flatnonzero(offsets[:, 1] > offsets[:, 0])
    if not len(inside):
        return -np.inf, 0, 0
    scores = first[inside][:, None] + last[inside][None, :]
    distance = np.arange(len(inside))[None, :] - np.arange(len(inside))[:, None]
    scores = np.where((distance >= 0) & (distance < _MAX_ANSWER), scores, -np.inf)
    start, stop = np.unravel_index(np.argmax(scores), scores.shape)
    return float(scores[start, stop]), int(offsets[inside[start], 0]), int(offsets[inside[stop], 1])


def reader_key(name: str) -> str:
    """Return what tells readers apart without loading them: a digest of a directory's files, or a hub id.

    What may count are weights in one file or several, configuration and tokenizer; notes on a training do not.
    """
    files = sorted(path for path in Path(name).glob("*") if path.suffix in _FILES and path.name != ABOUT)
    return digest([(path.name, file_digest(path)) for path in files]) if files else name


def check_reader(name: str, has_answers: bool) -> None:
    """Raise InputError, before anything is encoded, where a model is no reader, or no task has answers to read.

    Args:
        name: directory or hub id.
        has_answers: whether any of the tasks does.
    """
    from transformers import AutoConfig

    if not has_answers:
        raise InputError(f"reader {name}: none of the tasks has answers to read; mlqa does. Leave the reader out.")
    try:
        architectures = AutoConfig.from_pretrained(name).architectures or []
    except (OSError, ValueError) as error:
        raise InputError(f"reader {name}: cannot be loaded ({str(error).splitlines()[0]}).") from error
    if not any(kind.endswith("ForQuestionAnswering") for kind in architectures):
        raise InputError(
            f"reader {name}: is {', '.join(architectures) or 'a model without a head'}, not an extractive "
            "question-answering model; train one with python -m hybrid.evaluation.reader."
        )


def load_reader(name: str, precision: str, device) -> Reader:
    """Load a question-answering model from a directory or hub id; raises InputError where it is none."""
    from transformers import AutoModelForQuestionAnswering, AutoTokenizer

    check_reader(name, has_answers=True)
    try:
        model = AutoModelForQuestionAnswering.from_pretrained(name, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise InputError(f"reader {name}: cannot be loaded ({str(error).splitlines()[0]}).") from error
    if not tokenizer.is_fast:
        raise InputError(f"reader {name}: has no fast tokenizer, which tells the characters of tokens.")
    return Reader(model.to(device).eval(), tokenizer, precision)
