"""Numbers with intervals, derived from the rows of a results folder.

Each table x[S, T] has a row for each training seed and a column for each task (or block of tasks); every method meets
the same tasks under the same noise, so differences are taken task by task.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from bridge.errors import UserError
from bridge.evaluation import stats
from bridge.evaluation.result_rows import Columns
from bridge.evaluation.stats import Interval, Resampled
from bridge.evaluation.sums import METRICS
from bridge.report import reading
from bridge.report.reading import Key, KeyRows
from bridge.tasks import family as make_family

REPS = 1000
"""Bootstrap resamples behind every interval of a report."""
_SPLIT_BY_OVERLAP = ("episode_return", "trial_return", "success")
"""Metrics that are also given for training tasks and for new tasks alone, if a split has both."""


@dataclass(frozen=True)
class Sums:
    """n, sum and sum of squares of one metric at one curve point, ``[3, S, T, P]`` (the last dimension: parts)."""

    parts: np.ndarray

    @functools.cached_property
    def table(self) -> np.ndarray:
        """Mean over a seed's trials on a task, ``[S, T]``; tasks of which some seed has none are left out."""
        n, total, _ = self.parts.sum(-1)
        counted = (n > 0).all(0)
        return total[:, counted] / n[:, counted]

    @functools.cached_property
    def replicates(self) -> np.ndarray:
        """The mean of each part over all tasks, ``[P]``, of one seed on a finite list of equal tasks."""
        n, total, _ = self.parts[:, 0]
        return (total / n).mean(0)

    @functools.cached_property
    def halves(self) -> np.ndarray | None:
        """The means of the even and the odd parts of a task's trials, ``[S, T, 2]``; None where one is empty."""
        n, total, _ = np.stack([self.parts[..., 0::2].sum(-1), self.parts[..., 1::2].sum(-1)], -1)
        return total / n if (n > 0).all() else None

    @property
    def trials(self) -> int:
        """Trials over all seeds and tasks."""
        return int(self.parts[0].sum())

    @property
    def trials_per_task(self) -> int:
        """The fewest trials that a seed played on a task."""
        return int(self.parts[0].sum(-1).min())

    @property
    def full(self) -> bool:
        """Whether there are several parts, all with trials of every task, so that parts are replicates of the split."""
        return self.parts.shape[-1] > 1 and bool((self.parts[0] > 0).all())

    def trial_interval(self) -> Interval:
        """The interval of the mean over independent trials; NaN ends for a single one."""
        n, total, square = self.parts.sum((1, 2, 3))
        if n < 2:
            return Interval(total, np.nan, np.nan, 1, "none: one trial", 0.95)
        return stats.mean_interval(total, square, int(n))

    def rate_interval(self) -> Interval:
        """Wilson's interval of a success rate."""
        n, total, _ = self.parts.sum((1, 2, 3))
        return stats.wilson(round(total), int(n))


Among = Literal["all", "train", "new"]
"""All tasks of a split, those that are training tasks, or those that are not."""


class Overlap(NamedTuple):
    """How far the tasks of a split are training tasks."""

    known: np.ndarray
    """Of each task, or block of tasks, the share of its trials that play a training task, ``[T]``."""
    share: float
    """The same of all trials, in [0, 1]."""
    single: bool
    """Whether each of the T is one task, so that shares are 0 or 1."""

    @property
    def partial(self) -> bool:
        """Whether some single tasks are training tasks and others are new, so that results can be split by it."""
        return self.single and 0 < self.share < 1

    def among(self, which: Among) -> np.ndarray | slice:
        """The tasks of that kind."""
        return slice(None) if which == "all" else self.known == (which == "train")


class Curve(NamedTuple):
    """The sums of a key at all of its curve points."""

    points: np.ndarray
    """Episodes and transitions behind each point, ``[P, 2]``; transitions are a mean over seeds."""
    sums: dict[str, list[Sums] | None]
    """By metric, one for each point; None if no trial has the metric."""
    steps: np.ndarray
    """Gradient steps of a trial by each point, refused and taken, ``[2, P, S]``; NaN if a seed has not got there."""
    known: np.ndarray
    """Trials of each task that play a training task, and all of its trials, ``[2, T]``; NaN if rows do not say so."""


