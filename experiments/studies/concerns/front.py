"""The Pareto front of two opposite tasks: what static weights of their losses trade, and where mitigations land.

Xin et al. 2022 (arXiv 2209.11379) find no mitigation beyond the front that static weights draw.

Shape letters: S training seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from bridge.evaluation.stats import Interval
from bridge.report.figures.drawing import WIDTH, Drawn, legend, save, style
from experiments.cells import Cell
from experiments.studies.concerns import over_seeds
from experiments.studies.concerns.making import Maker, Score
from experiments.studies.markdown import number, table

FAMILY = "contextual_bandit:opposed=0.5,own=0,tasks=2"
STEPS = 8_000
WEIGHTS = ("1+9", "1+3", "1+1", "3+1", "9+1")
"""Weights of task 0 and of task 1."""
MITIGATIONS = ("grad_norm", "pcgrad", "upgrad", "mgda", "cagrad")


class Point(NamedTuple):
    """The scores of both tasks."""

    name: str
    score: tuple[Interval, Interval]


@dataclass(frozen=True)
class Front:
    """The measure."""

    make: Maker
    seeds: tuple[int, ...]
    rate: float
    """Learning rate of every training: nothing is tuned here."""

    def cells(self) -> dict[tuple[str, int], Cell]:
        """Return the trainings with each of the weights and mitigations, by seed."""
        settings = {weights: f"combine=static,weights={weights}" for weights in WEIGHTS}
        settings |= {name: f"combine={name}" for name in MITIGATIONS}
        return {
            (name, seed): self.make.trained(
                f"mtrl:hidden=64,lr={self.rate:g},{given}", FAMILY, f"front {name}", seed, STEPS
            )
            for name, given in settings.items()
            for seed in self.seeds
        }

    def show(self, score: Score, folder: Path) -> str:
        """Draw the scores of both tasks; return their table."""
        found = read({key: score(cell) for key, cell in self.cells().items()})
        draw(found, folder)
        return text(found)


def read(scores: Mapping[tuple[str, int], Float[np.ndarray, " 2"]]) -> tuple[Point, ...]:
    """Return the points from the scores of the cells by task."""
    by_name: dict[str, list[np.ndarray]] = {}
    for (name, _), score in scores.items():
        by_name.setdefault(name, []).append(score)
    return tuple(
        Point(name, (over_seeds.mean(found[:, [0]]), over_seeds.mean(found[:, [1]])))
        for name, found in ((name, np.stack(found)) for name, found in by_name.items())
    )


def text(points: Sequence[Point]) -> str:
    """Return the table of all points."""
    rows = [(point.name, *map(number, point.score)) for point in points]
    return (
        f"**What do weights trade?** Scores of two opposite tasks by their weights, and with mitigations, on {FAMILY}; "
        f"+ is better\n\n{table(('weights', 'task 0 (+)', 'task 1 (+)'), rows, texts=1)}"
    )


def draw(points: Sequence[Point], folder: Path) -> Path:
    """Draw the scores of both tasks, the static weights joined by a line; return the path of the PNG."""
    from matplotlib.figure import Figure

    looks = zip(
        ("static weights", *MITIGATIONS),
        ("0.35", "#E69F00", "#CC79A7", "#D55E00", "#009E73", "#0072B2"),
        ("o", "s", "^", "D", "v", "P"),
        strict=True,
    )
    cast = {name: Drawn(name, {"color": color, "marker": marker}) for name, color, marker in looks}
    with style():
        figure = Figure(figsize=(0.6 * WIDTH, 0.5 * WIDTH), layout="constrained")
        panel = figure.subplots()
        static = [point for point in points if point.name in WEIGHTS]
        _points(panel, static, cast["static weights"], linestyle="-")
        for point in points:
            if point.name in cast:
                _points(panel, [point], cast[point.name], linestyle="")
        panel.set_xlabel("score of task 0")
        panel.set_ylabel("score of task 1")
        legend(figure, cast.values())
        return save(figure, folder / "front")


def _points(panel, points: Sequence[Point], drawn: Drawn, *, linestyle: str) -> None:
    """Draw points with their intervals on both axes."""
    ends = np.array(
        [[(x.mean, x.mean - x.low, x.high - x.mean) for x in point.score] for point in points]
    )
    (x, *x_error), (y, *y_error) = ends.transpose(1, 2, 0)
    panel.errorbar(
        x,
        y,
        xerr=x_error,
        yerr=y_error,
        label=drawn.label,
        elinewidth=0.6,
        **(drawn.look | {"linestyle": linestyle, "ms": 4.5, "lw": 1.2}),
    )
