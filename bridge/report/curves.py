"""The sums of one method on one split, at all of its curve points.

Shape letters: S training seeds, T tasks (or blocks of tasks), P parts of a task's trials or curve points.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from bridge.errors import UserError
from bridge.evaluation import stats
from bridge.evaluation.stats import Interval
from bridge.evaluation.sums import METRICS
from bridge.report.reading import COSTS, SUMS, Key, Numbers


@dataclass(frozen=True)
class Sums:
    """n, sum and sum of squares of one metric at one curve point, ``[3, S, T, parts]``."""

    parts: np.ndarray

    @functools.cached_property
    def table(self) -> np.ndarray:
        """Mean over a seed's trials on a task, ``[S, T]``, without tasks that a seed has not played."""
        n, total, _ = self.parts.sum(-1)
        counted = (n > 0).all(0)
        return total[:, counted] / n[:, counted]

    @functools.cached_property
    def replicates(self) -> np.ndarray:
        """Mean of each part over all tasks, ``[parts]``, of one seed on a finite list of equal tasks."""
        n, total, _ = self.parts[:, 0]
        return (total / n).mean(0)

    @functools.cached_property
    def halves(self) -> np.ndarray | None:
        """Means of the even and of the odd parts of a task's trials, ``[S, T, 2]``; None if one of them is empty."""
        n, total, _ = np.stack([self.parts[..., 0::2].sum(-1), self.parts[..., 1::2].sum(-1)], -1)
        return total / n if (n > 0).all() else None

    @property
    def trials(self) -> int:
        """Number of trials of all seeds and tasks."""
        return int(self.parts[0].sum())

    @property
    def trials_per_task(self) -> int:
        """Smallest number of trials of a seed on a task."""
        return int(self.parts[0].sum(-1).min())

    @property
    def full(self) -> bool:
        """True if there are several parts, each with trials of every task: then parts are replicates of the split."""
        return self.parts.shape[-1] > 1 and bool((self.parts[0] > 0).all())

    def trial_interval(self) -> Interval:
        """The interval of the mean over independent trials; its ends are NaN for a single trial."""
        n, total, square = self.parts.sum((1, 2, 3))
        if n < 2:
            return Interval(total, np.nan, np.nan, 1, "none: one trial")
        return stats.mean_interval(total, square, int(n))

    def rate_interval(self) -> Interval:
        """Wilson's interval of the rate."""
        n, total, _ = self.parts.sum((1, 2, 3))
        return stats.wilson(round(total), int(n))


Among = Literal["all", "train", "new"]
"""All tasks of a split, those that are training tasks, or those that are not."""


class Overlap(NamedTuple):
    """Shares of training tasks among the tasks of a split."""

    known: np.ndarray
    """Share of the trials of each task, or block of tasks, that play a training task, ``[T]``."""
    share: float
    """The share among all trials, in [0, 1]."""
    single: bool
    """True if each of the T is one task, so that its share is 0 or 1."""

    @property
    def partial(self) -> bool:
        """True if some single tasks are training tasks and others are new, so that results can be split by it."""
        return self.single and 0 < self.share < 1

    def among(self, which: Among) -> np.ndarray | slice:
        """An index of the tasks of that kind."""
        return slice(None) if which == "all" else self.known == (which == "train")


class Curve(NamedTuple):
    """The sums of a key at all of its curve points."""

    points: np.ndarray
    """Episodes and transitions before each point, ``[P, 2]``; transitions are a mean over seeds."""
    sums: dict[str, list[Sums] | None]
    """Sums of each metric at each point; None if no trial has the metric."""
    steps: np.ndarray
    """Gradient steps of a trial by each point, refused and taken, ``[2, P, S]``; NaN if a seed lacks the point."""
    seeds: np.ndarray
    """The training seeds, ``[S]``."""
    known: np.ndarray
    """Numbers of each task's trials that play a training task, and of all its trials, ``[2, T]``; NaN if unknown."""


def curve(key: Key, rows: Numbers) -> Curve:
    """The curve of a key from all of its rows.

    Raises:
        UserError: a row appears twice, or the rows hold no trial.
    """
    (seeds, seed), (points, point), (tasks, task) = (
        np.unique(rows[name], return_inverse=True) for name in ("seed", "curve_point", "task_id")
    )
    shape = (len(points), len(seeds), len(tasks), rows["part"].max() + 1)
    where = np.ravel_multi_index((point, seed, task, rows["part"]), shape)
    if np.bincount(where).max() > 1:
        raise UserError(
            f"Rows of {key.method} on {key.family}, {key.split} appear twice in rows/. Remove one of their files."
        )
    sums: dict[str, list[Sums] | None] = dict.fromkeys(METRICS)
    for metric, names in SUMS.items():
        dense = np.zeros((3, *shape))
        dense.reshape(3, -1)[:, where] = [np.nan_to_num(rows[name]) for name in names]
        if dense[0].any():
            sums[metric] = [Sums(parts) for parts in np.moveaxis(dense, 1, 0)]
    costs = np.full((len(COSTS), len(points), len(seeds)), np.nan)
    costs[:, point, seed] = [np.nan_to_num(rows[name]) for name in COSTS]
    before = np.rint(np.nanmean(costs[:2], 2)).astype(int).T
    if sums["episode_return"] is None:
        raise UserError(
            f"The rows of {key.method} on {key.family}, {key.split} hold no trial. Compare again."
        )
    trials = np.nan_to_num(rows["episode_return_n"])
    known = [np.bincount(task, rows["train_task_share"] * trials), np.bincount(task, trials)]
    return Curve(before, sums, costs[2:], seeds, np.stack(known))