@dataclass(frozen=True)
class Line:
    """One line of the side-by-side table."""

    key: Key
    metric: str
    interval: Interval
    seeds: int
    trials: int


class Results:
    """Results with what derives from them, read once: those of a folder, or rows at hand.

    Raises:
        UserError: there are none, a file of them is damaged, or they cannot be compared.
    """

    def __init__(self, source: Path | Iterable[Columns]) -> None:
        found = reading.read(source)
        self._lines: dict[Key, list[Line]] = {}
        self._curves: dict[Key, Curve] = {}
        self.about = {key: about for key, (about, _) in found.items()}
        """What is known of each (family, split, method, track)."""
        for key in self.about:
            self._curves[key] = _curve(key, found.pop(key)[1])

    @property
    def families(self) -> list[str]:
        """The families that were played."""
        return list(dict.fromkeys(key.family for key in self.about))

    def splits(self, family: str) -> list[str]:
        """The splits of a family that were played, ``id`` first."""
        found = dict.fromkeys(key.split for key in self.about if key.family == family)
        return sorted(found, key=lambda s: (s.startswith("shift"), s != "id", s))

    def methods(self, family: str, split: str | None = None) -> list[str]:
        """The methods that played a family (and a split)."""
        return list(
            dict.fromkeys(
                k.method for k in self.about if k.family == family and split in (None, k.split)
            )
        )

    def sums(self, key: Key, metric: str, point: int = -1, among: Among = "all") -> Sums | None:
        """The sums of one metric at a curve point (by default the last one); None if there are none."""
        every = self._curves[key].sums[metric] if key in self.about else None
        found = every[point] if every else None
        if found is not None and among != "all":
            overlap = self.overlap(key)
            found = Sums(found.parts[:, :, overlap.among(among)]) if overlap else None
        return found if found is not None and found.trials else None

    def overlap(self, key: Key) -> Overlap | None:
        """How far the tasks that ``key`` played are training tasks; None if these are a continuum, or if rows do not
        say so."""
        known, played = self._curves[key].known
        if np.isnan(known).any():
            return None
        return Overlap(
            known / played, float(known.sum() / played.sum()), bool(self.about[key]["tasks"])
        )

    # --- numbers -----------------------------------------------------------------------------------------------------

    def _replicated(self, key: Key, *several: Sums) -> bool:
        """Whether these are one seed each on a finite list of tasks, all parts full: parts then make the interval."""
        finite = make_family(key.family).support(key.split) is not None
        return finite and all(sums.full and len(sums.table) == 1 for sums in several)

    def mean(
        self, key: Key, metric: str = "trial_return", point: int = -1, among: Among = "all"
    ) -> Interval | None:
        """The mean of a metric: several seeds by the rule of ``stats.interval``; one seed by its trials.

        One seed whose trials share tasks drawn from a continuum is resampled over tasks.
        """
        sums = self.sums(key, metric, point, among)
        if sums is None or not sums.table.size:
            return None
        several = len(sums.table) > 1
        if several or (
            self.about[key]["tasks"] and make_family(key.family).support(key.split) is None
        ):
            return stats.interval(Resampled.mean, sums.table, reps=REPS)
        if metric == "success":
            return sums.rate_interval()
        if metric == "informed_return":
            found = stats.stratified_interval(*sums.parts.sum((1, 3)))
            return (
                found if found.n else sums.trial_interval()
            )  # no task has two such trials: all tasks count alike
        return (
            _over_parts(sums, sums.replicates)
            if self._replicated(key, sums)
            else sums.trial_interval()
        )

    def score(
        self, key: Key, ceiling: str = "oracle", metric: str = "trial_return", among: Among = "all"
    ) -> Interval | None:
        """The normalised score: 0 is random, 1 the ``ceiling``; a ratio of means over the split, paired by task."""
        x, floor, top = (
            self.sums(key._replace(method=m), metric, among=among)
            for m in (key.method, "random", ceiling)
        )
        if x is None or floor is None or top is None or not top.table.mean() > floor.table.mean():
            return None
        if self._replicated(key, x, floor, top):
            gap = (top.replicates - floor.replicates).mean()
            score = (x.replicates - floor.replicates).mean() / gap
            linear = (x.replicates - (1 - score) * floor.replicates - score * top.replicates) / gap
            return _over_parts(x, score + linear)
        return self._resampled(Resampled.normalised, x.table, floor.table[0], top.table[0])

    def difference(self, key: Key, other: str, metric: str = "trial_return") -> Interval | None:
        """The mean of this method less that of ``other``, paired by task and noise."""
        x, y = self.sums(key, metric), self.sums(key._replace(method=other), metric)
        if x is None or y is None or key.method == other:
            return None
        if self._replicated(key, x, y):
            return _over_parts(x, x.replicates - y.replicates)
        return self._resampled(stats.difference(Resampled.mean), x.table, y.table)

    def delta_prior(self, family: str, split: str) -> Interval | None:
        """What the training prior costs: the score of ``bayes`` less that of ``bayes_train``, where both are exact."""
        keys = [
            Key(family, split, method) for method in ("bayes", "bayes_train", "random", "oracle")
        ]
        own, train, floor, top = (self.sums(key, "trial_return") for key in keys)
        if own is None or train is None or floor is None or top is None:
            return None
        if (
            any(self.about[key]["exact"] != "exact" for key in keys[:2])
            or not top.table.mean() > floor.table.mean()
        ):
            return None
        if self._replicated(keys[0], own, train, floor, top):
            gap = (top.replicates - floor.replicates).mean()
            return _over_parts(own, (own.replicates - train.replicates) / gap)
        return self._resampled(
            stats.difference(Resampled.normalised),
            own.table,
            train.table,
            floor.table[0],
            top.table[0],
        )

    def _resampled(self, statistic: stats.Statistic, *tables: np.ndarray) -> Interval | None:
        """An interval; None if tables do not share their tasks, or if a resample has no value: a ceiling that is not
        above random, too few trials for a score, or an interquartile mean of failures and successes."""
        try:
            return stats.interval(statistic, *tables, reps=REPS)
        except UserError:
            return None

    def cvar(self, key: Key, metric: str = "trial_return") -> Interval | None:
        """The mean of the worst fifth of tasks, chosen on half of the trials and scored on the other half."""
        sums = self.sums(key, metric)
        if sums is None or sums.halves is None or not self.about[key]["tasks"]:
            return None  # a row is a block of many tasks
        if sums.table.shape[1] < 5 or sums.trials_per_task < stats.CVAR_TRIALS:
            return None
        return stats.interval(
            functools.partial(Resampled.cvar, trials_per_task=sums.trials_per_task),
            sums.halves,
            reps=REPS,
        )

    def iqm(self, key: Key) -> Interval | None:
        """The interquartile mean of the trial return over seeds and tasks, for learned methods; None where it has none:
        all are 0 or 1."""
        sums = self.sums(key, "trial_return")
        if sums is None or len(sums.table) < 2:
            return None
        return self._resampled(Resampled.iqm, sums.table)

    def skew(self, key: Key) -> Interval | None:
        """The skewness of the seeds' mean returns if few seeds are so skewed that intervals may cover less than they
        say (``stats.skewed``); None otherwise."""
        sums = self.sums(key, "trial_return") or self.sums(key, "episode_return")
        if sums is None or not sums.table.size:
            return None
        means = sums.table.mean(1)
        if not stats.skewed(means):
            return None
        skewness = np.mean((means - means.mean()) ** 3) / means.std() ** 3
        return Interval(
            float(skewness), np.nan, np.nan, len(means), "warning: few seeds, skewed", 0.95
        )

    def refused(self, key: Key) -> Interval | None:
        """The share of gradient steps at test that were refused, of all that were due; None where none was."""
        curve = self._curves[key]
        steps, played = np.nan_to_num(curve.steps), curve.sums["episode_return"]
        if played is None or not steps[0].any():
            return None
        refused, taken = steps * np.stack([sums.parts[0].sum((1, 2)) for sums in played])
        lost, due = float(refused.max(0).sum()), float((refused + taken).max(0).sum())
        return Interval(lost / due, np.nan, np.nan, round(due), "all steps", 0.95) if due else None

    def curve(self, key: Key, metric: str = "episode_return") -> list[tuple[int, int, Interval]]:
        """(episodes, transitions, interval) at every curve point."""
        means = [
            (*place, self.mean(key, metric, i))
            for i, place in enumerate(self._curves[key].points.tolist())
        ]
        return [(k, transitions, mean) for k, transitions, mean in means if mean is not None]

    def lines(self, family: str, split: str) -> Iterator[Line]:
        """Every number of the side-by-side table of one split."""
        for method in self.methods(family, split):
            yield from self.lines_of(Key(family, split, method))

    def lines_of(self, key: Key) -> list[Line]:
        """Every number of one method on one split; made once, for the table, the page and the CSV alike."""
        if key not in self._lines:
            self._lines[key] = self._numbers(key) if key in self.about else []
        return self._lines[key]

    def _numbers(self, key: Key) -> list[Line]:
        numbers = {metric: self.mean(key, metric) for metric in METRICS} | {
            "score_oracle": self.score(key, "oracle"),
            "score_bayes": self.score(key, "bayes"),
            "minus_bayes": self.difference(key, "bayes"),
            "cvar20": self.cvar(key),
            "iqm": self.iqm(key),
            "refused_steps": self.refused(key),
            "seed_skewness": self.skew(key),
        }
        overlap = self.overlap(key)
        if overlap and overlap.partial:
            for among in ("train", "new"):
                numbers |= {
                    f"{m}_{among}_tasks": self.mean(key, m, among=among) for m in _SPLIT_BY_OVERLAP
                }
                numbers |= {
                    f"score_{top}_{among}_tasks": self.score(key, top, among=among)
                    for top in ("oracle", "bayes")
                }
        sums = self.sums(key, "episode_return")
        trials = sums.trials if sums else 0
        seeds = int(self.about[key]["seeds"])
        return [
            Line(key, metric, interval, seeds, trials)
            for metric, interval in numbers.items()
            if interval
        ]


