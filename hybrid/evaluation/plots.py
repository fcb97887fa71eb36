"""Figures as PNG, drawn without a display."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from hybrid.runtime.files import atomic_file


def heat_map(path: Path, grid: np.ndarray, names: Sequence[str], title: str, across: str, down: str) -> None:
    """Draw values in [0, 1] as a labelled square of cells, NaN white. The scale is fixed, so that maps compare."""
    side = 2.2 + 0.52 * len(names)
    figure = Figure(figsize=(side + 1.0, side), layout="constrained")
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


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, whole or not at all."""
    with atomic_file(path, "wb") as file:
        figure.savefig(file, format="png", dpi=120)


def bars(path: Path, heights: np.ndarray, names: Sequence[str], series: Sequence[str], title: str) -> None:
    """Draw [series, names] values as groups of bars."""
    figure = Figure(figsize=(max(6.0, 1.5 + 0.16 * len(names) * (len(series) + 1)), 3.6), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(series)
    for number, (row, label) in enumerate(zip(heights, series, strict=True)):
        axes.bar(np.arange(len(names)) + (number - (len(series) - 1) / 2) * width, row, width, label=label)
    axes.set_xticks(range(len(names)), names, rotation=90 if len(names) > 20 else 0)
    axes.set_title(title)
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    if len(series) > 1:
        axes.legend()
    save(figure, path)


def scatter(path: Path, points: np.ndarray, title: str, across: str, up: str) -> None:
    """Draw [n, 2] points."""
    figure = Figure(figsize=(5.0, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.plot(points[:, 0], points[:, 1], "o")
    axes.set(title=title, xlabel=across, ylabel=up)
    axes.grid(alpha=0.3)
    save(figure, path)
