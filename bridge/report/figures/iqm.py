"""Interquartile means over training seeds and tasks, with intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.evaluation.stats import Interval
from bridge.report.figures.drawing import WIDTH, Drawn, grid, legend, level, title
from bridge.report.figures.scene import Scene

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw(scene: Scene) -> Figure | None:
    """The IQM of the return of methods with two seeds or more, on ``id`` and on the last level of each axis.

    Methods are in the order of their IQM on the first of these. Lines are the IQM of references, over tasks.
    """
    from matplotlib.figure import Figure

    iqm = {
        split: {
            drawn: interval
            for drawn in scene.cast
            if (interval := scene.results.iqm(scene.key(split, drawn), 1 if drawn.reference else 2))
        }
        for split in _splits(scene)
    }
    first = next(iter(iqm.values()), {})
    learned = [drawn for drawn in first if not drawn.reference]
    if not learned:
        return None
    learned.sort(key=lambda drawn: first[drawn].mean)
    rows, columns = grid(len(iqm), 4)
    height = (0.5 + 0.16 * len(learned)) * rows + 0.3
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for panel, (split, intervals) in zip(panels.flat, iqm.items(), strict=False):
        for drawn, interval in intervals.items():
            if drawn.reference:
                level(panel.axvline, interval.mean, drawn)
            elif drawn in learned:
                _bar(panel, learned.index(drawn), interval, drawn)
        panel.set_title(split.removeprefix("shift/"))
    for panel in panels.flat[len(iqm) :]:
        panel.set_axis_off()
    for panel in panels[:, 1:].flat:
        panel.tick_params(left=False)
    panels[0, 0].set_ylim(-0.6, len(learned) - 0.4)
    panels[0, 0].set_yticks(range(len(learned)), [drawn.label for drawn in learned])
    legend(figure, scene.cast)
    n = scene.sizes(iqm, learned)
    text = f"{scene.name} · interquartile mean of the return · {n}, 95% intervals"
    title(figure, text, cast=learned)
    return figure


def _bar(panel: Axes, place: int, interval: Interval, drawn: Drawn) -> None:
    """Draw an interval as a bar in the method's colour, and the mean as a tick."""
    ends, colour = (interval.low, interval.high), drawn.look["color"]
    panel.plot(ends, (place, place), color=colour, lw=5, alpha=0.5, solid_capstyle="butt")
    panel.plot([interval.mean], [place], color="black", marker="|", ms=7, mew=1.2)


def _splits(scene: Scene) -> list[str]:
    """``id``, and the last level of each axis that was played."""
    played = scene.results.splits(scene.family, scene.track)
    last = {split.rpartition("/")[0]: split for split in played if split.startswith("shift/")}
    return [*(["id"] if "id" in played else []), *last.values()]
