"""Two pictures that a reader expects first: adaptation curves, and score against the level of shift.

A method keeps its colour, marker and dash in every figure (Okabe & Ito's palette, so that colour is never the only
carrier). Every panel states its n.
"""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import TYPE_CHECKING

from bridge.files import name_of, write_whole
from bridge.report import escape
from bridge.report.summary import Key, Results
from bridge.tasks import family as make_family

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C6D1F", "#5D3A9B")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_FLOOR = -2.0
"""Scores below this are cut off, and the panel says so."""
_LABEL = 40
"""Characters of a method that a legend has room for."""
_FIXED = {
    "random": {"color": "0.45", "linestyle": ":", "marker": "x"},
    "oracle": {"color": "0.15", "linestyle": (0, (1, 1)), "marker": None},
    "bayes": {"color": "black", "linestyle": "--", "marker": None},
    "bayes_train": {"color": "#D55E00", "linestyle": "--", "marker": None},
}
_ORDER = (
    "thompson",
    "ucb1",
    "gittins",
    "psrl",
    "greedy",
    "epsilon_greedy",
    "opsrl",
    "search",
    "beb",
    "ucrl2",
    "rl2",
    "maml",
    "pearl",
    "mtrl",
    "mtrl_finetune",
    "icl_rl",
    "icl_ad",
    "icl_dpt",
    "lora_reward_mt",
    "lora_demos_mt",
    "mt",
    "lora_maml",
)


