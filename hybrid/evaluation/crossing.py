"""A cross-encoder's probability that a passage answers a question, for many pairs: on all ranks, shard by shard."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from hybrid.evaluation.encoding import inference, missing_shards
from hybrid.evaluation.results import network_digest
from hybrid.evaluation.vectors import shard_path, shards
from hybrid.runtime.errors import InputError
from hybrid.runtime.files import atomic_file, digest
from hybrid.runtime.logs import progress
from hybrid.runtime.processes import gather_objects, rank, world_size


class CrossEncoder:
    """A sequence classifier of (question, passage) with one label, or with two of which the second is "answers"."""

    def __init__(self, name: str, device: torch.device):
        """Load a directory or hub id; raises InputError where there is none, or it has another number of labels."""
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        try:
            self.tokenizer = AutoTokenizer.from_pretrained(name)
            self.model = AutoModelForSequenceClassification.from_pretrained(name, dtype=torch.float32)
        except (OSError, ValueError) as error:
            raise InputError(
                f"mining.filter = {name}: cannot be loaded ({str(error).splitlines()[0]}); give the directory or hub "
                "id of a sequence classification model."
            ) from error
        if self.model.config.num_labels > 2:
            raise InputError(
                f"mining.filter = {name}: has {self.model.config.num_labels} labels; expected one, or two of which the "
                "second means that the passage answers the question."
            )
        self.model = self.model.to(device)

    def probabilities(self, questions: Sequence[str], passages: Sequence[str], max_length: int) -> np.ndarray:
        """Return float32 [n]; of a pair with more than `max_length` tokens the longer text is cut."""
        tokens = self.tokenizer(
            list(questions), list(passages), truncation=True, max_length=max_length, padding=True,
            return_tensors="pt",
        )  # fmt: skip
        logits = self.model(**tokens.to(self.model.device)).logits.float()
        one = logits.shape[1] == 1
        return (logits[:, 0].sigmoid() if one else logits.softmax(dim=1)[:, 1]).cpu().numpy()


def pair_probabilities(
    encoder: CrossEncoder,
    pairs: Sequence[tuple[str, str]],
    folder: Path,
    max_length: int,
    batch_tokens: int,
    precision: str,
) -> np.ndarray:
    """Return float32 [pairs], the probability that the passage of a pair answers its question.

    Every rank has to call it. Shards found in `folder` that were made of the same pairs by the same model are used
    again, so that a killed job goes on. Raises InputError on every rank, naming pairs, if a probability is NaN.
    """
    manifest = {
        "model": network_digest(encoder.model, encoder.model.config, encoder.tokenizer),
        "pairs": digest(pairs),
        "length": max_length,
        "precision": precision,
    }
    parts = [pairs[part] for part in shards(len(pairs))]
    missing = missing_shards(folder, manifest, len(parts))[rank() :: world_size()]
    total = sum(len(parts[number]) for number in missing)
    rows = max(1, batch_tokens // max_length)
    error = None
    with inference(encoder.model, precision), progress(total, "filtering", "pairs") as bar:
        for number in missing:
            part = parts[number]
            order = np.argsort([len(question) + len(passage) for question, passage in part], kind="stable")[::-1]
            found = np.empty(len(part), np.float32)
            for start in range(0, len(part), rows):
                chosen = order[start : start + rows]
                questions, passages = zip(*(part[row] for row in chosen.tolist()), strict=True)
                found[chosen] = encoder.probabilities(questions, passages, max_length)
                bar.update(len(chosen))
            if error := _not_finite(found, part):
                break
            with atomic_file(shard_path(folder, number), "wb") as file:
                np.save(file, found)
    for raised in gather_objects(error):
        if raised:
            raise raised
    shares = [np.load(shard_path(folder, number)) for number in range(len(parts))]
    found = np.concatenate(shares) if shares else np.zeros(0, np.float32)
    if error := _not_finite(found, pairs):
        raise error
    return found


def _not_finite(probabilities: np.ndarray, pairs: Sequence[tuple[str, str]]) -> InputError | None:
    """Return the error of probabilities that are none: they are below no bound, and would pass for a negative's."""
    bad = np.flatnonzero(~np.isfinite(probabilities))
    if not len(bad):
        return None
    shown = "; ".join(f"{pairs[row][0][:60]!r} with {pairs[row][1][:60]!r}" for row in bad[:3].tolist())
    return InputError(
        f"mining.filter: the cross-encoder's judgments of {len(bad)} pairs are not finite (first: {shown}); the model "
        "is damaged or overflows in this precision: try encoding.precision fp32."
    )
