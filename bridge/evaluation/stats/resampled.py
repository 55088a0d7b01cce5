"""Statistics of a table of results, under resamples of its training seeds and tasks.

Shape letters: S training seeds, T tasks, R resamples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

import numpy as np
from jaxtyping import Float

from bridge.errors import UserError
from bridge.evaluation.stats.intervals import PerTask

Array = Float[np.ndarray, "..."]
PerResample = Float[np.ndarray, " R"]
Statistic = Callable[..., PerResample]
"""A function of ``Resampled`` tables."""

CVAR_TRIALS = 64
"""With fewer trials per task, the choice of the worst tasks is mostly noise."""


@dataclass(frozen=True)
class Resampled:
    """A table under R resamples. Each method is a statistic: one value per resample, from matrix products.

    `cvar` alone takes a table of halves, values[S, T, 2] = (x_choose, x_score); the others refuse one.

    Attributes:
        values: a seed's mean over its trials on a task.
        seeds: how often each resample drew each seed.
        tasks: how often each resample drew each task.
    """

    values: Float[np.ndarray, "S T *halves"]
    seeds: Float[np.ndarray, "R S"]
    tasks: Float[np.ndarray, "R T"]

    def mean(self) -> PerResample:
        """Mean over seeds and tasks."""
        total = np.einsum("rt,rt->r", self.seeds @ self.values, self.tasks)
        return total / (self.seeds.sum(axis=1) * self.tasks.sum(axis=1))

    def normalised(self, floor: Resampled, ceiling: Resampled) -> PerResample:
        """(mean x - mean floor) / (mean ceiling - mean floor), with means over seeds and tasks; never clipped.

        A ratio of means over the split: the mean of per-task ratios is biased, and explodes if a task's ceiling is
        barely above its floor.

        Raises:
            UserError: a mean ceiling is not above the mean floor.
        """
        low, high = floor.mean(), ceiling.mean()
        gap = np.min(high - low)
        if not gap > 0:
            raise UserError(
                f"The mean ceiling must be above the mean floor, found a gap of {gap:g}. "
                "Use a split whose tasks separate the two references, or more of its tasks, or report plain means."
            )
        return (self.mean() - low) / (high - low)

    def iqm(self) -> PerResample:
        """Interquartile mean: the mean of the middle half of all S T entries (Agarwal et al. 2021, section 4.3).

        Never for success rates: on single trials of success rate q it is clip((q - 0.25) / 0.5, 0, 1), which calls
        every method above 75% perfect. It cuts int(S T / 4) entries at either end, as scipy.stats.trim_mean does.

        Raises:
            UserError: every entry is 0 or 1.
        """
        if np.isin(self.values, (0, 1)).all():
            raise UserError(
                "The IQM hides failures of single trials, found only 0s and 1s. Report the mean instead."
            )
        order = np.argsort(self.values, axis=None)
        counts = np.einsum("rs,rt->rst", self.seeds, self.tasks)
        counts = counts.reshape(len(self.seeds), -1)[:, order]
        total = counts.sum(axis=1, keepdims=True)
        cut = np.floor(total / 4)
        return _average(self.values.ravel()[order], _between(counts, cut, total - cut))

    def cvar(self, alpha: float = 0.2, *, trials_per_task: int | None = None) -> PerResample:
        """Mean over seeds of each seed's mean on its worst `alpha` of *tasks*.

        Tasks are chosen on one half of the trials and scored on the other, so the score is unbiased for the tasks that
        were chosen; choosing and scoring on the same trials is biased low. For the truly worst tasks it is biased:
        noise chooses wrong ones too, which moves it towards the mean of all tasks, by about
        var(noise of x_choose) / (2 var(x_choose)) of the way. Hence 64 trials at least.

        A fractional alpha T takes that fraction of the last task (Rockafellar & Uryasev 2002, proposition 8). Tasks
        tied in x_choose enter in equal parts.

        Raises:
            UserError: alpha is not in (0, 1], or `trials_per_task` (both halves together) is known and below 64.
        """
        if not 0 < alpha <= 1:
            raise UserError(
                f"alpha is a fraction of tasks in (0, 1], found {alpha}. The worst fifth is 0.2."
            )
        if trials_per_task is not None and trials_per_task < CVAR_TRIALS:
            raise UserError(
                f"CVaR needs {CVAR_TRIALS} trials per task or more to tell bad tasks from bad luck, found "
                f"{trials_per_task}. Evaluate more trials of each task, or report the mean."
            )
        tails = [
            _tail_mean(choose, score, self.tasks, alpha)
            for choose, score in np.moveaxis(self.values, 2, 1)
        ]
        return _average(np.stack(tails, axis=1), self.seeds)

    def improvement(self, other: Resampled) -> PerResample:
        """Chance that a seed of this table beats a seed of the other on a task (Agarwal et al. 2021, section 4.3).

        In [0, 1]; ties count one half. The mean over tasks of Mann-Whitney's U / (S S_other).
        """
        x, y = self.values[:, None], other.values[None]
        wins = (x > y) + 0.5 * (x == y)
        against = np.einsum("ri,ijt->rjt", self.seeds, wins, optimize=True)
        total = np.einsum("rjt,rj,rt->r", against, other.seeds, self.tasks)
        return total / (self.seeds.sum(axis=1) * other.seeds.sum(axis=1) * self.tasks.sum(axis=1))


def difference(statistic: Statistic) -> Statistic:
    """The statistic of x minus that of y, for tables x and y, and further tables that both share."""
    return lambda x, y, *shared: statistic(x, *shared) - statistic(y, *shared)


def _average(values: Array, weights: Array) -> Array:
    """Weighted mean over the last axis."""
    return (values * weights).sum(axis=-1) / weights.sum(axis=-1)


def _between(masses: Float[np.ndarray, "R n"], low: Array, high: Array) -> Float[np.ndarray, "R n"]:
    """The part of each mass that lies between `low` and `high` if the masses of a row are laid end to end."""
    return np.diff(np.clip(masses.cumsum(axis=1), low, high), axis=1, prepend=low)


def _tail_mean(
    choose: PerTask, score: PerTask, tasks: Float[np.ndarray, "R T"], alpha: float
) -> PerResample:
    """Mean score of the `alpha` of drawn tasks that are lowest in `choose`; tied tasks enter in equal parts."""
    order = np.argsort(choose)
    ties = np.flatnonzero(np.diff(choose[order], prepend=-inf))
    masses, totals = (
        np.add.reduceat(drawn[:, order], ties, axis=1) for drawn in (tasks, tasks * score)
    )
    size = alpha * masses.sum(axis=1, keepdims=True)
    return _average(totals / np.maximum(masses, 1), _between(masses, 0 * size, size))
