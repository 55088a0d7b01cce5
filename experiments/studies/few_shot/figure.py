"""The figure of the study: returns over shots, and over gradient steps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from bridge.report import escape
from bridge.report.figures import Look, band, legend, looks, save
from experiments import agents
from experiments.studies.few_shot.curves import Curve, Curves, estimate
from experiments.studies.few_shot.variants import Variant

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


def draw(curves: Curves, folder: Path) -> Path:
    """Draw a column of two panels for each split; return the path of the PNG, beside which lies an SVG."""
    from matplotlib.figure import Figure

    methods = {variant.method for variants in curves.values() for variant in variants}
    look = looks(agents.names(), methods)
    figure = Figure(figsize=(4.3 * len(curves), 7.6), layout="constrained")
    panels = figure.subplots(2, len(curves), squeeze=False)
    for (split, variants), (above, below) in zip(curves.items(), panels.T, strict=True):
        _over_shots(variants, above, look)
        _over_steps(variants, below, look)
        above.set_title(escape.figure(split), fontsize=10)
    legend(figure)
    return save(figure, folder / "curves")


def _over_shots(curves: dict[Variant, Curve], panel: Axes, look: dict[str, Look]) -> None:
    """Draw the return of the scored episode by shots.

    Methods that adapt by gradient steps alone are drawn with the largest budget of them, all others without any.
    """
    most, points = max(variant.steps for variant in curves), next(iter(curves.values())).points
    for variant, curve in curves.items():
        if variant.steps == (most if variant.alone else 0):
            _line(panel, range(len(points)), curve.score, variant, look[variant.method])
    panel.set_xticks(range(len(points)), [str(point) for point in points])
    panel.set_xlabel("shots")
    panel.set_ylabel("return of the scored episode")
    panel.grid(alpha=0.25)


def _over_steps(curves: dict[Variant, Curve], panel: Axes, look: dict[str, Look]) -> None:
    """Draw the return of the scored episode after the last shot, by gradient steps."""
    budgets = sorted({variant.steps for variant in curves})
    for tuned in dict.fromkeys(variant._replace(steps=1) for variant in curves if variant.steps):
        variants = [
            tuned._replace(way=tuned.way if steps else "", steps=steps) for steps in budgets
        ]
        there = [place for place, variant in enumerate(variants) if variant in curves]
        score = np.stack([curves[variants[place]].score[:, -1] for place in there], 1)
        _line(panel, there, score, tuned, look[tuned.method])
    panel.set_xticks(range(len(budgets)), [str(steps) for steps in budgets])
    panel.set_xlabel("gradient steps, after the last shot")
    panel.set_ylabel("return of the scored episode")
    panel.grid(alpha=0.25)


def _line(
    panel: Axes, x: range | list[int], score: Float[np.ndarray, "T P"], variant: Variant, look: Look
) -> None:
    """Draw means with 95% bands over tasks, for these very runs."""
    name = variant.method
    if variant.way:
        name += f", {variant.way.replace('_', ' by ')}"
    dash = {"linestyle": _DASHES[variant.way.partition("_")[0]]}
    band(panel, x, [estimate(column) for column in score.T], name, look | dash)
