"""Scores of methods on tasks, and intervals that resample training seeds and tasks together.

A table x[S, T] has a row for each training seed and a column for each task (or block of equally many tasks). An entry
is that seed's mean over its trials of that task, a return or a rate. Every seed meets the same tasks. A reference
(random, oracle, Bayes) has no training seeds: it is a vector over the same tasks, or a table of one row.

A *statistic* is a function of ``Resampled`` tables. Written once, it gives the estimate and its interval:

    estimate(Resampled.iqm, x)
    interval(Resampled.mean, x)
    interval(Resampled.normalised, x, floor, ceiling)
    interval(Resampled.improvement, x, y)
    interval(difference(Resampled.normalised), x, y, floor, ceiling)

Differences are paired on tasks, which are drawn once for all tables, and not on seeds.
"""

from bridge.evaluation.stats.bootstrap import crossed_bootstrap, estimate, interval
from bridge.evaluation.stats.intervals import (
    Interval,
    averaged,
    mean_interval,
    seed_interval,
    skewed,
    stratified_interval,
    wilson,
)
from bridge.evaluation.stats.resampled import CVAR_TRIALS, Resampled, Statistic, difference

__all__ = [
    "CVAR_TRIALS",
    "Interval",
    "Resampled",
    "Statistic",
    "averaged",
    "crossed_bootstrap",
    "difference",
    "estimate",
    "interval",
    "mean_interval",
    "seed_interval",
    "skewed",
    "stratified_interval",
    "wilson",
]
