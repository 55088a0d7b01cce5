"""Curves of the cells' returns: over shots, and over gradient steps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from bridge.report import escape
from bridge.report.figures import Look, legend, looks, save
from experiments.reporting import registered
from experiments.studies.few_shot.cells import Cell, Kind
from experiments.studies.few_shot.curves import Curve, estimate, pooled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DASHES = {
    "": "-",
    "lora": "--",
    "head": ":",
    "full": "-.",
    "own": (0, (5, 1, 1, 1, 1, 1)),
}
"""By the weights that gradient steps change; colours and markers are the method's."""


def draw(found: dict[Cell, Curve], folder: Path) -> Path:
    """Draw a column of two panels for each split; returns the path of the PNG, beside which lies an SVG."""
    from matplotlib.figure import Figure

    splits = list(dict.fromkeys(cell.split for cell in found))
    look = looks(registered(), (cell.method for cell in found))
    figure = Figure(figsize=(4.3 * len(splits), 7.6), layout="constrained")
    panels = figure.subplots(2, len(splits), squeeze=False)
    for split, (above, below) in zip(splits, panels.T, strict=True):
        curves = pooled(found, split)
        _over_shots(curves, above, look)
        _over_steps(curves, below, look)
        above.set_title(escape.figure(split), fontsize=10)
    legend(figure)
    return save(figure, folder / "curves")


def _over_shots(curves: dict[Kind, Curve], panel: Axes, look: dict[str, Look]) -> None:
    """Draw the return of the scored episode by shots.

    Methods that adapt by gradient steps alone are drawn with the largest budget of them, all others without any.
    """
    most, points = max(kind.steps for kind in curves), next(iter(curves.values())).points
    for kind, curve in curves.items():
        if kind.steps == (most if kind.alone else 0):
            _line(panel, range(len(points)), curve.score, kind, look[kind.method])
    panel.set_xticks(range(len(points)), [str(point) for point in points])
    panel.set_xlabel("shots")
    panel.set_ylabel("return of the scored episode")
    panel.grid(alpha=0.25)


def _over_steps(curves: dict[Kind, Curve], panel: Axes, look: dict[str, Look]) -> None:
    """Draw the return of the scored episode after the last shot, by gradient steps."""
    budgets = sorted({kind.steps for kind in curves})
    for tuned in dict.fromkeys(kind._replace(steps=1) for kind in curves if kind.steps):
        kinds = [tuned._replace(way=tuned.way if steps else "", steps=steps) for steps in budgets]
        there = [place for place, kind in enumerate(kinds) if kind in curves]
        score = np.stack([curves[kinds[place]].score[:, -1] for place in there], 1)
        _line(panel, there, score, tuned, look[tuned.method])
    panel.set_xticks(range(len(budgets)), [str(steps) for steps in budgets])
    panel.set_xlabel("gradient steps, after the last shot")
    panel.set_ylabel("return of the scored episode")
    panel.grid(alpha=0.25)


def _line(
    panel: Axes, x: range | list[int], score: Float[np.ndarray, "T P"], kind: Kind, look: Look
) -> None:
    """Draw means with 95% bands over tasks, for these very runs."""
    bands = [estimate(column) for column in score.T]
    label = f"{kind.method}, {kind.way.replace('_', ' by ')}" if kind.way else kind.method
    panel.plot(
        x,
        [band.mean for band in bands],
        color=look["color"],
        marker=look["marker"],
        linestyle=_DASHES[kind.way.partition("_")[0]],
        label=escape.figure(label),
        lw=1.6,
        ms=4,
    )
    panel.fill_between(
        x, [b.low for b in bands], [b.high for b in bands], color=look["color"], alpha=0.12, lw=0
    )
