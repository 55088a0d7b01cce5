"""Scores of methods on tasks, and intervals that resample training seeds and tasks together.

A table x[S, T] has a row for each training seed and a column for each task (or block of equally many tasks); an entry
is that seed's mean over its trials of that task, a return or a rate. Every seed meets the same tasks. A reference
(random, oracle, Bayes) has no training seeds: it is a vector over the same tasks, or a table of one row.

A *statistic* is a function of `Resampled` tables. Written once, it gives the estimate and all that surrounds it:

    interval(Resampled.mean, x)
    interval(Resampled.normalised, x, floor, ceiling)
    interval(Resampled.improvement, x, y)
    paired_difference(x, y, floor, ceiling, statistic=Resampled.normalised)

Shape letters: S training seeds, T tasks, R resamples.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import inf, nan, sqrt
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import ndtr, ndtri, stdtrit

from bridge.errors import UserError

Array = Float[np.ndarray, "..."]
Table = Float[np.ndarray, "S T"]
PerSeed = Float[np.ndarray, " S"]
PerTask = Float[np.ndarray, " T"]
PerResample = Float[np.ndarray, " R"]
Statistic = Callable[..., PerResample]

ENOUGH_SEEDS = 10
"""From this many training seeds on, `interval` resamples seeds and tasks; below, it is a t interval over seeds."""
FEW_SEEDS = 30
"""From this many training seeds on, skewed values do little harm to intervals of a mean."""
CVAR_TRIALS = 64
"""With fewer trials per task, the choice of the worst tasks is mostly noise."""
_BLOCK = 250
"""Resamples evaluated at a time: bounds memory and changes no result."""


class Interval(NamedTuple):
    """An estimate with its two-sided interval, in the units of the data; `level` in (0, 1) is the nominal coverage.

    `n` counts what `kind` says: "trials", "trials within tasks" and "wilson" count trials; "t over seeds" and "crossed
    bootstrap" the training seeds of the method that has fewest; "bootstrap over tasks" counts tasks. A kind that begins
    with "none" is a mean alone: nothing was repeated that could tell its spread, and both ends are NaN.
    """

    mean: float
    low: float
    high: float
    n: int
    kind: str
    level: float


# ---- intervals that need no resampling ----


def mean_interval(
    total: float, total_sq: float, n: int, *, shift: float = 0.0, level: float = 0.95
) -> Interval:
    """t interval (Student 1908) of the mean of `n` independent trials, from the sums of x - shift and (x - shift)^2.

    The spread is formed in exact rational arithmetic, so only the rounding of the sums themselves remains. `shift` by a
    guess of the mean where that is some 10^6 standard deviations from zero. Raises UserError for fewer than two trials,
    and for sums that no data can have.
    """
    if n < 2:
        raise UserError(f"The spread of trials needs 2 trials or more, found {n}. Run more trials.")
    spread = float(Fraction(total_sq) - Fraction(total) ** 2 / n)
    if spread < -1e-9 * abs(total_sq):
        raise UserError(
            f"total_sq must be at least total^2 / n = {total**2 / n:g}, found {total_sq:g}. "
            "Take both sums over the same n trials with the same shift, in float64."
        )
    return _t_interval(
        shift + total / n, max(spread, 0.0) / (n * (n - 1)), n - 1, n, "trials", level
    )


def stratified_interval(
    n: PerTask, total: PerTask, total_sq: PerTask, *, level: float = 0.95
) -> Interval:
    """Normal interval of a mean over tasks that each count alike, however many independent trials each of them has.

    From n, sum and sum of squares of each task's trials. It speaks for new trials on these tasks; those with fewer than
    two trials, which tell no spread, are left out. With no other task left, ends are NaN.
    """
    told = n > 1
    n, total, total_sq = n[told], total[told], total_sq[told]
    if not len(n):
        return Interval(nan, nan, nan, 0, "trials within tasks", level)
    mean = total / n
    middle = float(mean.mean())
    variances = np.maximum(total_sq / n - mean**2, 0.0) / (n - 1)  # each of a task's mean
    half = float(ndtri((1 + level) / 2)) * sqrt(variances.sum()) / len(n)
    return Interval(
        middle, middle - half, middle + half, int(n.sum()), "trials within tasks", level
    )


def wilson(successes: int, n: int, *, level: float = 0.95) -> Interval:
    """Score interval (Wilson 1927) of a success rate over `n` independent trials; it never leaves [0, 1].

    Raises UserError unless 0 <= successes <= n and n >= 1.
    """
    if n < 1 or not 0 <= successes <= n:
        raise UserError(
            f"A rate needs 0 <= successes <= n and n >= 1, found {successes} of {n}. Count again."
        )
    rate, z = successes / n, float(ndtri((1 + level) / 2))
    centre = (rate + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * sqrt(rate * (1 - rate) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    low, high = (
        min(centre - half, rate),
        max(centre + half, rate),
    )  # the rate is inside, whatever is rounded
    return Interval(rate, max(low, 0.0), min(high, 1.0), n, "wilson", level)


def seed_interval(values: PerSeed, *, level: float = 0.95) -> Interval:
    """t interval (Student 1908) over one value per training seed: where the mean of all seeds on *these* tasks lies.

    Raises UserError for a single seed.
    """
    n = len(values)
    if n < 2:
        raise UserError(
            f"The spread of training seeds needs 2 seeds or more, found {n}. Train more seeds, or give the interval "
            "over trials (mean_interval, wilson), which speaks for this one trained agent."
        )
    return _t_interval(values.mean(), values.var(ddof=1) / n, n - 1, n, "t over seeds", level)


def skewed(values: PerSeed) -> bool:
    """Whether fewer than 30 seeds have values so skewed that nominal intervals may cover much less than they say.

    The sample skewness |m3 / m2^1.5| then exceeds what 5% of normal samples of that size do, so that 5% of normal
    studies are called skewed. Two seeds never are: they tell no skewness. And False is no proof: of five seeds, one in
    five of which fails, a third have no failure among them (docs/statistics.md).
    """
    n, deviation = len(values), values - values.mean()
    spread = np.mean(deviation**2)
    rounding = 1e-9 * max(1.0, float(np.abs(values).max(initial=0.0)))
    if not 3 <= n < FEW_SEEDS or not spread > rounding**2:
        return False
    return bool(abs(np.mean(deviation**3)) / spread**1.5 > _usual_skewness(n))


@functools.cache
def _usual_skewness(n: int) -> float:
    """The 95% quantile of a normal sample's absolute skewness, by 50,000 samples."""
    x = np.random.Generator(np.random.PCG64(n)).normal(size=(50_000, n))
    x -= x.mean(1, keepdims=True)
    return float(np.quantile(np.abs(np.mean(x**3, 1)) / np.mean(x**2, 1) ** 1.5, 0.95))


