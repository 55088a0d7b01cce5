"""Similarity of the states that two agents are in after the same histories.

Shape letters: N histories, D and E features.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

States = Float[np.ndarray, "N D"]
"""A state after each history."""
COMPONENTS = 16
"""Principal components of a state that are simulated."""
_HALVES = (slice(0, None, 2), slice(1, None, 2)), (slice(1, None, 2), slice(0, None, 2))
_SHRINK = 1e-2
"""Ridge penalty, in units of the mean variance of the inputs' components."""


class Seen(NamedTuple):
    """States as both measures see them; computed once, and compared with many."""

    kernel: Float[np.ndarray, "N N"]
    """Inner products of the centred states, scaled to a mean square norm of 1, with a diagonal of 0."""
    components: Float[np.ndarray, "N d"]
    """The leading principal components, with their variances kept."""

    @classmethod
    def of(cls, x: States) -> Seen:
        """The states, centred.

        Raises:
            ValueError: fewer than 4 histories.
        """
        if len(x) < 4:
            raise ValueError(f"States are compared on 4 histories or more, found {len(x)}.")
        x = np.asarray(x, dtype=np.float64)
        left, size, _ = np.linalg.svd(x - x.mean(0), full_matrices=False)
        whole = left * size
        kernel = whole @ whole.T
        kernel = kernel / max(np.trace(kernel) / len(x), np.finfo(float).tiny)
        np.fill_diagonal(kernel, 0.0)
        return cls(kernel, whole[:, :COMPONENTS])


def cka(x: Seen, y: Seen) -> float:
    """The debiased linear centred kernel alignment (Kornblith et al. 2019; Song et al. 2012 for the estimator).

    1 for states that are rotations or multiples of one another, 0 in expectation for unrelated ones, however many
    features they have; an estimate may be below 0. NaN if a state never changes.
    """
    own, other = _hsic(x.kernel, x.kernel), _hsic(y.kernel, y.kernel)
    if not min(own, other) > 0:
        return float("nan")
    return float(_hsic(x.kernel, y.kernel) / np.sqrt(own * other))


def _hsic(k: Float[np.ndarray, "N N"], m: Float[np.ndarray, "N N"]) -> float:
    """Song et al.'s (2012) estimator without bias, of Gram matrices with a diagonal of 0."""
    n = len(k)
    total = (k * m).sum() + k.sum() * m.sum() / ((n - 1) * (n - 2))
    return float((total - 2 * k.sum(0) @ m.sum(0) / (n - 2)) / (n * (n - 3)))


def simulated(x: Seen, y: Seen) -> float:
    """The share of the variance of ``y`` that a linear map of ``x`` predicts on held-out histories (R²).

    Both are reduced to ``COMPONENTS`` principal components. At most 1; below 0 if the map is worse than the mean. NaN
    if ``y`` never changes. (Mikulik et al. 2020, arXiv 2010.11223, section 4, with a linear map.)
    """
    predicted, goal = predicted_elsewhere(x.components, y.components), y.components
    variance = sum(np.square(goal[test] - goal[fit].mean(0)).sum() for fit, test in _HALVES)
    return float(1 - np.square(goal - predicted).sum() / variance) if variance > 0 else float("nan")


def predicted_elsewhere(x: States, y: Float[np.ndarray, "N E"]) -> Float[np.ndarray, "N E"]:
    """The prediction of ``y`` by a linear map of ``x`` that is fitted on the even histories and read on the odd ones,
    and the other way round."""
    predicted = np.empty_like(y, dtype=np.float64)
    for fit, test in _HALVES:
        predicted[test] = predicted_from(x[fit], y[fit], x[test])
    return predicted


def predicted_from(
    x: States, y: Float[np.ndarray, "N E"], new: Float[np.ndarray, "M D"]
) -> Float[np.ndarray, "M E"]:
    """The prediction at ``new`` by a linear map of ``x`` that is fitted to ``y`` by ridge regression."""
    mean, level = x.mean(0), y.mean(0)
    inputs = np.asarray(x, dtype=np.float64) - mean
    second = inputs.T @ inputs
    penalty = _SHRINK * max(np.trace(second) / len(second), np.finfo(float).tiny)
    weights = np.linalg.solve(second + penalty * np.eye(len(second)), inputs.T @ (y - level))
    return (new - mean) @ weights + level
