"""Intervals that resample training seeds and tasks together.

Shape letters: S training seeds, T tasks, R resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, nan, sqrt

import numpy as np
from jaxtyping import Float
from scipy.special import ndtr, stdtrit

from bridge.errors import UserError
from bridge.evaluation.stats.intervals import UPPER, Interval, t_interval
from bridge.evaluation.stats.resampled import Array, PerResample, Resampled, Statistic

ENOUGH_SEEDS = 10
"""From this many training seeds on, ``interval`` resamples seeds and tasks; below, it is a t interval over seeds."""
_BLOCK = 250
"""Resamples evaluated at a time: bounds memory and changes no result."""


def estimate(statistic: Statistic, *arrays: Array) -> float:
    """The statistic of tables as they are."""
    return _estimate(statistic, _tables(arrays))


def interval(statistic: Statistic, *arrays: Array, reps: int = 2000, seed: int = 0) -> Interval:
    """The interval of a statistic of tables, by the number of training seeds of the method with fewest.

    * 10 or more: `crossed_bootstrap`, which holds for new seeds on new tasks.
    * 2 to 9, or a single task: "t over seeds", by the jackknife over seeds. It equals `seed_interval` for a mean or a
      normalised score, and Welch's (1947) interval for their difference. It holds for new seeds on *these tasks only*.
    * none (references alone): `crossed_bootstrap`, which then resamples tasks only. A single task has an estimate
      without an interval, "none: one task".
    """
    tables = _tables(arrays)
    sizes = _sizes(tables)
    fewest, one_task = _fewest_seeds(sizes), sizes[-1] < 2
    if one_task and not fewest:
        return Interval(_estimate(statistic, tables), nan, nan, 1, "none: one task")
    if not one_task and not 0 < fewest < ENOUGH_SEEDS:
        return crossed_bootstrap(statistic, *arrays, reps=reps, seed=seed)
    variances = [*_marginal_variances(statistic, tables)[:-1], 0.0]
    df, _ = _satterthwaite(variances, sizes)
    return t_interval(_estimate(statistic, tables), sum(variances), df, fewest, "t over seeds")


def crossed_bootstrap(
    statistic: Statistic, *arrays: Array, reps: int = 2000, seed: int = 0
) -> Interval:
    """Interval for new seeds on new tasks: the pigeonhole bootstrap (Owen 2007), its percentiles corrected.

    Tasks are drawn once for all tables, which pairs methods on tasks; seeds are drawn for each table by itself. The
    plain percentile interval errs twice. It is narrow by (n - 1) / n and knows no t: it covers 90% if 10 seeds hold the
    variance. And it counts the variance E of single cells (trials, seed x task) three times: it covers 99.8% if there
    is no other variance. So the percentiles taken are those of the normal quantile

        z = t_df sqrt(V / V_kept) sqrt(1 - 2 E / V_bootstrap),

    Hesterberg's (2015) expanded percentiles with V the sum of the jackknife variances over seeds and over tasks, df its
    Satterthwaite (1946) degrees of freedom, V_kept = sum V_k (1 - 1 / n_k), and E the variance of the resamples'
    (joint - seeds alone - tasks alone + estimate), whose share is at most 1/3.

    In simulation (S 10 and 20, T 40 and 60, normal effects) nominal 95% covers 93 to 97% of means, normalised scores,
    IQMs, improvements and differences, whatever holds the variance. Limits: CVaR covers 90 to 94%, for its tail is 12
    of 60 tasks; strong skew costs 4%; below 10 seeds or tasks the outer percentiles run out of resamples.

    Raises:
        UserError: tables do not share their tasks, values are not finite, or there is a single task.
    """
    tables = _tables(arrays)
    sizes = _sizes(tables)
    if sizes[-1] < 2:
        raise UserError("The spread of tasks needs 2 tasks or more, found 1. Keep results by task.")
    joint, cell_share = _bootstrap(
        statistic, tables, reps, np.random.Generator(np.random.PCG64(seed))
    )
    df, kept = _satterthwaite(_marginal_variances(statistic, tables), sizes)
    z = stdtrit(df, UPPER) * sqrt((1 - 2 * cell_share) / kept)
    low, high = np.quantile(joint, ndtr([-z, z]), method="weibull")
    fewest = _fewest_seeds(sizes)
    n, kind = (fewest, "crossed bootstrap") if fewest else (sizes[-1], "bootstrap over tasks")
    return Interval(_estimate(statistic, tables), float(low), float(high), n, kind)


def _bootstrap(
    statistic: Statistic, tables: Sequence[Array], reps: int, rng: np.random.Generator
) -> tuple[PerResample, float]:
    """The statistic under joint resamples of seeds and tasks, and the share of its variance that single cells hold."""
    sizes = _sizes(tables)
    drawn = [_draw(rng, size, reps) for size in sizes]
    once = [np.ones((reps, size)) for size in sizes]
    joint = _evaluate(statistic, tables, drawn)
    seeds_alone = _evaluate(statistic, tables, [*drawn[:-1], once[-1]])
    tasks_alone = _evaluate(statistic, tables, [*once[:-1], drawn[-1]])
    share = np.var(joint - seeds_alone - tasks_alone) / max(np.var(joint), np.finfo(float).tiny)
    return joint, min(float(share), 1 / 3)


def _draw(rng: np.random.Generator, size: int, reps: int) -> Float[np.ndarray, "R n"]:
    """The number of times that each of `size` clusters is drawn in `size` draws with replacement, R times."""
    draws = rng.integers(size, size=(reps, size)) + size * np.arange(reps)[:, None]
    return np.bincount(draws.ravel(), minlength=reps * size).reshape(reps, size).astype(float)


def _marginal_variances(statistic: Statistic, tables: Sequence[Array]) -> list[float]:
    """Jackknife variance (n - 1) / n sum_i (theta_(i) - mean)^2 over each table's seeds and, last, over tasks."""
    sizes = _sizes(tables)
    variances = []
    for axis, n in enumerate(sizes):
        counts = [np.ones((n, size)) for size in sizes]
        counts[axis] -= np.eye(n)
        variances.append(
            float((n - 1) * np.var(_evaluate(statistic, tables, counts))) if n > 1 else 0.0
        )
    return variances


