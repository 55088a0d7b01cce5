"""Probabilities of improvement: the chance that a method earns more than another one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bridge.report.figures.drawing import WIDTH, Drawn, title
from bridge.report.figures.scene import Scene, span

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ABREAST = 7
"""The most methods whose two matrices stand beside one another."""


def draw(scene: Scene) -> Figure | None:
    """Matrices of learned methods, on ``id`` and on the shift that costs them most; None for a single method.

    A cell is the chance that a training seed of its row earns more than one of its column on a task, or on a block of
    tasks if each was played once. It is bold if its 95% interval does not hold 1/2. Best methods come first; columns
    have the numbers of the rows.
    """
    from matplotlib.figure import Figure

    earned = {
        drawn: mean.mean
        for drawn in scene.learned
        if (mean := scene.results.mean(key := scene.key("id", drawn), key.scored))
    }
    if len(earned) < 2:
        return None
    cast = sorted(earned, key=lambda drawn: -earned[drawn])
    splits = ["id", *_hardest(scene, cast)]
    shape = (len(splits), 1) if len(cast) > _ABREAST else (1, len(splits))
    figure = Figure(figsize=(WIDTH, 1.1 + 0.22 * len(cast) * shape[0]), layout="constrained")
    panels = figure.subplots(*shape, squeeze=False, sharex=True, sharey=True)
    for panel, split in zip(panels.flat, splits, strict=True):
        _matrix(scene, split, cast, panel)
    title(
        figure,
        f"{scene.name} · probability that the row earns more than the column (bold: 1/2 is outside its 95% interval)",
        f"{scene.sizes(splits, cast)}, compared on {_unit(scene, splits, cast)}",
        cast=cast,
    )
    return figure


def _matrix(scene: Scene, split: str, cast: Sequence[Drawn], panel: Axes) -> None:
    """Draw a cell for each pair of methods; the diagonal is empty."""
    values = np.full((len(cast), len(cast)), np.nan)
    for i, row in enumerate(cast):
        for j, column in enumerate(cast[:i]):
            chance = scene.results.improvement(scene.key(split, row), column.name)
            if chance is None:
                continue
            values[i, j], values[j, i] = chance.mean, 1 - chance.mean
            weight = "bold" if chance.low > 0.5 or chance.high < 0.5 else "normal"
            for x, y in ((j, i), (i, j)):
                text = f"{values[y, x]:.2f}".removeprefix("0")
                panel.text(x, y, text, ha="center", va="center", fontsize=6.5, weight=weight)
    panel.imshow(values, cmap="PuOr", vmin=-0.4, vmax=1.4, aspect="auto")  # pale enough to read
    numbers = [str(number) for number in range(1, len(cast) + 1)]
    panel.set_xticks(range(len(cast)), numbers)
    labels = [f"{drawn.label}  {number}" for drawn, number in zip(cast, numbers, strict=True)]
    panel.set_yticks(range(len(cast)), labels)
    panel.tick_params(length=0)
    panel.grid(visible=False)
    panel.set_title(split)


def _unit(scene: Scene, splits: Sequence[str], cast: Sequence[Drawn]) -> str:
    """What is compared: ``21 tasks``, or so many blocks of tasks."""
    keys = [scene.key(split, drawn) for split in splits for drawn in cast]
    tables = [sums.table for key in keys if (sums := scene.results.sums(key, key.scored))]
    unit = "tasks" if scene.results.about[keys[0]]["tasks"] else "blocks of tasks"
    return f"{span({table.shape[1] for table in tables})} {unit}"


def _hardest(scene: Scene, cast: Sequence[Drawn]) -> list[str]:
    """The shifted split on which methods score least on average; none if no split has scores of all."""
    means = {}
    for split in scene.results.splits(scene.family, scene.track):
        keys = [scene.key(split, drawn) for drawn in cast]
        scores = [scene.results.score(key) for key in keys]
        known = [score.mean for score in scores if score]
        if split.startswith("shift/") and len(known) == len(cast):
            means[split] = sum(known)
    return [min(means, key=means.__getitem__)] if means else []