def style(method: str) -> dict:
    """Colour, marker and dash of a method, the same in every figure."""
    if method in _FIXED:
        return dict(_FIXED[method])
    base = method.partition(":")[0]
    place = _ORDER.index(base) if base in _ORDER else sum(map(ord, base))
    dash = ("-", "-.", (0, (5, 1)))[place // len(_PALETTE) % 3]
    return {"color": _PALETTE[place % 8], "marker": _MARKERS[place % 8], "linestyle": dash}


def _label(method: str) -> str:
    """A method in a legend; a long one is cut, and ends with a digest that no other has."""
    if len(method) <= _LABEL:
        return escape.figure(method)
    return escape.figure(f"{method[:_LABEL]}… {hashlib.sha256(method.encode()).hexdigest()[:6]}")


def draw(results: Results, folder: Path) -> list[Path]:
    """Draw every figure of a results folder as PNG and SVG; returns the PNG paths."""
    made = []
    for family in results.families:
        for name, figure in _figures(results, family):
            made.append(save(figure, folder / f"{name_of(family)}-{name}"))
    return made


def save(figure: Figure, stem: Path) -> Path:
    """Write a figure as PNG and SVG, the same bytes each time; returns the path of the PNG."""
    import matplotlib

    matplotlib.rcParams["svg.hashsalt"] = "metabridge"
    png, svg = stem.with_name(f"{stem.name}.png"), stem.with_name(f"{stem.name}.svg")
    write_whole(png, lambda path: figure.savefig(path, dpi=130, format="png"))
    write_whole(svg, lambda path: figure.savefig(path, metadata={"Date": None}, format="svg"))
    return png


def _figures(results: Results, family: str):
    from matplotlib.figure import Figure

    axes = sorted({a["axis"] for k, a in results.about.items() if k.family == family and a["axis"]})
    if "id" in results.splits(family):
        figure = Figure(figsize=(7.2, 4.2), layout="constrained")
        curves(results, family, "id", figure.subplots())
        yield "curves", figure
    if axes:
        columns = min(3, len(axes))
        rows = math.ceil(len(axes) / columns)
        figure = Figure(figsize=(4.3 * columns, 3.4 * rows + 0.7), layout="constrained")
        panels = figure.subplots(rows, columns, squeeze=False).ravel()
        for panel, axis in zip(panels, axes, strict=False):
            shift_response(results, family, axis, panel)
        for panel in panels[len(axes) :]:
            panel.set_axis_off()
        handles, labels = panels[0].get_legend_handles_labels()
        figure.suptitle(escape.figure(f"{family}: score against the level of shift"))
        figure.legend(
            handles,
            labels,
            loc="outside lower center",
            ncols=min(7, len(labels)),
            fontsize=8,
            frameon=False,
        )
        yield "shift", figure


def curves(results: Results, family: str, split: str, panel: Axes) -> None:
    """Adaptation curves: the return of each episode, or the mean reward a pull so far where episodes have one step."""
    one_step = all(p[0] == p[1] for p in _points(results, family, split))
    metric = "trial_return" if one_step else "episode_return"
    n = 0
    for method in results.methods(family, split):
        key = Key(family, split, method)
        points = results.curve(key, metric)
        if not points:
            continue
        x = [episodes for episodes, _, _ in points]
        share = x if one_step else [1] * len(x)
        mean, low, high = (
            [getattr(i, part) / s for (_, _, i), s in zip(points, share, strict=True)]
            for part in ("mean", "low", "high")
        )
        panel.plot(x, mean, label=_label(method), lw=1.6, ms=4, **style(method))
        panel.fill_between(x, low, high, color=style(method)["color"], alpha=0.15, lw=0)
        sums = results.sums(key, metric)
        n = max(n, sums.trials if sums else 0)
    if one_step:
        panel.set_xscale("log")
        ticks = [p[0] for p in _points(results, family, split)]
        panel.set_xticks(ticks, [str(t) for t in ticks])
        panel.minorticks_off()
    panel.set_xlabel("pulls" if one_step else "episode of the trial")
    panel.set_ylabel("mean reward a pull so far" if one_step else "return of the episode")
    panel.set_title(
        escape.figure(f"{family} · {split} · n ≤ {n:,} trials a method, 95% bands"), fontsize=10
    )
    panel.grid(alpha=0.25)
    panel.legend(fontsize=8, frameon=False)


def shift_response(results: Results, family: str, axis: str, panel: Axes) -> None:
    """Score (0 random, 1 oracle) against the axis's own value, level 0 included."""
    levels = {0: ("id", None)}
    for key, about in results.about.items():
        if key.family == family and about["axis"] == axis:
            levels[about["level"]] = (key.split, about["value"])
    value = {level: v for level, (_, v) in levels.items() if v is not None}
    value[0] = make_family(family).axes[axis].values[0]
    order = sorted(levels, key=lambda level: value[level])
    ceiling = "oracle" if any(k.method == "oracle" for k in results.about) else "bayes"
    for method in results.methods(family):
        scored = [
            (level, results.score(Key(family, levels[level][0], method), ceiling))
            for level in order
        ]
        scored = [(level, s) for level, s in scored if s is not None]
        if not scored or method == ceiling == "oracle":
            continue
        place = [order.index(level) for level, _ in scored]
        mean, low, high = (
            [getattr(s, part) for _, s in scored] for part in ("mean", "low", "high")
        )
        panel.plot(place, mean, label=_label(method), lw=1.5, ms=4, **style(method))
        panel.fill_between(place, low, high, color=style(method)["color"], alpha=0.15, lw=0)
    panel.set_xticks(
        range(len(order)),
        [f"{value[level]:g}" + ("\n(trained)" if level == 0 else "") for level in order],
    )
    panel.axhline(1, color="0.8", lw=0.8, zorder=0)
    sums = results.sums(Key(family, levels[0][0], results.methods(family)[0]), "trial_return")
    panel.set_title(f"{axis} · n = {sums.trials:,} trials a level" if sums else axis, fontsize=9)
    panel.set_xlabel(make_family(family).axes[axis].unit, fontsize=8)
    panel.set_ylabel(f"score ({ceiling} = 1)", fontsize=8)
    if panel.get_ylim()[0] < _FLOOR:
        panel.set_ylim(bottom=_FLOOR)
        panel.annotate("axis cut", (0.01, 0.01), xycoords="axes fraction", fontsize=7, color="0.4")
    panel.grid(alpha=0.25)


def _points(results: Results, family: str, split: str) -> list[tuple[int, int]]:
    key = Key(family, split, results.methods(family, split)[0])
    return [(episodes, transitions) for episodes, transitions, _ in results.curve(key)]
