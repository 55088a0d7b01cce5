"""The figure of the study: returns over shots, and over gradient steps."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from bridge.report import escape
from bridge.report.figures.drawing import WIDTH, Drawn, band, legend, save, style
from bridge.report.figures.looks import looks
from experiments import specs
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
Cast = dict[tuple[str, str], Drawn]
"""By method and way, the first two fields of a variant."""


def draw(curves: Curves, folder: Path) -> Path:
    """Draw a column of two panels for each split; return the path of the PNG, beside which lie an SVG and a PDF."""
    from matplotlib.figure import Figure

    cast = _cast({variant for variants in curves.values() for variant in variants})
    with style():
        figure = Figure(figsize=(max(WIDTH, 2.4 * len(curves)), 4.2), layout="constrained")
        panels = figure.subplots(2, len(curves), squeeze=False)
        for (split, variants), (above, below) in zip(curves.items(), panels.T, strict=True):
            _over_shots(variants, above, cast)
            _over_steps(variants, below, cast)
            above.set_title(escape.figure(split))
        legend(figure, cast.values())
        return save(figure, folder / "curves")


def _cast(variants: Iterable[Variant]) -> Cast:
    """The look of each method with each of the weights that gradient steps change."""
    names = sorted({(variant.method, variant.way) for variant in variants})
    look = looks(specs.names(), {method for method, _ in names})
    return {
        (method, way): Drawn(
            f"{method}, {way.replace('_', ' by ')}" if way else method,
            look[method] | {"linestyle": _DASHES[way.partition("_")[0]]},
        )
        for method, way in names
    }


def _over_shots(curves: dict[Variant, Curve], panel: Axes, cast: Cast) -> None:
    """Draw the return of the scored episode by shots.

    Methods that adapt by gradient steps alone are drawn with the most that they were given, all others without any.
    """
    points = next(iter(curves.values())).points
    most: dict[str, int] = {}
    for variant in curves:
        most[variant.method] = max(most.get(variant.method, 0), variant.steps)
    for variant, curve in curves.items():
        if variant.steps == (most[variant.method] if variant.alone else 0):
            _line(panel, range(len(points)), curve.score, cast[variant[:2]])
    panel.set_xticks(range(len(points)), [str(point) for point in points])
    panel.set_xlabel("shots")
    panel.set_ylabel("return of the scored episode")


def _over_steps(curves: dict[Variant, Curve], panel: Axes, cast: Cast) -> None:
    """Draw the return of the scored episode after the last shot, by gradient steps."""
    budgets = sorted({variant.steps for variant in curves})
    for tuned in dict.fromkeys(variant._replace(steps=1) for variant in curves if variant.steps):
        variants = [
            tuned._replace(way=tuned.way if steps else "", steps=steps) for steps in budgets
        ]
        there = [place for place, variant in enumerate(variants) if variant in curves]
        score = np.stack([curves[variants[place]].score[:, -1] for place in there], 1)
        _line(panel, there, score, cast[tuned[:2]])
    panel.set_xticks(range(len(budgets)), [str(steps) for steps in budgets])
    panel.set_xlabel("gradient steps, after the last shot")
    panel.set_ylabel("return of the scored episode")


def _line(panel: Axes, x: range | list[int], score: Float[np.ndarray, "T P"], drawn: Drawn) -> None:
    """Draw means with 95% bands over tasks, for these very runs."""
    band(panel, x, [estimate(column) for column in score.T], drawn)
