"""What the cells gave: returns by shots, pooled over the runs that differ by their seeds alone.

Shape letters: T blocks of tasks, P curve points.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from bridge import results
from bridge.stats import Interval, Resampled, interval
from experiments.few_shot.cells import Cell, Kind


class Curve(NamedTuple):
    """What a cell gave."""

    points: tuple[int, ...]
    """Shots."""
    score: Float[np.ndarray, "T P"]
    """Mean return of the scored episode on each block of tasks."""
    grad_steps: float
    seconds: float
    """Of a trial."""
    flops: float
    """Of a trial."""
    trained: float
    """Weights."""


def read(path: Path) -> Curve:
    """One file of ``play``."""
    table = results.read_file(path)
    names = ("task_id", "k_episodes", "episode_return_n", "episode_return_sum")
    task, episodes, n, total = (table[name].to_numpy() for name in names)
    points, point = np.unique(episodes, return_inverse=True)
    place, shape = task * len(points) + point, (task.max() + 1, len(points))
    sums = np.stack([np.bincount(place, weights, shape[0] * shape[1]).reshape(shape) for weights in (n, total)])
    seconds, flops, trained = (table[name][0].as_py() for name in ("test_seconds", "test_flops", "params_trained"))
    steps, trials = float(table["test_grad_steps"].to_numpy().max()), sums[0, :, 0].sum()
    return Curve(tuple(points.tolist()), sums[1] / sums[0], steps, seconds / trials, flops, trained if steps else 0)


def pooled(found: dict[Cell, Curve], split: str) -> dict[Kind, Curve]:
    """Every kind's mean over its runs, on one split."""
    kinds: dict[Kind, list[Curve]] = {}
    for cell, curve in found.items():
        if cell.split == split:
            kinds.setdefault(cell.kind, []).append(curve)
    return {
        kind: Curve(curves[0].points, *(np.mean(column, 0) for column in list(zip(*curves, strict=True))[1:]))
        for kind, curves in kinds.items()
    }


def estimate(score: Float[np.ndarray, " T"]) -> Interval:
    """A mean over blocks of tasks with its 95% interval, for these very runs."""
    return interval(Resampled.mean, score)
