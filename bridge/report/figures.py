"""Two figures of every results folder: adaptation curves, and the score at each level of each shift axis.

A method keeps its colour, marker and dash in every figure. The colours are Okabe and Ito's, which colour-blind readers
can tell apart; markers and dashes separate the methods that share one. Every panel states its n.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bridge.evaluation.stats import Interval
from bridge.files import name_of, write_whole
from bridge.report import escape
from bridge.report.summary import Key, Results
from bridge.tasks import family as make_family

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Look = dict[str, Any]
"""Colour, marker and dash of a line, as matplotlib's keyword arguments."""

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_DASHES = ("-", "--", "-.", (0, (1, 1)), (0, (5, 1, 1, 1, 1, 1)))
_LOOKS: tuple[Look, ...] = tuple(
    {
        "color": _COLOURS[place % 6],
        "marker": _MARKERS[place % 7],
        "linestyle": _DASHES[place // 6 % 5],
    }
    for place in range(6 * 7 * 5)
)
"""All different; the first 42 differ in colour or marker already, whatever their dash."""
_BOUNDS: dict[str, Look] = {
    "random": {"color": "0.45", "linestyle": ":", "marker": "x"},
    "oracle": {"color": "0.15", "linestyle": (0, (1, 1)), "marker": None},
    "bayes": {"color": "black", "linestyle": "--", "marker": None},
    "bayes_train": {"color": "#8C6D1F", "linestyle": "--", "marker": None},
}
"""The references that scores are measured by."""
_FLOOR = -2.0
"""The lowest score that a panel shows; a note in the panel marks a cut axis."""
_LABEL = 40
"""The longest method name in a legend, in characters."""


def looks(registered: Iterable[str], drawn: Iterable[str] = ()) -> dict[str, Look]:
    """Colour, marker and dash of every method, by name; no two methods look alike.

    Args:
        registered: the names that the project knows. Each has its look by its place, whatever is drawn.
        drawn: the names in a figure. Those that are not registered get a free look, chosen by a digest of the name.
    """
    known = [name for name in dict.fromkeys(registered) if name not in _BOUNDS]
    found = _BOUNDS | dict(zip(known, _LOOKS, strict=False))
    spare = _LOOKS[len(known) :]
    free = list(range(len(spare)))
    for name in sorted(set(drawn) - found.keys()):
        first = int(hashlib.sha256(name.encode()).hexdigest(), 16) % len(spare)
        place = next((place for place in free if place >= first), free[0])
        found[name] = spare[place]
        free.remove(place)
        free = free or list(range(len(spare)))
    return found


def legend(figure: Figure) -> None:
    """Add one legend of all panels below them."""
    lines = {}
    for panel in figure.axes:
        handles, labels = panel.get_legend_handles_labels()
        lines |= dict(zip(labels, handles, strict=True))
    inches = 0.6 + 0.07 * max(map(len, lines), default=0)
    figure.legend(
        lines.values(),
        lines,
        loc="outside lower center",
        ncols=max(1, int(figure.get_figwidth() / inches)),
        fontsize=8,
        frameon=False,
        handlelength=4.2,
    )


def draw(results: Results, folder: Path, registered: Iterable[str] = ()) -> list[Path]:
    """Draw every figure of a results folder as PNG and SVG; returns the PNG paths.

    Args:
        results: the results to draw.
        folder: the folder to write into.
        registered: the methods that the project knows, in the order of ``looks``.
    """
    methods = (method for family in results.families for method in results.methods(family))
    look = looks(registered, methods)
    return [
        save(figure, folder / f"{name_of(family)}-{name}")
        for family in results.families
        for name, figure in _figures(results, family, look)
    ]


def save(figure: Figure, stem: Path) -> Path:
    """Write a figure as PNG and SVG, the same bytes each time; returns the path of the PNG."""
    import matplotlib

    matplotlib.rcParams["svg.hashsalt"] = "metabridge"
    png, svg = stem.with_name(f"{stem.name}.png"), stem.with_name(f"{stem.name}.svg")
    write_whole(png, lambda path: figure.savefig(path, dpi=130, format="png"))
    write_whole(svg, lambda path: figure.savefig(path, metadata={"Date": None}, format="svg"))
    return png


def _figures(results: Results, family: str, look: dict[str, Look]) -> Iterator[tuple[str, Figure]]:
    """The name and the figure of each kind for which the family has results."""
    from matplotlib.figure import Figure

    if "id" in results.splits(family):
        figure = Figure(figsize=(7.2, 4.8), layout="constrained")
        curves(results, family, "id", figure.subplots(), look)
        legend(figure)
        yield "curves", figure
    played = [a for k, a in results.about.items() if (k.family, k.track) == (family, "O")]
    axes = sorted({about["axis"] for about in played} - {""})
    if axes:
        columns = min(3, len(axes))
        rows = math.ceil(len(axes) / columns)
        figure = Figure(figsize=(4.3 * columns, 3.4 * rows + 0.9), layout="constrained")
        panels = figure.subplots(rows, columns, squeeze=False).ravel()
        for panel, axis in zip(panels, axes, strict=False):
            shift_response(results, family, axis, panel, look)
        for panel in panels[len(axes) :]:
            panel.set_axis_off()
        figure.suptitle(escape.figure(f"{family}: score by level of shift"))
        legend(figure)
        yield "shift", figure


def curves(results: Results, family: str, split: str, panel: Axes, look: dict[str, Look]) -> None:
    """Draw adaptation curves: the return of each episode.

    If episodes have one step, the curves are the mean reward a pull so far, over a logarithmic axis.
    """
    key = Key(family, split, results.methods(family, split)[0])
    ends = [(episodes, transitions) for episodes, transitions, _ in results.curve(key)]
    one_step = all(episodes == transitions for episodes, transitions in ends)
    metric = "trial_return" if one_step else "episode_return"
    n = 0
    for method in results.methods(family, split):
        key = Key(family, split, method)
        points = results.curve(key, metric)
        if not points:
            continue
        x, _, intervals = zip(*points, strict=True)
        band(panel, x, intervals, method, look[method], unit=x if one_step else 1)
        sums = results.sums(key, metric)
        n = max(n, sums.trials if sums else 0)
    if one_step:
        ticks = [episodes for episodes, _ in ends]
        panel.set_xscale("log")
        panel.set_xticks(ticks, [str(tick) for tick in ticks])
        panel.minorticks_off()
    else:
        panel.locator_params(axis="x", integer=True)
    panel.set_xlabel("pulls" if one_step else "episode of the trial")
    panel.set_ylabel("mean reward a pull so far" if one_step else "return of the episode")
    panel.set_title(
        escape.figure(f"{family} · {split} · n ≤ {n:,} trials a method, 95% bands"), fontsize=10
    )
    panel.grid(alpha=0.25)


def shift_response(
    results: Results, family: str, axis: str, panel: Axes, look: dict[str, Look]
) -> None:
    """Draw the score (0 random, 1 the ceiling) at each level of a shift axis, ordered by value; level 0 is marked."""
    splits, values = {0: "id"}, {0: make_family(family).axes[axis].values[0]}
    for key, about in results.about.items():
        if (key.family, key.track) == (family, "O") and about["axis"] == axis:
            splits[about["level"]], values[about["level"]] = key.split, about["value"]
    levels = sorted(splits, key=lambda level: values[level])
    ceiling = "oracle" if any(k.method == "oracle" for k in results.about) else "bayes"
    for method in results.methods(family):
        if method == ceiling == "oracle":
            continue
        scores = [results.score(Key(family, splits[level], method), ceiling) for level in levels]
        scored = {place: score for place, score in enumerate(scores) if score is not None}
        if scored:
            band(panel, list(scored), list(scored.values()), method, look[method])
    panel.set_xticks(
        range(len(levels)),
        [f"{values[level]:g}" + ("" if level else "\nlevel 0") for level in levels],
    )
    panel.axvline(levels.index(0), color="0.7", lw=0.8, linestyle="--", zorder=0)
    panel.axhline(1, color="0.8", lw=0.8, zorder=0)
    sums = results.sums(Key(family, splits[0], results.methods(family)[0]), "trial_return")
    panel.set_title(f"{axis} · n = {sums.trials:,} trials a level" if sums else axis, fontsize=9)
    panel.set_xlabel(make_family(family).axes[axis].unit, fontsize=8)
    panel.set_ylabel(f"score ({ceiling} = 1)", fontsize=8)
    if panel.get_ylim()[0] < _FLOOR:
        panel.set_ylim(bottom=_FLOOR)
        panel.annotate("axis cut", (0.01, 0.01), xycoords="axes fraction", fontsize=7, color="0.4")
    panel.grid(alpha=0.25)


def band(
    panel: Axes,
    x: Sequence[int],
    intervals: Sequence[Interval],
    name: str,
    look: Look,
    *,
    unit: int | Sequence[int] = 1,
) -> None:
    """Draw means over ``x`` with a band from the low to the high end, all divided by ``unit``."""
    ends = np.array([(interval.mean, interval.low, interval.high) for interval in intervals])
    mean, low, high = ends.T / unit
    panel.plot(x, mean, label=_label(name), lw=1.6, ms=4, **look)
    panel.fill_between(x, low, high, color=look["color"], alpha=0.15, lw=0)


def _label(name: str) -> str:
    """A name in a legend; the end of a long name is replaced by a digest, which no other name has."""
    if len(name) <= _LABEL:
        return escape.figure(name)
    return escape.figure(f"{name[:_LABEL]}… {hashlib.sha256(name.encode()).hexdigest()[:6]}")
