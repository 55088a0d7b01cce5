"""Intervals over seeds and tasks: second implementations, the rule that chooses between them, invariances."""

import warnings
from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats

from bridge.errors import UserError
from bridge.evaluation import stats
from bridge.evaluation.stats import (
    Interval,
    Resampled,
    bootstrap,
    crossed_bootstrap,
    difference,
    estimate,
    interval,
    seed_interval,
)
from tests.bridge.studies import generator, seeded, study

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from rliable import metrics as rliable_metrics


def ends(found: Interval) -> np.ndarray:
    return np.array(found[:3])


# ---- second implementations ----


def worst_fifth(halves: np.ndarray) -> float:
    """CVaR from drawn tasks, one at a time."""
    tails = []
    for seed in halves:
        left, total = 0.2 * len(seed), 0.0
        for choose in np.unique(seed[:, 0]):
            scores = seed[seed[:, 0] == choose, 1]
            total += min(len(scores), left) * scores.mean()
            left -= min(len(scores), left)
        tails.append(total / (0.2 * len(seed)))
    return float(np.mean(tails))


@pytest.mark.parametrize(
    ("statistic", "plain", "shapes"),
    [
        (Resampled.mean, np.mean, [(4, 9)]),
        (Resampled.iqm, lambda x: scipy.stats.trim_mean(x, 0.25, axis=None), [(4, 9)]),
        (Resampled.cvar, worst_fifth, [(4, 9, 2)]),
        (Resampled.improvement, rliable_metrics.probability_of_improvement, [(4, 9), (3, 9)]),
        (
            Resampled.normalised,
            lambda x, low, high: (x.mean() - low.mean()) / (high.mean() - low.mean()),
            [(4, 9), (1, 9), (1, 9)],
        ),
        (difference(Resampled.mean), lambda x, y: x.mean() - y.mean(), [(4, 9), (3, 9)]),
    ],
)
def test_statistics_of_counts_are_those_of_the_tables_written_out(
    statistic: stats.Statistic, plain: Callable[..., float], shapes: list[tuple[int, ...]]
) -> None:
    rng = generator(1)
    tables = [rng.normal(size=shape).round(1) + 10 * k for k, shape in enumerate(shapes)]
    if statistic is Resampled.improvement:
        tables[1] -= 10
    drawn = [rng.multinomial(len(x), np.full(len(x), 1 / len(x)), size=20) for x in tables]
    tasks = rng.multinomial(9, np.full(9, 1 / 9), size=20)
    found = statistic(
        *(
            Resampled(x, n.astype(float), tasks.astype(float))
            for x, n in zip(tables, drawn, strict=True)
        )
    )
    for r in range(20):
        written = [
            x.repeat(n[r], axis=0).repeat(tasks[r], axis=1)
            for x, n in zip(tables, drawn, strict=True)
        ]
        assert found[r] == pytest.approx(plain(*written))


def test_few_seeds_get_the_t_interval_over_seed_means_and_welchs_for_differences() -> None:
    rng = generator(2)
    x, y = study(rng, 5, 7, 1.0, 3.0, 1.0), study(rng, 4, 7, 2.0, 0.0, 1.0)
    floor, ceiling = np.zeros(7), np.full(7, 3.0)
    assert interval(Resampled.mean, x) == pytest.approx(seed_interval(x.mean(axis=1)))
    scores = np.array([estimate(Resampled.normalised, seed, floor, ceiling) for seed in x])
    score = interval(Resampled.normalised, x, floor, ceiling)
    assert score == pytest.approx(seed_interval(scores))
    welch = scipy.stats.ttest_ind(
        x.mean(axis=1), y.mean(axis=1), equal_var=False
    ).confidence_interval(0.95)
    found = interval(difference(Resampled.mean), x, y)
    np.testing.assert_allclose(found[1:3], (welch.low, welch.high))
    assert found[3:] == (4, "t over seeds")


def test_bootstrap_of_the_mean_has_the_width_of_its_analysis_of_variance() -> None:
    """Every factor of the docstring's z in closed form, times the exact deviation of the pigeonhole bootstrap."""
    S, T = 12, 15
    x = study(generator(3), S, T, 0.3, 0.5, 1.5)
    seeds, tasks = x.mean(axis=1), x.mean(axis=0)
    cells = x - seeds[:, None] - tasks + x.mean()
    V = np.array([seeds.var(ddof=1) / S, tasks.var(ddof=1) / T])
    kept, cell = seeds.var() / S + tasks.var() / T, cells.var() / (S * T)
    df = V.sum() ** 2 / (V[0] ** 2 / (S - 1) + V[1] ** 2 / (T - 1))
    z = scipy.stats.t.ppf(0.975, df) * np.sqrt(V.sum() / kept * (1 - 2 * cell / (kept + cell)))
    found = crossed_bootstrap(Resampled.mean, x, reps=40_000)
    assert (found.high - found.low) / 2 == pytest.approx(z * np.sqrt(kept + cell), rel=0.02)
    assert found.mean == pytest.approx(x.mean())


# ---- the rule ----