def _t_interval(
    mean: float, variance: float, df: float | int, n: int, kind: str, level: float
) -> Interval:
    half = float(stdtrit(df, (1 + level) / 2)) * sqrt(variance)
    return Interval(float(mean), float(mean - half), float(mean + half), n, kind, level)


# ---- scores of one table ----


def normalised(x: Table, floor: PerTask, ceiling: PerTask) -> PerSeed:
    """Each seed's (mean x - mean floor) / (mean ceiling - mean floor), means over tasks; never clipped.

    A ratio of means over the split: the mean of per-task ratios is biased, and explodes where a task's ceiling barely
    beats its floor. Raises UserError when the mean ceiling is not above the mean floor.
    """
    return _ratio(x.mean(axis=1), floor.mean(), ceiling.mean())


def iqm(x: Table) -> float:
    """Interquartile mean: the mean of the middle half of all S T entries (Agarwal et al. 2021, section 4.3).

    Never for success rates: on single trials of success rate q it is clip((q - 0.25) / 0.5, 0, 1), which calls every
    method above 75% perfect. Cuts int(S T / 4) entries at either end, as scipy.stats.trim_mean does. Raises UserError
    when every entry is 0 or 1.
    """
    return _estimate(Resampled.iqm, _tables([x]))


def cvar(
    x_choose: PerTask, x_score: PerTask, alpha: float = 0.2, *, trials_per_task: int | None = None
) -> float:
    """Mean of the worst `alpha` of *tasks*, chosen on one half of the trials and scored on the other.

    So it is unbiased for the true mean of the tasks it chose; choosing and scoring on the same trials is biased low.
    For the truly worst tasks it is not: noise chooses wrong ones too, which moves it towards the mean of all tasks, by
    about var(noise of x_choose) / (2 var(x_choose)) of the way. Hence 64 trials at least.

    A fractional alpha T takes that fraction of the last task (Rockafellar & Uryasev 2002, proposition 8); tasks tied in
    x_choose enter in equal parts. Raises UserError for alpha outside (0, 1], and for known `trials_per_task` (both
    halves together) below 64.
    """
    halves = np.stack([x_choose, x_score], axis=-1)[None]
    return _estimate(
        lambda table: table.cvar(alpha, trials_per_task=trials_per_task), _tables([halves])
    )


def probability_of_improvement(x: Float[np.ndarray, "Sx T"], y: Float[np.ndarray, "Sy T"]) -> float:
    """Chance in [0, 1] that a seed of x beats a seed of y on a task, ties one half (Agarwal et al. 2021, section 4.3).

    The mean over tasks of Mann-Whitney's U / (Sx Sy). Its interval is `interval(Resampled.improvement, x, y)`.
    """
    return _estimate(Resampled.improvement, _tables([x, y]))


