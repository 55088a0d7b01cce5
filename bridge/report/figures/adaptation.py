"""Adaptation curves: what a method earns on ``id`` as it learns its task."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.report.figures.drawing import WIDTH, band, legend, title
from bridge.report.figures.scene import Scene

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SPLIT = "id"


def draw(scene: Scene) -> Figure | None:
    """The return of each episode; on tracks C and F, that of the episode that is scored after so many shots.

    On track O, if episodes have one step, it is the mean reward a pull so far.
    """
    from matplotlib.figure import Figure

    curves = {drawn: scene.results.curve(scene.key(_SPLIT, drawn)) for drawn in scene.cast}
    points = [point for curve in curves.values() for point in curve]
    if not points:
        return None
    figure = Figure(figsize=(WIDTH, 2.8), layout="constrained")
    panel = figure.subplots()
    pulls = scene.track == "O" and all(episodes == steps for episodes, steps, _ in points)
    for drawn, curve in curves.items():
        if pulls:
            curve = scene.results.curve(scene.key(_SPLIT, drawn), "trial_return")
        if curve:
            x, _, intervals = zip(*curve, strict=True)
            band(panel, x, intervals, drawn, unit=x if pulls else 1)
    if pulls or scene.track != "O":
        ticks = sorted({episodes for episodes, *_ in points})
        panel.set_xscale("symlog", base=2, linthresh=1, linscale=0.5)
        panel.set_xticks(ticks, [str(tick) for tick in ticks])
        panel.minorticks_off()
    else:
        panel.locator_params(axis="x", integer=True)
    if scene.track != "O":
        labels = "shots", "return of the scored episode"
    elif pulls:
        labels = "pulls", "mean reward a pull so far"
    else:
        labels = "episode of the trial", "return of the episode"
    panel.set_xlabel(labels[0])
    panel.set_ylabel(labels[1])
    legend(figure, scene.cast)
    n = scene.sizes([_SPLIT], scene.cast)
    title(figure, f"{scene.name} · adaptation on {_SPLIT} · {n}, 95% bands", cast=scene.cast)
    return figure
