"""Curves over shots from the rows of the study, averaged over the runs that differ by their seeds alone.

Shape letters: T blocks of tasks, P curve points.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from bridge.evaluation import results
from bridge.evaluation.stats import Interval, Resampled, interval
from bridge.protocol import Trial
from experiments.cells import Cell
from experiments.studies.few_shot.variants import Variant


class Curve(NamedTuple):
    """Return and costs of a variant by shots, averaged over its runs."""

    points: tuple[int, ...]
    """Shots."""
    score: Float[np.ndarray, "T P"]
    """Mean return on each block of tasks."""
    taken: Float[np.ndarray, " P"]
    """Gradient steps of a trial."""
    refused: Float[np.ndarray, " P"]
    """Gradient steps that were no number, or too long, and changed nothing."""
    seconds: Float[np.ndarray, " P"]
    """Seconds of a trial: its shots, its gradient steps and its scored episode."""
    flops: Float[np.ndarray, " P"]
    """Operations of the same; NaN if they were not counted."""
    trained: float
    """Weights that gradient steps move."""


Curves = dict[str, dict[Variant, Curve]]
"""By split and variant."""


def read(cells: Mapping[Cell, Variant], metric: str = "episode_return") -> Curves:
    """Return the curves of all variants from the rows of their cells, which have been played.

    Operations are those of the cell of equal variant and trial in which they were counted.
    """
    gathered: dict[str, dict[Variant, list[Curve]]] = {}
    counted: dict[tuple[Variant, Trial], np.ndarray] = {}
    for cell, variant in cells.items():
        for plan in cell.plans:
            curve = _of_file(cell.place(plan), metric)
            gathered.setdefault(plan.split, {}).setdefault(variant, []).append(curve)
            if not np.isnan(curve.flops).any():
                counted.setdefault((variant, cell.family.trial(plan.split)), curve.flops)
    family = next(iter(cells)).family
    return {
        split: {
            variant: _mean(curves, counted.get((variant, family.trial(split))))
            for variant, curves in variants.items()
        }
        for split, variants in gathered.items()
    }


def _mean(curves: list[Curve], flops: Float[np.ndarray, " P"] | None) -> Curve:
    """The mean over runs."""
    columns = dict(zip(Curve._fields, zip(*curves, strict=True), strict=True))
    means = {name: np.mean(column, 0) for name, column in columns.items() if name != "points"}
    if flops is not None:
        means["flops"] = flops
    return Curve(points=curves[0].points, **means)


def _of_file(path: Path, metric: str) -> Curve:
    table = results.read_file(path)
    names = ("task_id", "k_episodes", f"{metric}_n", f"{metric}_sum")
    task, episodes, n, total = (table[name].to_numpy() for name in names)
    points, point = np.unique(episodes, return_inverse=True)
    place, shape = task * len(points) + point, (task.max() + 1, len(points))
    sums = [
        np.bincount(place, weights, shape[0] * shape[1]).reshape(shape) for weights in (n, total)
    ]
    first = np.unique(point, return_index=True)[1]
    costs = [
        table[f"test_{name}"].to_numpy()[first]
        for name in ("grad_steps", "refused_steps", "seconds", "flops")
    ]
    moved = costs[0].any() or costs[1].any()
    trained = float(table["params_trained"][0].as_py()) if moved else 0.0
    return Curve(tuple(points.tolist()), sums[1] / sums[0], *costs, trained)


def estimate(score: Float[np.ndarray, " T"]) -> Interval:
    """Return a mean over blocks of tasks with its 95% interval, for these very runs."""
    return interval(Resampled.mean, score)


def text(score: Float[np.ndarray, " T"]) -> str:
    """Return the mean, ± half of its interval."""
    found = estimate(score)
    return f"{found.mean:.3f} ±{found.half:.3f}"
