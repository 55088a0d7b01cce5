"""What the cells gave, as curves: over shots, and over gradient steps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from bridge.report.figures import save, style
from bridge.stats import Resampled, interval
from experiments.few_shot.cells import Cell
from experiments.few_shot.tables import Curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Kind = tuple[str, str, int]
"""Method, way and gradient steps; runs that differ by their seeds alone are of one kind."""


def draw(found: dict[Cell, Curve], folder: Path) -> Path:
    """Draw a column of two panels for each split; returns the path of the PNG, beside which lies an SVG."""
    from matplotlib.figure import Figure

    splits = list(dict.fromkeys(cell.split for cell in found))
    figure = Figure(figsize=(4.3 * len(splits), 7.6), layout="constrained")
    panels = figure.subplots(2, len(splits), squeeze=False)
    for split, (above, below) in zip(splits, panels.T, strict=True):
        some = {cell: curve for cell, curve in found.items() if cell.split == split}
        _over_shots(some, above)
        _over_steps(some, below)
        above.set_title(split, fontsize=10)
    named = {}
    for panel in panels.flat:
        lines, labels = panel.get_legend_handles_labels()
        named |= dict(zip(labels, lines, strict=True))
    figure.legend(named.values(), named, loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    return save(figure, folder / "curves")


def _scores(some: dict[Cell, Curve]) -> dict[Kind, Float[np.ndarray, "T P"]]:
    """Means over the runs of a kind."""
    rows: dict[Kind, list[Float[np.ndarray, "T P"]]] = {}
    for cell, curve in some.items():
        rows.setdefault((cell.method, cell.way, cell.steps), []).append(curve.score)
    return {kind: np.mean(found, 0) for kind, found in rows.items()}


def _over_shots(some: dict[Cell, Curve], panel: Axes) -> None:
    """Return of the scored episode: in context, and of who takes gradient steps alone with most of them."""
    most, points = max(cell.steps for cell in some), next(iter(some.values())).points
    alone = {cell.method for cell in some if cell.alone}
    for (method, way, steps), score in _scores(some).items():
        if steps == (most if method in alone else 0):
            _line(panel, range(len(points)), score, method, way)
    panel.set_xticks(range(len(points)), [str(point) for point in points])
    panel.set_xlabel("shots")
    panel.set_ylabel("return of the scored episode")
    panel.grid(alpha=0.25)


def _over_steps(some: dict[Cell, Curve], panel: Axes) -> None:
    """The same after the last shot, by gradient steps."""
    scores, budgets = _scores(some), sorted({cell.steps for cell in some})
    for method, way in dict.fromkeys((method, way) for method, way, steps in scores if steps):
        kinds = [(method, way if steps else "", steps) for steps in budgets]
        there = [place for place, kind in enumerate(kinds) if kind in scores]
        _line(panel, there, np.stack([scores[kinds[place]][:, -1] for place in there], 1), method, way)
    panel.set_xticks(range(len(budgets)), [str(steps) for steps in budgets])
    panel.set_xlabel("gradient steps, after the last shot")
    panel.set_ylabel("return of the scored episode")
    panel.grid(alpha=0.25)


def _line(panel: Axes, x: range | list[int], score: Float[np.ndarray, "T P"], method: str, way: str) -> None:
    """Means with 95% bands over tasks, for these very runs."""
    bands = [interval(Resampled.mean, column) for column in score.T]
    look: dict[str, Any] = style(method) | ({"linestyle": "--"} if way.startswith("lora") else {})
    label = f"{method}, {way.replace('_', ' by ')}" if way else method
    panel.plot(x, [band.mean for band in bands], label=label, lw=1.6, ms=4, **look)
    panel.fill_between(x, [b.low for b in bands], [b.high for b in bands], color=look["color"], alpha=0.12, lw=0)