def performance_profile(x: Table, thresholds: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Fraction of the S T runs strictly above each threshold: "run scores" of Agarwal et al. 2021, section 4.2."""
    return np.array([np.mean(x > threshold) for threshold in thresholds])


def optimality_gap(x: Table, target: float = 1.0) -> float:
    """How far runs fall short of `target` on average; beyond it earns nothing (Agarwal et al. 2021, section 4.3)."""
    return float(target - np.minimum(x, target).mean())


def _ratio(value: Array, floor: Array | np.floating, ceiling: Array | np.floating) -> Array:
    gap = np.min(ceiling - floor)
    if not gap > 0:
        raise UserError(
            f"The mean ceiling must be above the mean floor, found a gap of {gap:g}. "
            "Use a split whose tasks separate the two references, or more of its tasks, or report plain means."
        )
    return (value - floor) / (ceiling - floor)


# ---- statistics ----


@dataclass(frozen=True)
class Resampled:
    """A table under R resamples, each told by how often it drew every seed and every task.

    Each method is a statistic: one value per resample, from matrix products. `cvar` alone takes a table of halves,
    values[S, T, 2] = (x_choose, x_score); the others refuse one.
    """

    values: Float[np.ndarray, "S T *halves"]
    seeds: Float[np.ndarray, "R S"]
    tasks: Float[np.ndarray, "R T"]

    def mean(self) -> PerResample:
        """Mean over seeds and tasks."""
        total = np.einsum("rt,rt->r", self.seeds @ self.values, self.tasks)
        return total / (self.seeds.sum(axis=1) * self.tasks.sum(axis=1))

    def normalised(self, floor: Resampled, ceiling: Resampled) -> PerResample:
        """Mean over seeds of `normalised`."""
        return _ratio(self.mean(), floor.mean(), ceiling.mean())

    def iqm(self) -> PerResample:
        """The function `iqm`."""
        if np.isin(self.values, (0, 1)).all():
            raise UserError(
                "The IQM hides failures of single trials, found only 0s and 1s. Report the mean instead."
            )
        order = np.argsort(self.values, axis=None)
        counts = np.einsum("rs,rt->rst", self.seeds, self.tasks).reshape(len(self.seeds), -1)[
            :, order
        ]
        total = counts.sum(axis=1, keepdims=True)
        cut = np.floor(total / 4)
        return _average(self.values.ravel()[order], _between(counts, cut, total - cut))

    def cvar(self, alpha: float = 0.2, *, trials_per_task: int | None = None) -> PerResample:
        """Mean over seeds of each seed's `cvar`."""
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
        """`probability_of_improvement` of this table over the other."""
        x, y = self.values[:, None], other.values[None]
        wins = (x > y) + 0.5 * (x == y)
        against = np.einsum("ri,ijt->rjt", self.seeds, wins, optimize=True)
        total = np.einsum("rjt,rj,rt->r", against, other.seeds, self.tasks)
        return total / (self.seeds.sum(axis=1) * other.seeds.sum(axis=1) * self.tasks.sum(axis=1))


def difference(statistic: Statistic) -> Statistic:
    """The statistic of x less that of y, for tables x, y, and whatever else `statistic` takes, shared by the two."""
    return lambda x, y, *shared: statistic(x, *shared) - statistic(y, *shared)


def _average(values: Array, weights: Array) -> Array:
    """Weighted mean over the last axis."""
    return (values * weights).sum(axis=-1) / weights.sum(axis=-1)


def _between(masses: Float[np.ndarray, "R n"], low: Array, high: Array) -> Float[np.ndarray, "R n"]:
    """How much of each mass lies between `low` and `high` when those of a row are laid end to end."""
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


# ---- intervals over seeds and tasks ----


def interval(
    statistic: Statistic, *arrays: Array, reps: int = 2000, seed: int = 0, level: float = 0.95
) -> Interval:
    """The project's rule: which interval a statistic of these tables gets, by the seeds of the method with fewest.

    * 10 or more: `crossed_bootstrap`, which speaks for new seeds on new tasks.
    * 2 to 9, or a single task: "t over seeds", by the jackknife over seeds: `seed_interval` for a mean or a normalised
      score, Welch's (1947) for their difference. Too few to resample; it speaks for new seeds on *these tasks only*.
    * none (references alone): `crossed_bootstrap`, which then resamples nothing but tasks. Of a single task there is
      the estimate alone, "none: one task".
    """
    tables = _tables(arrays)
    sizes = _sizes(tables)
    fewest, one_task = _fewest_seeds(sizes), sizes[-1] < 2
    if one_task and not fewest:
        return Interval(_estimate(statistic, tables), nan, nan, 1, "none: one task", level)
    if not one_task and not 0 < fewest < ENOUGH_SEEDS:
        return crossed_bootstrap(statistic, *arrays, reps=reps, seed=seed, level=level)
    variances = [*_marginal_variances(statistic, tables)[:-1], 0.0]
    df, _ = _satterthwaite(variances, sizes)
    return _t_interval(
        _estimate(statistic, tables), sum(variances), df, fewest, "t over seeds", level
    )


def paired_difference(
    x: Array, y: Array, *shared: Array, statistic: Statistic = Resampled.mean, **options: Any
) -> Interval:
    """`interval` of statistic(x) - statistic(y): paired on tasks, which are drawn once for both, not on seeds."""
    return interval(difference(statistic), x, y, *shared, **options)


def crossed_bootstrap(
    statistic: Statistic, *arrays: Array, reps: int = 2000, seed: int = 0, level: float = 0.95
) -> Interval:
    """Interval for new seeds on new tasks: the pigeonhole bootstrap (Owen 2007), its percentiles corrected.

    Tasks are drawn once for all tables, which pairs methods on tasks; seeds are drawn for each table by itself. The
    plain percentile interval errs twice. It is narrow by (n - 1) / n and knows no t: it covers 90% where 10 seeds hold
    the variance. And it counts the variance E of single cells (trials, seed x task) three times: it covers 99.8% where
    that is all there is. So the percentiles taken are those of the normal quantile

        z = t_df sqrt(V / V_kept) sqrt(1 - 2 E / V_bootstrap),

    Hesterberg's (2015) expanded percentiles with V the sum of the jackknife variances over seeds and over tasks, df its
    Satterthwaite (1946) degrees of freedom, V_kept = sum V_k (1 - 1 / n_k), and E the variance of the resamples'
    (joint - seeds alone - tasks alone + estimate), whose share is at most 1/3.

    In simulation (S 10 and 20, T 40 and 60, normal effects) nominal 95% covers 93 to 97% of means, normalised scores,
    IQMs, improvements and differences, whatever holds the variance. Limits: CVaR covers 90 to 94%, for its tail is 12
    of 60 tasks; strong skew costs 4%; below 10 seeds or tasks the outer percentiles run out of resamples.

    Raises UserError for tables that do not share their tasks, values that are not finite, and a single task.
    """
    tables = _tables(arrays)
    sizes = _sizes(tables)
    if sizes[-1] < 2:
        raise UserError("The spread of tasks needs 2 tasks or more, found 1. Keep results by task.")
    joint, cell_share = _bootstrap(
        statistic, tables, reps, np.random.Generator(np.random.PCG64(seed))
    )
    df, kept = _satterthwaite(_marginal_variances(statistic, tables), sizes)
    z = stdtrit(df, (1 + level) / 2) * sqrt((1 - 2 * cell_share) / kept)
    low, high = np.quantile(joint, ndtr([-z, z]), method="weibull")
    fewest = _fewest_seeds(sizes)
    n, kind = (fewest, "crossed bootstrap") if fewest else (sizes[-1], "bootstrap over tasks")
    return Interval(_estimate(statistic, tables), float(low), float(high), n, kind, level)


def _bootstrap(
    statistic: Statistic, tables: Sequence[Array], reps: int, rng: np.random.Generator
) -> tuple[PerResample, float]:
    """The statistic under joint resamples of seeds and tasks, and the share of its variance that single cells hold."""
    sizes = _sizes(tables)
    drawn, once = (
        [_draw(rng, size, reps) for size in sizes],
        [np.ones((reps, size)) for size in sizes],
    )
    joint = _evaluate(statistic, tables, drawn)
    seeds_alone = _evaluate(statistic, tables, [*drawn[:-1], once[-1]])
    tasks_alone = _evaluate(statistic, tables, [*once[:-1], drawn[-1]])
    share = np.var(joint - seeds_alone - tasks_alone) / max(np.var(joint), np.finfo(float).tiny)
    return joint, min(float(share), 1 / 3)


def _draw(rng: np.random.Generator, size: int, reps: int) -> Float[np.ndarray, "R n"]:
    """How often each of `size` clusters is drawn in `size` draws with replacement."""
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
    total = sum(variances)
    if total == 0:
        return inf, 1.0
    df = total**2 / sum(v**2 / (n - 1) for v, n in zip(variances, sizes, strict=True) if n > 1)
    return df, sum(v * (1 - 1 / n) for v, n in zip(variances, sizes, strict=True)) / total


def _evaluate(
    statistic: Statistic, tables: Sequence[Array], counts: Sequence[Array]
) -> PerResample:
    """The statistic under each resample, told by how often it drew the seeds of each table and, last, the tasks."""
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
    """What is resampled: the seeds of each table, then the tasks."""
    return [*(len(x) for x in tables), tables[0].shape[1]]


def _fewest_seeds(sizes: Sequence[int]) -> int:
    """Seeds of the method with fewest; a table of one row is a reference, and 0 says that all are."""
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
