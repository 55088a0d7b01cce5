"""Numbers with intervals, derived from result rows.

Each table x[S, T] has a row for each training seed and a column for each task (or block of tasks). Every method meets
the same tasks under the same noise, so differences are taken task by task.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bridge.errors import UserError
from bridge.evaluation import stats
from bridge.evaluation.result_rows import Columns
from bridge.evaluation.stats import Interval, Resampled
from bridge.evaluation.sums import METRICS
from bridge.report import learning, reading
from bridge.report.curves import Among, Curve, Overlap, Sums, curve
from bridge.report.reading import Key
from bridge.tasks import family as make_family

REPS = 1000
"""Bootstrap resamples behind every interval of a report."""
CEILINGS = ("oracle", "specialists", "bayes")
"""References whose score is 1, the first of those that were played."""
_SPLIT_BY_OVERLAP = ("episode_return", "trial_return", "success")
"""Metrics that are also reported for training tasks and for new tasks alone, if a split has both."""


@dataclass(frozen=True)
class Line:
    """One number of the side-by-side table."""

    key: Key
    metric: str
    interval: Interval
    seeds: int
    trials: int


class Results:
    """Results of a folder or of rows at hand, and the numbers that derive from them.

    Args:
        source: a results folder, or the columns of evaluations.

    Attributes:
        about: a description of each (family, split, method, track); see ``reading.read``.
        learning: the learning curves of each family, if the source is a folder that has some.

    Raises:
        UserError: there are no results, a file is damaged, or the rows were not played alike.
    """

    def __init__(self, source: Path | Iterable[Columns]) -> None:
        self._lines: dict[Key, list[Line]] = {}
        self._curves: dict[Key, Curve] = {}
        self.about: dict[Key, dict[str, Any]] = {}
        for key, about, numbers in reading.read(source):
            self.about[key] = about
            self._curves[key] = curve(key, numbers)
        self.learning = learning.read(source) if isinstance(source, Path) else {}

    @property
    def families(self) -> list[str]:
        """The families that were played."""
        return list(dict.fromkeys(key.family for key in self.about))

    @property
    def ceiling(self) -> str:
        """The reference whose score is 1; several, if families differ in it: ``oracle or specialists``."""
        return " or ".join(sorted(set(map(self.ceiling_of, self.families)), key=CEILINGS.index))

    def ceiling_of(self, family: str) -> str:
        """The reference whose score is 1 on a family: the oracle, or specialists if there is none; Bayes-optimal play
        if no family was played by an oracle."""
        played = {key.method for key in self.about if key.family == family}
        if "specialists" in played and "oracle" not in played:
            return "specialists"
        return "oracle" if any(key.method == "oracle" for key in self.about) else "bayes"

    @property
    def tables(self) -> list[tuple[str, str, str]]:
        """Family, split and track of each side-by-side table."""
        return [
            (family, split, track)
            for family in self.families
            for track in self.tracks(family)
            for split in self.splits(family, track)
        ]

    def tracks(self, family: str) -> list[str]:
        """The tracks on which a family was played, O first."""
        tracks = {key.track for key in self.about if key.family == family}
        return sorted(tracks, key="OCF".index)

    def splits(self, family: str, track: str = "O") -> list[str]:
        """The splits of a family that were played on a track, ``id`` first."""
        splits = {key.split for key in self.about if (key.family, key.track) == (family, track)}
        return sorted(splits, key=lambda split: (split.startswith("shift"), split != "id", split))

    def methods(self, family: str, split: str | None = None, track: str = "O") -> list[str]:
        """The methods that played a family (and a split) on a track."""
        keys = [
            key
            for key in self.about
            if (key.family, key.track) == (family, track) and split in (None, key.split)
        ]
        return list(dict.fromkeys(key.method for key in keys))

    def undertrained(self, family: str) -> set[str]:
        """The methods of a family that were still learning when their training ended; see ``learning.undertrained``.

        Empty if ``random`` was not played, since what a method has learned is then unknown.
        """
        floor = self.mean(Key(family, "id", "random"))
        if floor is None:
            return set()
        curves = self.learning.get(family, {})
        return {
            method
            for method in curves
            if learning.undertrained(list(curves[method].values()), floor.mean)
        }

    def sums(self, key: Key, metric: str, point: int = -1, among: Among = "all") -> Sums | None:
        """The sums of one metric at a curve point (by default the last one); None if there is no trial."""
        by_point = self._curves[key].sums[metric] if key in self.about else None
        if not by_point:
            return None
        sums = by_point[point]
        if among != "all":
            overlap = self.overlap(key)
            if overlap is None:
                return None
            sums = Sums(sums.parts[:, :, overlap.among(among)])
        return sums if sums.trials else None

    def overlap(self, key: Key) -> Overlap | None:
        """Shares of training tasks among the tasks of ``key``; None if training tasks are a continuum, or unknown."""
        known, played = self._curves[key].known
        if np.isnan(known).any():
            return None
        share = float(known.sum() / played.sum())
        return Overlap(known / played, share, bool(self.about[key]["tasks"]))

    # --- numbers -----------------------------------------------------------------------------------------------------

    def _replicated(self, key: Key, *several: Sums) -> bool:
        """True if these are one seed each on a finite list of tasks, with full parts: intervals are then over parts."""
        finite = make_family(key.family).support(key.split) is not None
        return finite and all(sums.full and len(sums.table) == 1 for sums in several)

    def mean(
        self, key: Key, metric: str = "trial_return", point: int = -1, among: Among = "all"
    ) -> Interval | None:
        """The mean of a metric with its interval.

        Several seeds have the interval of ``stats.interval``. One seed has an interval over its trials, or over tasks
        if its trials share tasks that are drawn from a continuum.
        """
        sums = self.sums(key, metric, point, among)
        if sums is None or not sums.table.size:
            return None
        drawn = make_family(key.family).support(key.split) is None
        if len(sums.table) > 1 or (self.about[key]["tasks"] and drawn):
            return stats.interval(Resampled.mean, sums.table, reps=REPS)
        if metric == "success":
            return sums.rate_interval()
        if metric == "informed_return":
            interval = stats.stratified_interval(*sums.parts.sum((1, 3)))
            if interval.n:  # some task has two such trials
                return interval
        elif self._replicated(key, sums):
            return _over_parts(sums, sums.replicates)
        return sums.trial_interval()

    def score(self, key: Key, ceiling: str = "", among: Among = "all") -> Interval | None:
        """The normalised return: 0 is random, 1 the ``ceiling`` (empty: that of the family); a ratio of means over the
        split, paired by task.

        None if a reference is missing, or if the ceiling is not above random.
        """
        found = self._several(key, key.method, "random", self._top(key, ceiling), among=among)
        if not found or not found[2].table.mean() > found[1].table.mean():
            return None
        x, floor, top = found
        if self._replicated(key, *found):
            gap = (top.replicates - floor.replicates).mean()
            score = (x.replicates - floor.replicates).mean() / gap
            # The ratio's first-order expansion: its mean over parts is the score.
            linear = (x.replicates - (1 - score) * floor.replicates - score * top.replicates) / gap
            return _over_parts(x, score + linear)
        return _resampled(Resampled.normalised, x.table, floor.table[0], top.table[0])

    def difference(self, key: Key, other: str) -> Interval | None:
        """The mean return of this method minus that of ``other``, paired by task and noise."""
        found = self._several(key, key.method, other)
        if not found or key.method == other:
            return None
        x, y = found
        if self._replicated(key, *found):
            return _over_parts(x, x.replicates - y.replicates)
        return _resampled(stats.difference(Resampled.mean), x.table, y.table)

    def score_difference(self, key: Key, other: str, ceiling: str = "") -> Interval | None:
        """The score of this method minus that of ``other``, paired by task and noise; None as for ``score``."""
        found = self._several(key, key.method, other, "random", self._top(key, ceiling))
        if not found or not found[3].table.mean() > found[2].table.mean():
            return None
        x, y, floor, top = found
        if self._replicated(key, *found):
            gap = (top.replicates - floor.replicates).mean()
            return _over_parts(x, (x.replicates - y.replicates) / gap)
        bounds = floor.table[0], top.table[0]
        return _resampled(stats.difference(Resampled.normalised), x.table, y.table, *bounds)

    def seed_scores(self, key: Key, ceiling: str = "") -> dict[int, float] | None:
        """The score of each training seed, by seed; None as for ``score``."""
        found = self._several(key, key.method, "random", self._top(key, ceiling))
        if not found or not found[2].table.mean() > found[1].table.mean():
            return None
        x, floor, top = (sums.table.mean(1) for sums in found)
        scores = (x - floor[0]) / (top[0] - floor[0])
        return dict(zip(self._curves[key].seeds.tolist(), scores.tolist(), strict=True))

    def gain(self, key: Key, ceiling: str = "") -> Interval | None:
        """The return of a trial's last episode less that of its first, in units of score: 1 is what ``ceiling`` earns
        more than random play in the last one.

        None if a reference is missing, or if the ceiling is not above random.
        """
        metric = "episode_return"
        names = "random", self._top(key, ceiling)
        floor, top = (self._pooled(key._replace(method=name), metric) for name in names)
        first, x = (self.sums(key, metric, point) for point in (0, -1))
        if x is None or first is None or floor is None or top is None:
            return None
        gap = top.table.mean() - floor.table.mean()
        if not gap > 0:
            return None
        return _resampled(Resampled.mean, (x.table - first.table) / gap)

    def _several(self, key: Key, *methods: str, among: Among = "all") -> list[Sums] | None:
        """The sums of the scored return of methods where ``key`` was played; None if one of them has none."""
        keys = [key._replace(method=method) for method in methods]
        found = [sums for k in keys if (sums := self._pooled(k, key.scored, among))]
        return found if len(found) == len(methods) else None

    def _pooled(self, key: Key, metric: str, among: Among = "all") -> Sums | None:
        """The sums of a metric at the last curve point; of specialists, which are a bound of scores, those of all
        training seeds as of one."""
        sums = self.sums(key, metric, among=among)
        if sums is None or key.method != "specialists":
            return sums
        return Sums(sums.parts.sum(1, keepdims=True))

    def _top(self, key: Key, ceiling: str) -> str:
        """The method whose score is 1."""
        return ceiling or self.ceiling_of(key.family)

    def delta_prior(
        self, family: str, split: str, track: str = "O", learner: str = "bayes_train"
    ) -> Interval | None:
        """The cost of the training prior: the score of ``bayes`` minus that of its exact learner; None unless both are
        exact. ``bayes_train`` has learned the distribution, ``bayes_tasks`` the training tasks alone."""
        keys = [Key(family, split, method, track) for method in ("bayes", learner)]
        if any(self.about.get(key, {"exact": ""})["exact"] != "exact" for key in keys):
            return None
        return self.score_difference(keys[0], learner)

    def improvement(self, key: Key, other: str) -> Interval | None:
        """The chance that a training seed of this method earns more than one of ``other`` on a task (or on a block of
        tasks, if each was played once)."""
        found = self._several(key, key.method, other)
        return _resampled(Resampled.improvement, *(x.table for x in found)) if found else None

    def cvar(self, key: Key) -> Interval | None:
        """The mean return of the worst fifth of tasks, chosen on half of the trials and scored on the other half.

        None if rows are of blocks of tasks, or if there are too few tasks or trials.
        """
        sums = self.sums(key, key.scored)
        if sums is None or sums.halves is None or not self.about[key]["tasks"]:
            return None
        if sums.table.shape[1] < 5 or sums.trials_per_task < stats.CVAR_TRIALS:
            return None
        statistic = functools.partial(Resampled.cvar, trials_per_task=sums.trials_per_task)
        return stats.interval(statistic, sums.halves, reps=REPS)

    def iqm(self, key: Key, least_seeds: int = 2) -> Interval | None:
        """The interquartile mean of the return over seeds and tasks; None if all are 0 or 1, or seeds are too few."""
        sums = self.sums(key, key.scored)
        if sums is None or len(sums.table) < least_seeds:
            return None
        return _resampled(Resampled.iqm, sums.table)

    def skew(self, key: Key) -> Interval | None:
        """The skewness of the seeds' mean returns if intervals may cover less than their level (``stats.skewed``); else
        None."""
        sums = self.sums(key, key.scored)
        if sums is None or not sums.table.size:
            return None
        means = sums.table.mean(1)
        if not stats.skewed(means):
            return None
        skewness = np.mean((means - means.mean()) ** 3) / means.std() ** 3
        return Interval(float(skewness), np.nan, np.nan, len(means), "warning: few seeds, skewed")

    def refused(self, key: Key) -> Interval | None:
        """The share of gradient steps at test that were refused, of all that were due; None if none was refused."""
        steps, by_point = self._curves[key].steps, self._curves[key].sums["episode_return"]
        steps = np.nan_to_num(steps)
        if by_point is None or not steps[0].any():
            return None
        refused, taken = steps * np.stack([sums.parts[0].sum((1, 2)) for sums in by_point])
        lost, due = float(refused.max(0).sum()), float((refused + taken).max(0).sum())
        return Interval(lost / due, np.nan, np.nan, round(due), "all steps") if due else None

    def episodes(self, key: Key) -> int:
        """The number of episodes before the last curve point."""
        return int(self._curves[key].points[-1, 0])

    def curve(self, key: Key, metric: str = "episode_return") -> list[tuple[int, int, Interval]]:
        """(episodes, transitions, interval) at every curve point; empty if the key was not played."""
        if key not in self.about:
            return []
        points = []
        for point, (episodes, transitions) in enumerate(self._curves[key].points.tolist()):
            mean = self.mean(key, metric, point)
            if mean is not None:
                points.append((episodes, transitions, mean))
        return points

    def lines(self, family: str, split: str, track: str = "O") -> Iterator[Line]:
        """All numbers of the side-by-side table of one split on a track."""
        for method in self.methods(family, split, track):
            yield from self.lines_of(Key(family, split, method, track))

    def number(self, key: Key, metric: str) -> Interval | None:
        """One of the numbers of ``lines_of``."""
        found = (line.interval for line in self.lines_of(key) if line.metric == metric)
        return next(found, None)

    def lines_of(self, key: Key) -> list[Line]:
        """All numbers of one method on one split, computed once."""
        if key not in self._lines:
            self._lines[key] = self._numbers(key) if key in self.about else []
        return self._lines[key]

    def _numbers(self, key: Key) -> list[Line]:
        numbers = {metric: self.mean(key, metric) for metric in METRICS} | {
            **{f"score_{top}": self.score(key, top) for top in CEILINGS},
            "minus_bayes": self.difference(key, "bayes"),
            "cvar20": self.cvar(key),
            "iqm": self.iqm(key),
            "refused_steps": self.refused(key),
            "seed_skewness": self.skew(key),
        }
        overlap = self.overlap(key)
        if overlap and overlap.partial:
            for among in ("train", "new"):
                for metric in _SPLIT_BY_OVERLAP:
                    numbers[f"{metric}_{among}_tasks"] = self.mean(key, metric, among=among)
                for top in CEILINGS:
                    numbers[f"score_{top}_{among}_tasks"] = self.score(key, top, among=among)
        sums = self.sums(key, "episode_return")
        trials = sums.trials if sums else 0
        seeds = int(self.about[key]["seeds"])
        by_task = bool(self.about[key]["tasks"])
        return [
            Line(key, metric, interval if by_task else _over_blocks(interval), seeds, trials)
            for metric, interval in numbers.items()
            if interval
        ]


def _resampled(statistic: stats.Statistic, *tables: np.ndarray) -> Interval | None:
    """The interval of a statistic; None if tables do not share their tasks, or if a resample has no value: its ceiling
    is not above random, or the interquartile mean is of failures and successes."""
    try:
        return stats.interval(statistic, *tables, reps=REPS)
    except UserError:
        return None


def _over_blocks(interval: Interval) -> Interval:
    """An interval of rows of blocks of tasks, whose ``n`` counts blocks."""
    kind = interval.kind.replace("bootstrap over tasks", "bootstrap over blocks of tasks")
    return interval._replace(kind=kind)


def _over_parts(sums: Sums, values: np.ndarray) -> Interval:
    """The mean of replicates of a split, with a t interval over them; n is the number of their trials."""
    interval = stats.seed_interval(values)
    return interval._replace(n=sums.trials, kind=f"t over {len(values)} parts of the trials")