def _satterthwaite(variances: Sequence[float], sizes: Sequence[int]) -> tuple[float, float]:
    """Degrees of freedom of a sum of variances (Satterthwaite 1946), and the share of it that resampling keeps."""
    total, pairs = sum(variances), list(zip(variances, sizes, strict=True))
    if total == 0:
        return inf, 1.0
    df = total**2 / sum(v**2 / (n - 1) for v, n in pairs if n > 1)
    return df, sum(v * (1 - 1 / n) for v, n in pairs) / total


def _evaluate(
    statistic: Statistic, tables: Sequence[Array], counts: Sequence[Array]
) -> PerResample:
    """The statistic under each resample. ``counts``: how often it drew the seeds of each table and, last, the tasks."""
    values = []
    for start in range(0, len(counts[-1]), _BLOCK):
        *seeds, tasks = (count[start : start + _BLOCK] for count in counts)
        values.append(
            statistic(*(Resampled(x, drawn, tasks) for x, drawn in zip(tables, seeds, strict=True)))
        )
    return np.concatenate(values)


def _estimate(statistic: Statistic, tables: Sequence[Array]) -> float:
    return float(_evaluate(statistic, tables, [np.ones((1, size)) for size in _sizes(tables)])[0])


def _sizes(tables: Sequence[Array]) -> list[int]:
    """Numbers of seeds of each table, then the number of tasks."""
    return [*(len(x) for x in tables), tables[0].shape[1]]


def _fewest_seeds(sizes: Sequence[int]) -> int:
    """Seeds of the method with fewest. A table of one row is a reference; 0 if all tables are."""
    return min((size for size in sizes[:-1] if size > 1), default=0)


def _tables(arrays: Sequence[Array]) -> list[Array]:
    """The arrays as tables: a vector over tasks becomes one row."""
    tables = [np.atleast_2d(array) for array in arrays]
    if len({x.shape[1] for x in tables}) != 1:
        raise UserError(
            f"All tables must share their tasks, found shapes {[x.shape for x in tables]}. Use one split."
        )
    bad = sum(int((~np.isfinite(x)).sum()) for x in tables)
    if bad:
        raise UserError(
            f"Values must be finite, found {bad} that are not. Find the failed runs before comparing."
        )
    return tables
