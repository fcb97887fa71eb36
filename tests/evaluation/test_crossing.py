"""The cross-encoder that filters mined negatives: the same judgments whatever is in a batch, each pair once."""

import json

import numpy as np
import pytest
import torch
from transformers import XLMRobertaConfig, XLMRobertaForSequenceClassification

from hybrid.evaluation.crossing import CrossEncoder, pair_probabilities
from hybrid.runtime.errors import InputError
from tests.evaluation.conftest import byte_tokenizer


def cross_encoder(folder, labels: int) -> CrossEncoder:
    """A small random classifier of pairs."""
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    tokenizer = byte_tokenizer()
    config = XLMRobertaConfig(vocab_size=len(tokenizer), num_labels=labels, initializer_range=0.3, **shape)
    XLMRobertaForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return CrossEncoder(str(folder), torch.device("cpu"))


@pytest.mark.parametrize("labels", [1, 2])
def test_probabilities_are_those_of_single_pairs_and_a_killed_job_computes_only_what_is_missing(
    tmp_path, monkeypatch, labels
):
    monkeypatch.setattr("hybrid.evaluation.vectors._FEWEST_ROWS", 4)
    encoder = cross_encoder(tmp_path / "cross", labels)
    pairs = [(f"what {number}?", f"passage {'x' * (number % 5)} {number}") for number in range(10)]
    settings = {"max_length": 64, "batch_tokens": 128, "precision": "fp32"}
    found = pair_probabilities(encoder, pairs, tmp_path / "shards", **settings)
    with torch.no_grad():
        alone = np.concatenate([encoder.probabilities([query], [text], 64) for query, text in pairs])
    np.testing.assert_allclose(found, alone, atol=1e-5)
    assert ((found > 0) & (found < 1)).all()
    assert len(set(found.tolist())) == 10
    (tmp_path / "shards" / "00001.npy").unlink()
    sizes, forward = [], encoder.probabilities
    monkeypatch.setattr(encoder, "probabilities", lambda q, p, n: sizes.append(len(q)) or forward(q, p, n))
    np.testing.assert_array_equal(pair_probabilities(encoder, pairs, tmp_path / "shards", **settings), found)
    assert sum(sizes) == 4
    pair_probabilities(encoder, [*pairs[:-1], ("other", "pair")], tmp_path / "shards", **settings)
    assert sum(sizes) == 14


@pytest.mark.parametrize(
    ("file", "changes"),
    [("config.json", {"layer_norm_eps": 0.1}), ("tokenizer_config.json", {"truncation_side": "left"})],
)
def test_judgments_of_equal_weights_and_another_configuration_or_tokenizer_are_not_taken_again(tmp_path, file, changes):
    pairs = [(f"what {number}?", f"passage {number} {'x' * number} end") for number in range(30)]
    settings = {"max_length": 24, "batch_tokens": 128, "precision": "fp32"}
    first = pair_probabilities(cross_encoder(tmp_path / "cross", 1), pairs, tmp_path / "shards", **settings)
    place = tmp_path / "cross" / file
    place.write_text(json.dumps(json.loads(place.read_text()) | changes))
    other = CrossEncoder(str(tmp_path / "cross"), torch.device("cpu"))
    again = pair_probabilities(other, pairs, tmp_path / "shards", **settings)
    assert (again == pair_probabilities(other, pairs, tmp_path / "fresh", **settings)).all()
    assert (again != first).any()


def test_a_judgment_that_is_no_number_is_refused_with_its_texts_and_never_kept(tmp_path, monkeypatch):
    monkeypatch.setattr("hybrid.evaluation.vectors._FEWEST_ROWS", 4)
    encoder = cross_encoder(tmp_path / "cross", 1)
    pairs = [(f"what {number}?", f"passage {number}") for number in range(10)]
    settings = {"max_length": 64, "batch_tokens": 128, "precision": "fp32"}
    whole = encoder.probabilities
    monkeypatch.setattr(
        encoder, "probabilities", lambda q, p, n: np.where(np.array(q) == "what 5?", np.nan, whole(q, p, n))
    )
    message = r"judgments of 1 pairs are not finite \(first: 'what 5\?' with 'passage 5'\)"
    with pytest.raises(InputError, match=message):
        pair_probabilities(encoder, pairs, tmp_path / "shards", **settings)
    assert sorted(path.name for path in (tmp_path / "shards").glob("*.npy")) == ["00000.npy"]
    monkeypatch.undo()
    monkeypatch.setattr("hybrid.evaluation.vectors._FEWEST_ROWS", 4)
    found = pair_probabilities(encoder, pairs, tmp_path / "shards", **settings)
    assert np.isfinite(found).all()
    found[5] = np.nan  # of a job before such judgments were refused
    np.save(tmp_path / "shards" / "00001.npy", found[4:8])
    with pytest.raises(InputError, match=message):
        pair_probabilities(encoder, pairs, tmp_path / "shards", **settings)


def test_a_filter_that_is_none_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be loaded"):
        CrossEncoder(str(tmp_path / "nowhere"), torch.device("cpu"))
    with pytest.raises(InputError, match="has 3 labels; expected one, or two"):
        cross_encoder(tmp_path / "cross", 3)
