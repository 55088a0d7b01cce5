"""The figure of the study: returns over shots, and over gradient steps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from bridge.report import escape
from bridge.report.figures import save, style
from experiments.studies.few_shot.curves import Curve, Curves, estimate
from experiments.studies.few_shot.variants import Variant

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LINES = {"lora": "--", "head": ":"}
"""What is tuned; colours and marks are the method's."""


def draw(curves: Curves, folder: Path) -> Path:
    """Draw a column of two panels for each split; returns the path of the PNG, beside which lies an SVG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.3 * len(curves), 7.6), layout="constrained")
    panels = figure.subplots(2, len(curves), squeeze=False)
    for (split, variants), (above, below) in zip(curves.items(), panels.T, strict=True):
        _over_shots(variants, above)
        _over_steps(variants, below)
        above.set_title(escape.figure(split), fontsize=10)
    named: dict[str, Any] = {}
    for panel in panels.flat:
        lines, labels = panel.get_legend_handles_labels()
        named |= dict(zip(labels, lines, strict=True))
    figure.legend(
        named.values(), named, loc="outside lower center", ncols=4, fontsize=8, frameon=False
    )
    return save(figure, folder / "curves")


def _over_shots(curves: dict[Variant, Curve], panel: Axes) -> None:
    """Return of the scored episode: in context; of methods that take gradient steps alone, with the most of them."""
    most, points = max(kind.steps for kind in curves), next(iter(curves.values())).points
    for kind, curve in curves.items():
        if kind.steps == (most if kind.alone else 0):
            _line(panel, range(len(points)), curve.score, kind)
    panel.set_xticks(range(len(points)), [str(point) for point in points])
    panel.set_xlabel("shots")
    panel.set_ylabel("return of the scored episode")
    panel.grid(alpha=0.25)


def _over_steps(curves: dict[Variant, Curve], panel: Axes) -> None:
    """The same after the last shot, by gradient steps."""
    budgets = sorted({kind.steps for kind in curves})
    for tuned in dict.fromkeys(kind._replace(steps=1) for kind in curves if kind.steps):
        kinds = [tuned._replace(way=tuned.way if steps else "", steps=steps) for steps in budgets]
        there = [place for place, kind in enumerate(kinds) if kind in curves]
        _line(
            panel, there, np.stack([curves[kinds[place]].score[:, -1] for place in there], 1), tuned
        )
    panel.set_xticks(range(len(budgets)), [str(steps) for steps in budgets])
    panel.set_xlabel("gradient steps, after the last shot")
    panel.set_ylabel("return of the scored episode")
    panel.grid(alpha=0.25)


def _line(
    panel: Axes, x: range | list[int], score: Float[np.ndarray, "T P"], kind: Variant
) -> None:
    """Means with 95% bands over tasks, for these very runs."""
    bands = [estimate(column) for column in score.T]
    look: dict[str, Any] = style(kind.method) | {
        "linestyle": _LINES.get(kind.way.partition("_")[0], "-")
    }
    label = f"{kind.method}, {kind.way.replace('_', ' by ')}" if kind.way else kind.method
    panel.plot(x, [band.mean for band in bands], label=escape.figure(label), lw=1.6, ms=4, **look)
    panel.fill_between(
        x, [b.low for b in bands], [b.high for b in bands], color=look["color"], alpha=0.12, lw=0
    )
