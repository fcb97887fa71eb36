"""Settings that mean nothing are refused where they are made."""

import pytest

from hybrid.evaluation.config import EncodingConfig, EvaluationConfig, SearchConfig
from hybrid.runtime.errors import InputError


@pytest.mark.parametrize(
    ("config", "name", "value"),
    [
        (EvaluationConfig, "lir", -1),
        (EvaluationConfig, "reader_passages", 0),
        (EvaluationConfig, "run_depth", -3),
        (EncodingConfig, "batch_tokens", -5),
        (EncodingConfig, "batch_tokens", 0),
        (SearchConfig, "block_rows", 0),
    ],
)
def test_a_number_out_of_its_range_is_refused_by_its_key(config, name, value):
    with pytest.raises(InputError, match=rf"\.{name} is {value}; give a whole number of at least \d\."):
        config(**{name: value})