def _over_parts(sums: Sums, values: np.ndarray) -> Interval:
    """The mean of replicates of a split, with a t interval over them; n counts the trials behind them."""
    interval = stats.seed_interval(values)
    return interval._replace(n=sums.trials, kind=f"t over {len(values)} parts of the trials")


def _curve(key: Key, rows: KeyRows) -> Curve:
    """The curve of a key from all of its rows.

    Raises:
        UserError: a row stands twice.
    """
    (seeds, seed), (points, point), (tasks, task) = (
        np.unique(x, return_inverse=True) for x in rows.place[:3]
    )
    shape = (len(points), len(seeds), len(tasks), rows.place[3].max() + 1)
    where = np.ravel_multi_index((point, seed, task, rows.place[3]), shape)
    if np.bincount(where).max() > 1:
        raise UserError(
            f"Rows of {key.method} on {key.family}, {key.split} stand twice in rows/. Remove one of their files."
        )
    sums: dict[str, list[Sums] | None] = dict.fromkeys(METRICS)
    for metric, values in rows.sums.items():
        dense = np.zeros((3, *shape))
        dense.reshape(3, -1)[:, where] = values
        sums[metric] = [Sums(parts) for parts in np.moveaxis(dense, 1, 0)]
    costs = np.full((len(rows.costs), len(points), len(seeds)), np.nan)
    costs[
        :, np.searchsorted(points, rows.cost_place[1]), np.searchsorted(seeds, rows.cost_place[0])
    ] = rows.costs
    behind = np.rint(np.nanmean(costs[:2], 2)).astype(int).T
    if "episode_return" not in rows.sums:
        raise UserError(
            f"The rows of {key.method} on {key.family}, {key.split} count no trial. Compare again."
        )
    trials = rows.sums["episode_return"][0]
    known = np.stack(
        [np.bincount(task, weights) for weights in (rows.train_task_share * trials, trials)]
    )
    return Curve(behind, sums, costs[2:], known)
