"""What the cells gave: returns by shots, pooled over the runs that differ by their seeds alone.

Shape letters: T blocks of tasks, P curve points.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from bridge.evaluation import results
from bridge.evaluation.stats import Interval, Resampled, interval
from experiments.studies.few_shot.cells import Cell, Kind


class Curve(NamedTuple):
    """What a cell gave."""

    points: tuple[int, ...]
    """Shots."""
    score: Float[np.ndarray, "T P"]
    """Mean return of the scored episode on each block of tasks."""
    taken: Float[np.ndarray, " P"]
    """Gradient steps of a trial."""
    refused: Float[np.ndarray, " P"]
    """Those that were no number, or too long, and changed nothing."""
    seconds: Float[np.ndarray, " P"]
    """Of a trial: its shots, its gradient steps and its scored episode."""
    flops: Float[np.ndarray, " P"]
    """Likewise."""
    trained: float
    """Weights that gradient steps move."""


def read(path: Path) -> Curve:
    """One file of ``play``."""
    table = results.read_file(path)
    names = ("task_id", "k_episodes", "episode_return_n", "episode_return_sum")
    task, episodes, n, total = (table[name].to_numpy() for name in names)
    points, point = np.unique(episodes, return_inverse=True)
    place, shape = task * len(points) + point, (task.max() + 1, len(points))
    sums = np.stack(
        [np.bincount(place, weights, shape[0] * shape[1]).reshape(shape) for weights in (n, total)]
    )
    first = np.unique(point, return_index=True)[1]
    costs = [
        table[f"test_{name}"].to_numpy()[first]
        for name in ("grad_steps", "refused_steps", "seconds", "flops")
    ]
    trained = float(table["params_trained"][0].as_py()) if costs[0].any() or costs[1].any() else 0.0
    return Curve(tuple(points.tolist()), sums[1] / sums[0], *costs, trained)


def pooled(found: dict[Cell, Curve], split: str) -> dict[Kind, Curve]:
    """Every kind's mean over its runs, on one split."""
    kinds: dict[Kind, list[Curve]] = {}
    for cell, curve in found.items():
        if cell.split == split:
            kinds.setdefault(cell.kind, []).append(curve)
    return {
        kind: Curve(
            curves[0].points,
            *(np.mean(column, 0) for column in list(zip(*curves, strict=True))[1:]),
        )
        for kind, curves in kinds.items()
    }


def estimate(score: Float[np.ndarray, " T"]) -> Interval:
    """A mean over blocks of tasks with its 95% interval, for these very runs."""
    return interval(Resampled.mean, score)


def text(score: Float[np.ndarray, " T"]) -> str:
    """The mean, ± half of its interval."""
    found = estimate(score)
    return f"{found.mean:.3f} ±{(found.high - found.low) / 2:.3f}"
