"""Figures as PNG, drawn without a display."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hybrid.runtime.files import atomic_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def blank(width: float, height: float) -> "Figure":
    """Return an empty figure, in inches; matplotlib is imported where the first one is drawn."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def heat_map(path: Path, grid: np.ndarray, names: Sequence[str], title: str, across: str, down: str) -> None:
    """Draw values in [0, 1] as a labelled square of cells, NaN white. The scale is fixed, so that maps compare."""
    side = 2.2 + 0.52 * len(names)
    figure = blank(side + 1.0, side)
    axes = figure.subplots()
    image = axes.imshow(grid, vmin=0, vmax=1, cmap="viridis")
    axes.set_xticks(range(len(names)), names, rotation=90 if len(names) > 20 else 0)
    axes.set_yticks(range(len(names)), names)
    axes.set(title=title, xlabel=across, ylabel=down)
    if len(names) <= 40:
        for (row, column), value in np.ndenumerate(grid):
            if not np.isnan(value):
                colour = "black" if value > 0.6 else "white"
                axes.text(column, row, f"{value:.2f}"[1:] if value < 1 else "1", ha="center", va="center", color=colour)
    figure.colorbar(image, ax=axes, shrink=0.8)
    save(figure, path)


def save(figure: "Figure", path: Path) -> Path:
    """Write a figure as PNG, whole or not at all; return its path."""
    with atomic_file(path, "wb") as file:
        figure.savefig(file, format="png", dpi=120)
    return path


def bars(path: Path, heights: np.ndarray, names: Sequence[str], series: Sequence[str], title: str) -> Path:
    """Draw [series, names] values as groups of bars."""
    figure = blank(min(30.0, max(6.0, 1.5 + 0.16 * len(names) * (len(series) + 1))), 3.6)
    axes = figure.subplots()
    width = 0.8 / len(series)
    for number, (row, label) in enumerate(zip(heights, series, strict=True)):
        axes.bar(np.arange(len(names)) + (number - (len(series) - 1) / 2) * width, row, width, label=label)
    axes.set_xticks(range(len(names)), names, rotation=90 if len(names) > 20 else 0)
    axes.set_title(title)
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    if len(series) > 1:
        _legend(figure)
    return save(figure, path)


def histogram(path: Path, counts: Sequence[int], title: str, across: str) -> Path:
    """Draw counts of 1, 2, 3 and so on."""
    figure = blank(7.0, 3.6)
    axes = figure.subplots()
    axes.bar(np.arange(1, len(counts) + 1), counts, 1.0, edgecolor="white", linewidth=0.3)
    axes.set(title=title, xlabel=across)
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    return save(figure, path)


def points(
    path: Path, marks: Mapping[str, tuple[float, float, float, float]], title: str, across: str, up: str
) -> Path:
    """Draw a labelled point for each name: where it stands, its value, and the lower and upper end of its interval."""
    figure = blank(6.0, 3.8)
    axes = figure.subplots()
    for name, (place, value, low, high) in marks.items():
        axes.errorbar([place], [value], yerr=[[value - low], [high - value]], fmt="o", capsize=3, label=name)
    axes.set(title=title, xlabel=across, ylabel=up)
    axes.margins(x=0.1)
    axes.grid(alpha=0.3)
    _legend(figure)
    return save(figure, path)


def curves(path: Path, lines: Mapping[str, Sequence[np.ndarray]], title: str, across: str, up: str) -> Path:
    """Draw the [n, 2] points of each name's lines, the lines of one name in one colour."""
    figure = blank(7.0, 3.8)
    axes = figure.subplots()
    for number, (name, several) in enumerate(lines.items()):
        for place, line in enumerate(several):
            axes.plot(line[:, 0], line[:, 1], color=f"C{number % 10}", label=None if place else name, linewidth=1.2)
    axes.set(title=title, xlabel=across, ylabel=up)
    axes.grid(alpha=0.3)
    _legend(figure)
    return save(figure, path)


def _legend(figure: "Figure") -> None:
    """Put the names under the axes, where they hide nothing."""
    figure.legend(loc="outside lower center", ncols=4, frameon=False)
