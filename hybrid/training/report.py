"""The mixture and the scores of a run, as lines for people."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

MOST = 24
"""Streams that are listed one by one; of more, the largest and smallest shares."""


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """Return a nested dataclass as parameters by dotted key; a field that is not set is left out."""
    if is_dataclass(value):
        pairs = [(field.name, getattr(value, field.name)) for field in fields(value) if field.name != "text"]
    elif isinstance(value, dict):
        pairs = list(value.items())
    else:
        return {path: value} if value is not None else {}
    found: dict[str, Any] = {}
    for key, inner in pairs:
        found |= flat(inner, f"{path}.{key}" if path else str(key))
    return found


def mixture_line(mixture) -> str:
    """Return the shares of kinds and the form of batches in one line."""
    shares = ", ".join(f"{kind} {share}" for kind, share in mixture.kinds().items())
    return f"{shares} ({mixture.form} batches, {mixture.schedule})"


def mixture_lines(table: list[dict]) -> list[str]:
    """Return the resolved table of streams and shares as lines; a long one is cut in the middle of its shares."""
    rows = table
    lines = [f"mixture: {len(table)} streams", f"  {'kind':<16}{'data set':<16}{'stream':<10}{'share':>9}{'items':>12}"]
    if len(table) > MOST:
        rows = sorted(table, key=lambda row: -row["share"])
        lines[0] += f", the {MOST // 2} with the largest and the {MOST // 2} with the smallest shares:"
        rows = [*rows[: MOST // 2], *rows[-MOST // 2 :]]
    for row in rows:
        stream = row["query"] if row["query"] == row["passage"] else f"{row['query']}:{row['passage']}"
        lines.append(f"  {row['kind']:<16}{row['dataset']:<16}{stream:<10}{row['share']:>9.5f}{row['items']:>12}")
    return lines


def before_and_after(before: Mapping[str, float], after: Mapping[str, float]) -> str:
    """Return a table of mAP, recall@1, recall@10 and rank distance by setting, before and after training."""
    from hybrid.evaluation.table import scores_table

    if not before:
        return scores_table(after)
    rows = {f"before: {key}": value for key, value in before.items()}
    return scores_table(rows | {f"after:  {key}": value for key, value in after.items()})
