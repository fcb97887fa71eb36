"""Configurations that are stepped under every parallelism: a pairwise design, and what goes with it."""

from itertools import combinations

FACTORS = {
    "clipping": {"training": {"clip": 0.1}},
    "activation checkpointing": {"training": {"activation_checkpointing": True}},
    "gradient cache": {"training": {"cache_tokens": 36}},
    "hard negatives": {"negatives": True},
    "learned temperature": {"objective": {"learn_temperature": True}},
    "both directions": {"objective": {"both_directions": True}},
    "variance penalty": {"objective": {"variance_penalty": 0.5}},
    "several forwards": {"encoder": {"chunk_tokens": 50}},
}

ROWS = 6
COLUMNS = dict(zip(FACTORS, combinations(range(1, ROWS), 3), strict=False))
"""Rows in which a factor is on. Two different sets of three of the five rows 1 to 5 meet, miss each other both ways,
and are both off in row 0: six rows hold every pair of settings (Katona 1973; Kleitman and Spencer 1973)."""

EXECUTION = ("gradient cache", "activation checkpointing", "several forwards")
"""Factors that change how a gradient is computed, and not what it is: the reference is without them."""


def joined(*names: str) -> dict:
    """Return the options of several factors in one; without clipping, where that is not among them."""
    options = {"training": {"clip": 0.0}}
    for name in names:
        for room, values in FACTORS[name].items():
            options[room] = options.get(room, {}) | values if isinstance(values, dict) else values
    return options


DESIGN = {name: [f for f, rows in COLUMNS.items() if row in rows] for row, name in enumerate("ABCDEF")}
"""The factors that are on in each case."""

CASES = {name: joined(*factors) for name, factors in DESIGN.items()}
REFERENCE = {name: joined(*(f for f in factors if f not in EXECUTION)) for name, factors in DESIGN.items()}

ADAPTERS = {"encoder": {"adapters": 4}}
CASES["adapters"] = joined("gradient cache", "activation checkpointing", "hard negatives") | ADAPTERS
REFERENCE["adapters"] = joined("hard negatives") | ADAPTERS

WRONG = {name: joined("hard negatives") | {"gather": name} for name in ("detached", "scaled")}

CACHED = {
    "whole": joined("hard negatives"),
    "cached": joined("hard negatives", "gradient cache"),
    "dropout": joined("hard negatives", "gradient cache") | {"encoder": {"dropout": 0.3}},
}

HALF = {"training": {"clip": 0.0, "precision": "bf16"}}
BF16 = {
    "bf16": HALF,
    "bf16, cached": {"training": HALF["training"] | {"cache_tokens": 36}},
}

THREE = {"steps": 3, "training": {"cache_tokens": 36}}
NOT_FINITE = {
    "left out": THREE | {"left_out": [1]},
    "infinite loss": THREE | {"spoilt": "loss"},
    "infinite gradient": THREE | {"spoilt": "gradient"},
    "infinite gradient, plain": {"steps": 3, "spoilt": "gradient"},
}

ALL = CASES | WRONG | CACHED | BF16 | NOT_FINITE
OFFLOADED = {name: ALL[name] for name in ("A", "B", "bf16", "left out", "infinite gradient")}