@pytest.mark.parametrize(
    ("shapes", "n", "kind"),
    [
        ([(10, 6)], 10, "crossed bootstrap"),
        ([(9, 6)], 9, "t over seeds"),
        ([(12, 6), (10, 6)], 10, "crossed bootstrap"),
        ([(12, 6), (6,)], 12, "crossed bootstrap"),
        ([(6,), (1, 6)], 6, "bootstrap over tasks"),
        ([(12, 1)], 12, "t over seeds"),
        ([(12, 1), (1,)], 12, "t over seeds"),
        ([(1,), (1, 1)], 1, "none: one task"),
    ],
)
def test_the_rule_says_what_it_did(shapes: list[tuple[int, ...]], n: int, kind: str) -> None:
    rng = generator(4)
    statistic = Resampled.mean if len(shapes) == 1 else difference(Resampled.mean)
    assert interval(statistic, *(rng.normal(size=shape) for shape in shapes))[3:5] == (n, kind)


def test_tables_must_share_tasks_be_finite_and_have_several_tasks() -> None:
    x = np.zeros((12, 5))
    with pytest.raises(UserError, match=r"found shapes \[\(12, 5\), \(1, 4\)\]\. Use one split"):
        interval(difference(Resampled.mean), x, np.zeros(4))
    with pytest.raises(UserError, match="found 2 that are not"):
        interval(Resampled.mean, np.array([np.nan, 0.0, np.inf]))
    with pytest.raises(UserError, match="2 tasks or more, found 1"):
        crossed_bootstrap(Resampled.mean, x[:, :1])


def test_many_seeds_on_one_task_have_the_interval_over_seeds() -> None:
    """Ten seeds are enough to resample, a single task is not."""
    x = generator(11).normal(size=(12, 1))
    assert interval(Resampled.mean, x)[:3] == pytest.approx(seed_interval(x[:, 0])[:3])


def test_a_reference_on_one_task_is_its_mean_without_an_interval() -> None:
    found = interval(difference(Resampled.mean), np.array([3.0]), np.array([1.0]))
    assert (found.mean, found.n) == (2.0, 1)
    assert np.isnan([found.low, found.high]).all()


# ---- invariances ----


@seeded
def test_order_of_seeds_and_tasks_does_not_matter(rng: np.random.Generator) -> None:
    x, y, halves = (
        rng.normal(size=(5, 8)),
        rng.normal(size=(4, 8)),
        rng.normal(size=(5, 8, 2)).round(),
    )
    seeds, tasks = rng.permutation(5), rng.permutation(8)
    for statistic, tables in (
        (Resampled.mean, [x]),
        (Resampled.iqm, [x]),
        (Resampled.cvar, [halves]),
        (Resampled.improvement, [x, y]),
        (difference(Resampled.mean), [x, y]),
    ):
        shuffled = [tables[0][seeds][:, tasks], *(table[:, tasks] for table in tables[1:])]
        np.testing.assert_allclose(
            ends(interval(statistic, *shuffled)), ends(interval(statistic, *tables)), atol=1e-9
        )


@seeded
def test_intervals_follow_the_units(rng: np.random.Generator) -> None:
    x, scale, shift = rng.normal(size=(10, 6)), rng.uniform(0.1, 10), rng.normal()
    for statistic in (Resampled.mean, Resampled.iqm):
        one, other = (ends(interval(statistic, table, reps=50)) for table in (x, scale * x + shift))
        np.testing.assert_allclose(other, scale * one + shift, atol=1e-6)
    floor, ceiling = rng.normal(size=6), rng.normal(size=6) + 9
    one, other = (
        ends(
            interval(
                Resampled.normalised, *(a * table + b for table in (x, floor, ceiling)), reps=50
            )
        )
        for a, b in ((1.0, 0.0), (scale, shift))
    )
    np.testing.assert_allclose(other, one, atol=1e-6)


@seeded
def test_what_both_methods_share_on_a_task_cancels(rng: np.random.Generator) -> None:
    x, y, hardness = rng.normal(size=(10, 6)), rng.normal(size=(11, 6)), 100 * rng.normal(size=6)
    one, other = (
        ends(interval(difference(Resampled.mean), x + h, y + h, reps=50)) for h in (0.0, hardness)
    )
    np.testing.assert_allclose(other, one, atol=1e-6)


def test_references_share_the_resample_of_tasks() -> None:
    reference = generator(5).normal(size=20)
    found = interval(difference(Resampled.mean), reference + 2.0, reference)
    np.testing.assert_allclose(found[:3], 2.0)


def test_pairing_on_tasks_narrows_the_interval() -> None:
    rng = generator(6)
    hardness = 5 * rng.normal(size=40)
    x, y = (study(rng, 10, 40, 0.2, 0.2, 0.2) + hardness for _ in range(2))
    paired = interval(difference(Resampled.mean), x, y)
    alone = [interval(Resampled.mean, table) for table in (x, y)]
    assert paired.high - paired.low < min(found.high - found.low for found in alone) / 5


def test_equal_values_have_an_interval_without_width() -> None:
    for table in (np.full((10, 8), 0.5), np.full((3, 8), 0.5), np.full(8, 0.5)):
        np.testing.assert_allclose(interval(Resampled.mean, table)[:3], 0.5)


def test_the_seed_alone_decides_and_no_global_state_is_touched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x = generator(7).normal(size=(10, 8))
    before = repr(np.random.get_state())  # noqa: NPY002
    first = crossed_bootstrap(Resampled.mean, x, seed=1)
    assert crossed_bootstrap(Resampled.mean, x, seed=2) != first
    monkeypatch.setattr(bootstrap, "_BLOCK", 7)
    assert crossed_bootstrap(Resampled.mean, x, seed=1) == first
    assert repr(np.random.get_state()) == before  # noqa: NPY002
