"""Scores as a table of plain text, which reads as Markdown too."""

from collections.abc import Mapping, Sequence

COLUMNS = (
    *("map", "recall_at_1", "recall_at_10", "recall_at_100", "ndcg_at_10", "hit_rate_at_20", "hit_rate_at_100"),
    *("answer_f1", "exact_match", "f1", "accuracy", "rank_distance"),
)


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table whose columns are aligned: text to the left, all but the first to the right."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.ljust(width) if not i else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    rule = [f"{'-' * width}" if not i else f"{'-' * (width - 1)}:" for i, width in enumerate(widths)]
    return "\n".join([line(header), f"| {' | '.join(rule)} |", *(line(row) for row in rows)])


def scores_table(metrics: Mapping[str, float]) -> str:
    """Return metrics by ``TASK/SETTING/MEASURE`` as a table with a row for each task and setting."""
    rows: dict[str, dict[str, float]] = {}
    for name, value in metrics.items():
        place, _, measure = name.rpartition("/")
        rows.setdefault(place, {})[measure] = value
    columns = [name for name in COLUMNS if any(name in row for row in rows.values())]
    cells = [[place, *(number(row.get(name)) for name in columns)] for place, row in rows.items()]
    return markdown(["task and setting", *columns], cells)


def number(value: float | None) -> str:
    """Return a figure as it stands in tables: four decimals below 10, one above, a dash where there is none."""
    if value is None:
        return "-"
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.1f}"
