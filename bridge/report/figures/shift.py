"""Shift responses: the score at each level of each shift axis, at its true place.

Below a level stands Δ, the score that the training prior alone costs (``Results.delta_prior``), if it is known: unlike
the levels' values it can be compared between axes.
"""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from bridge.report.figures.drawing import WIDTH, band, grid, legend, logarithmic, title
from bridge.report.figures.scene import Scene
from bridge.tasks import family as make_family
from bridge.tasks.base import CONTEXT_AXES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_FLOOR = -2.0
"""The lowest score that a panel shows; a note in the panel marks a cut axis."""
_LINE = 40
"""Characters of a line below a panel."""


def draw(scene: Scene) -> Figure | None:
    """A panel for each shift axis that was played; the panels of a row share their y-axis. None without scores."""
    from matplotlib.figure import Figure

    of_axis: dict[str, dict[float, str]] = {}
    for key, about in scene.results.about.items():
        if (key.family, key.track) == (scene.family, scene.track) and about["axis"]:
            of_axis.setdefault(about["axis"], {})[about["value"]] = key.split
    if not of_axis:
        return None
    rows, columns = grid(len(of_axis), 3)
    figure = Figure(figsize=(WIDTH, 1.9 * rows + 0.3), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharey="row")
    ceiling = scene.results.ceiling_of(scene.family)
    scored = [
        _response(scene, axis, of_axis[axis], panel, ceiling)
        for panel, axis in zip(panels.flat, sorted(of_axis), strict=False)
    ]
    if not any(scored):
        return None
    for panel in panels.flat[len(of_axis) :]:
        panel.set_axis_off()
    for first, *others in panels:
        first.set_ylabel(f"score ({ceiling} = 1)")
        if first.get_ylim()[0] < _FLOOR:
            first.set_ylim(bottom=_FLOOR)
            first.annotate("axis cut", (0.01, 0.02), xycoords="axes fraction", fontsize=6)
        for panel in others:
            panel.tick_params(left=False)
    legend(figure, scene.cast)
    played = {split for splits in of_axis.values() for split in splits.values()}
    n = scene.sizes(played | {"id"}, scene.cast)
    title(figure, f"{scene.name} · score by level of shift · {n}, 95% bands", cast=scene.cast)
    return figure


def _response(scene: Scene, axis: str, splits: dict[float, str], panel: Axes, ceiling: str) -> bool:
    """Draw the score (0 random, 1 the ceiling) at each level of an axis, whose splits are given by value.

    Returns False if no method has a score.
    """
    about = {**make_family(scene.family).axes, **CONTEXT_AXES}[axis]
    trained = about.values[0]
    if axis not in CONTEXT_AXES:
        splits = splits | {trained: "id"}
    for drawn in scene.cast:
        scores = {
            value: score
            for value in sorted(splits)
            if (score := scene.results.score(scene.key(splits[value], drawn), ceiling))
        }
        if scores and drawn.name != ceiling:
            band(panel, list(scores), list(scores.values()), drawn)
    if logarithmic(about.values):
        panel.set_xscale("log")
        panel.minorticks_off()
    ticks = sorted({trained, *splits})
    below = {trained: "\nlevel 0"} | {
        value: f"\nΔ {harm.mean:.2f}"
        for value, split in splits.items()
        if value != trained and (harm := scene.results.delta_prior(scene.family, split))
    }
    panel.set_xticks(ticks, [f"{value:g}{below.get(value, '')}" for value in ticks])
    panel.axvline(trained, color="0.6", lw=0.8, linestyle="--", zorder=0)
    panel.axhline(1, color="0.6", lw=0.8, zorder=0)
    panel.set_title(axis)
    panel.set_xlabel(textwrap.fill(about.unit, _LINE), labelpad=1)
    return bool(panel.get_legend_handles_labels()[0])
