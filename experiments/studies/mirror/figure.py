"""The figure of the study: how alike the policies and the likeliest actions of every two methods are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from bridge.report import escape
from bridge.report.figures.drawing import WIDTH, save, style
from experiments.studies.mirror.numbers import Numbers

_ACROSS = 3
"""Most matrices side by side."""
_MEASURES = ("policies", "actions")


def draw(by_split: Mapping[str, Numbers], folder: Path) -> Path:
    """Draw a matrix for each measure and split; return the path of the PNG.

    On the diagonal are other seeds of the same method, the ceiling; references have none.
    """
    from matplotlib.figure import Figure

    names = next(iter(by_split.values())).methods
    drawn = [(measure, split) for measure in _MEASURES for split in by_split]
    across = min(_ACROSS, len(by_split))
    down = -(-len(drawn) // across)
    with style():
        size = (WIDTH, down * WIDTH / across + 1.2)
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
        for panel in panels.flat[len(drawn) :]:
            panel.set_axis_off()
        for (measure, split), panel in zip(drawn, panels.flat, strict=False):
            values = _matrix(by_split[split], names, measure)
            image = panel.imshow(values, vmin=0, vmax=1, cmap="viridis")
            panel.grid(visible=False)
            panel.set_title(f"{measure}, {split}")
        for panel in panels[-1]:
            panel.set_xticks(range(len(names)), map(escape.figure, names), rotation=90)
        for panel in panels[:, 0]:
            panel.set_yticks(range(len(names)), map(escape.figure, names))
        figure.colorbar(
            image,
            ax=panels.ravel().tolist(),
            shrink=0.6,
            label="similarity (policies), kappa (actions)",
        )
        return save(figure, folder / "mirror")


def _matrix(found: Numbers, names: tuple[str, ...], measure: str) -> np.ndarray:
    cells = [[found.of(measure, (one, other)) for other in names] for one in names]
    return np.array([[np.nan if cell is None else cell.mean for cell in row] for row in cells])
