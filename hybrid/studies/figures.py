"""A study's own plot: an arm's figure with its interval, and its seeds."""

from collections.abc import Sequence
from pathlib import Path

from hybrid.evaluation.compare import Row
from hybrid.evaluation.plots import blank, save


def arms_plot(path: Path, rows: Sequence[Row], seeds: Sequence[Sequence[float]], title: str) -> Path:
    """Draw the mean and 95% interval of each row's arm from top to bottom, and a small mark for each seed."""
    figure = blank(6.5, 1.2 + 0.34 * len(rows))
    axes = figure.subplots()
    for place, (row, values) in enumerate(zip(rows, seeds, strict=True)):
        axes.errorbar([row.mean], [place], xerr=[[row.mean - row.low], [row.high - row.mean]], fmt="o", capsize=3)
        if len(values) > 1:
            axes.plot(values, [place] * len(values), "|", color="black", markersize=9)
    axes.set_yticks(range(len(rows)), [row.recipe for row in rows])
    axes.invert_yaxis()
    axes.set(title=title, xlabel=f"{rows[0].measure}: 95% interval over questions; bars: seeds")
    axes.grid(axis="x", alpha=0.3)
    return save(figure, path)
