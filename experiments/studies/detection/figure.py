"""The figure of the study: risk over coverage for each signal, a panel for each method."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from bridge.detection.signals import SIGNALS
from bridge.report import escape
from bridge.report.figures.drawing import WIDTH, save, style
from experiments.studies.detection.scores import Scored

_COLOURS = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#D55E00", "#CC79A7", "#0072B2", "#8C564B", "#999999",
)  # fmt: skip


def draw(found: Mapping[tuple[str, str], Scored], folder: Path) -> Path:
    """Draw a row of panels for each axis; return the path of the PNG.

    A line is the mean regret of the trials that are kept if those with the largest signals are left out, in units of
    score. The lower to the left, the better the signal.
    """
    from matplotlib.figure import Figure

    axes, methods = (list(dict.fromkeys(names)) for names in zip(*found, strict=True))
    with style():
        size = (WIDTH, 1.6 * len(axes) + 0.8)
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(len(axes), len(methods), sharex=True, sharey=True, squeeze=False)
        for row, axis in zip(panels, axes, strict=True):
            for panel, method in zip(row, methods, strict=True):
                for (name, _), colour in zip(SIGNALS.items(), _COLOURS, strict=True):
                    if name in found[axis, method].signals:
                        curve = found[axis, method].signals[name].curve
                        coverage = np.arange(1, len(curve) + 1) / len(curve)
                        panel.plot(coverage, curve, color=colour, linewidth=1)
            row[0].set_ylabel(f"{axis}\nregret")
        for panel, method in zip(panels[0], methods, strict=True):
            panel.set_title(escape.figure(method))
        for panel in panels[-1]:
            panel.set_xlabel("coverage")
        for name, colour in zip(SIGNALS, _COLOURS, strict=True):
            panels[0, 0].plot([], [], color=colour, label=name)
        figure.legend(loc="outside lower center", ncols=5)
        return save(figure, folder / "detection")
