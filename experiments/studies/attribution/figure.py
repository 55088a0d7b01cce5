"""The figure of the study: a stacked bar for each method, and a panel for each split."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bridge.report import escape
from bridge.report.figures.drawing import WIDTH, save, style
from bridge.report.gaps import PARTS, Gap

_COLOURS = ("#999999", "#E69F00", "#56B4E9", "#0072B2", "#009E73", "#D55E00")


def draw(gaps: Mapping[str, Mapping[str, Gap]], folder: Path) -> Path:
    """Draw a panel for each split; return the path of the PNG.

    Parts below 0 are stacked to the left of 0; a black mark is the whole gap.
    """
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(name for found in gaps.values() for name in found))[::-1]
    with style():
        figure = Figure(figsize=(WIDTH, 0.22 * len(names) + 1.4), layout="constrained")
        panels = figure.subplots(1, len(gaps), sharey=True, squeeze=False)[0]
        for (split, found), panel in zip(gaps.items(), panels, strict=True):
            for y, name in enumerate(names):
                if name in found:
                    _bar(panel, y, found[name])
            panel.axvline(0, color="black", linewidth=0.6)
            panel.set_title(split)
            panel.set_xlabel("gap to the oracle (score)")
        panels[0].set_yticks(range(len(names)), map(escape.figure, names))
        for part, colour in zip(PARTS, _COLOURS, strict=True):
            panels[0].barh(0, 0, color=colour, label=part)
        figure.legend(loc="outside lower center", ncols=len(PARTS))
        return save(figure, folder / "attribution")


def _bar(panel, y: int, found: Gap) -> None:
    ends = {True: 0.0, False: 0.0}
    for part, colour in zip(PARTS, _COLOURS, strict=True):
        if part in found.parts:
            width = found.parts[part].mean
            panel.barh(y, width, left=ends[width > 0], color=colour, height=0.7)
            ends[width > 0] += width
    panel.plot([found.total.mean], [y], "|", color="black", markersize=8)
