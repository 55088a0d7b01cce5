"""Intervals that need no resampling: over trials, and over one value for each training seed.

Shape letters: S training seeds, T tasks.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from fractions import Fraction
from math import hypot, nan, sqrt
from statistics import fmean
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import ndtri, stdtrit

from bridge.errors import UserError

PerSeed = Float[np.ndarray, " S"]
PerTask = Float[np.ndarray, " T"]

UPPER = (1 + 0.95) / 2
"""The upper end of all intervals, as a quantile: 95% lie between it and the lower one."""
FEW_SEEDS = 30
"""From this many training seeds on, skewed values do little harm to intervals of a mean."""


class Interval(NamedTuple):
    """An estimate with its two-sided interval of 95% nominal coverage, in the units of the data.

    `kind` decides what `n` counts. "trials", "trials within tasks" and "wilson": trials. "t over seeds" and "crossed
    bootstrap": training seeds of the method with fewest. "bootstrap over tasks": tasks, and "bootstrap over blocks of
    tasks": blocks. "mean of estimates": these estimates. A kind that begins with "none" is a mean without an interval:
    nothing was repeated, so the spread is unknown and both ends are NaN.
    """

    mean: float
    low: float
    high: float
    n: int
    kind: str

    @property
    def half(self) -> float:
        """Half of the interval's width."""
        return (self.high - self.low) / 2


def mean_interval(total: float, total_sq: float, n: int) -> Interval:
    """t interval (Student 1908) of the mean of `n` independent trials, from the sums of x and x^2.

    The spread is formed in exact rational arithmetic, so only the rounding of the sums themselves remains.

    Raises:
        UserError: there are fewer than two trials, or no data can have these sums.
    """
    if n < 2:
        raise UserError(f"The spread of trials needs 2 trials or more, found {n}. Run more trials.")
    spread = float(Fraction(total_sq) - Fraction(total) ** 2 / n)
    if spread < -1e-9 * abs(total_sq):
        raise UserError(
            f"total_sq must be at least total^2 / n = {total**2 / n:g}, found {total_sq:g}. "
            "Take both sums over the same n trials, in float64."
        )
    return t_interval(total / n, max(spread, 0.0) / (n * (n - 1)), n - 1, n, "trials")


def stratified_interval(n: PerTask, total: PerTask, total_sq: PerTask) -> Interval:
    """Normal interval of a mean over tasks that weigh the same, whatever their numbers of independent trials.

    It holds for new trials on these tasks. Tasks with fewer than two trials have no spread and are left out; if no task
    is left, mean and ends are NaN.

    Args:
        n: trials of each task.
        total: sum over each task's trials.
        total_sq: sum of squares over each task's trials.
    """
    repeated = n > 1
    n, total, total_sq = n[repeated], total[repeated], total_sq[repeated]
    if not len(n):
        return Interval(nan, nan, nan, 0, "trials within tasks")
    mean = total / n
    middle = float(mean.mean())
    variances = np.maximum(total_sq / n - mean**2, 0.0) / (n - 1)  # of each task's mean
    half = float(ndtri(UPPER)) * sqrt(variances.sum()) / len(n)
    return Interval(middle, middle - half, middle + half, int(n.sum()), "trials within tasks")


def wilson(successes: int, n: int) -> Interval:
    """Score interval (Wilson 1927) of a success rate over `n` independent trials; it never leaves [0, 1].

    Raises:
        UserError: unless 0 <= successes <= n and n >= 1.
    """
    if n < 1 or not 0 <= successes <= n:
        raise UserError(
            f"A rate needs 0 <= successes <= n and n >= 1, found {successes} of {n}. Count again."
        )
    rate, z = successes / n, float(ndtri(UPPER))
    centre = (rate + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * sqrt(rate * (1 - rate) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    low, high = min(centre - half, rate), max(centre + half, rate)  # despite rounding
    return Interval(rate, max(low, 0.0), min(high, 1.0), n, "wilson")


def seed_interval(values: PerSeed) -> Interval:
    """t interval (Student 1908) over one value per training seed, for the mean of all seeds on *these* tasks.

    Raises:
        UserError: there is a single seed.
    """
    n = len(values)
    if n < 2:
        raise UserError(
            f"The spread of training seeds needs 2 seeds or more, found {n}. Train more seeds, or give the interval "
            "over trials (mean_interval, wilson), which holds for this one trained agent."
        )
    return t_interval(values.mean(), values.var(ddof=1) / n, n - 1, n, "t over seeds")


def averaged(several: Sequence[Interval]) -> Interval:
    """The mean of independent estimates that weigh the same; halves of their intervals combine in quadrature.

    The interval is symmetric, and NaN if one of theirs is. ``n`` is the number of estimates.
    """
    n, mean = len(several), fmean(interval.mean for interval in several)
    half = hypot(*(interval.half for interval in several)) / n
    return Interval(mean, mean - half, mean + half, n, "mean of estimates")


def skewed(values: PerSeed) -> bool:
    """True if 3 to 29 seeds have values so skewed that intervals may cover much less than their nominal level.

    The sample skewness |m3 / m2^1.5| then exceeds the 95% quantile of normal samples of that size, so 5% of normal
    studies are called skewed. False is no proof: if each of five seeds fails with a chance of one in five, a third of
    the studies have no failure (docs/statistics.md).
    """
    n, deviation = len(values), values - values.mean()
    variance = np.mean(deviation**2)
    rounding = 1e-9 * max(1.0, float(np.abs(values).max(initial=0.0)))
    if not 3 <= n < FEW_SEEDS or not variance > rounding**2:
        return False
    return bool(abs(np.mean(deviation**3)) / variance**1.5 > _normal_skewness(n))


@functools.cache
def _normal_skewness(n: int) -> float:
    """The 95% quantile of the absolute skewness of normal samples of size n, from 50,000 samples."""
    x = np.random.Generator(np.random.PCG64(n)).normal(size=(50_000, n))
    x -= x.mean(1, keepdims=True)
    return float(np.quantile(np.abs(np.mean(x**3, 1)) / np.mean(x**2, 1) ** 1.5, 0.95))


def t_interval(mean: float, variance: float, df: float | int, n: int, kind: str) -> Interval:
    """Student's t interval of a mean with an estimated variance of ``df`` degrees of freedom."""
    half = float(stdtrit(df, UPPER)) * sqrt(variance)
    return Interval(float(mean), float(mean - half), float(mean + half), n, kind)
