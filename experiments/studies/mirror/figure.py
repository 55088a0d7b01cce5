"""The figure of the study: how alike the policies of every two methods are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from bridge.report import escape
from bridge.report.figures.drawing import WIDTH, save, style
from experiments.studies.mirror.numbers import Numbers

_ACROSS = 3
"""Most matrices side by side."""


def draw(by_split: Mapping[str, Numbers], folder: Path) -> Path:
    """Draw a matrix for each split; return the path of the PNG.

    On the diagonal are other seeds of the same method, the ceiling; references have none.
    """
    from matplotlib.figure import Figure

    names = next(iter(by_split.values())).methods
    across = min(_ACROSS, len(by_split))
    down = -(-len(by_split) // across)
    with style():
        size = (WIDTH, down * WIDTH / across + 1.2)
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
        for panel in panels.flat[len(by_split) :]:
            panel.set_axis_off()
        for (split, found), panel in zip(by_split.items(), panels.flat, strict=False):
            image = panel.imshow(_matrix(found, names), vmin=0, vmax=1, cmap="viridis")
            panel.grid(visible=False)
            panel.set_title(split)
        for panel in panels[-1]:
            panel.set_xticks(range(len(names)), map(escape.figure, names), rotation=90)
        for panel in panels[:, 0]:
            panel.set_yticks(range(len(names)), map(escape.figure, names))
        figure.colorbar(
            image, ax=panels.ravel().tolist(), shrink=0.6, label="similarity of policies"
        )
        return save(figure, folder / "mirror")


def _matrix(found: Numbers, names: tuple[str, ...]) -> np.ndarray:
    cells = [[found.of("policies", (one, other)) for other in names] for one in names]
    return np.array([[np.nan if cell is None else cell.mean for cell in row] for row in cells])
