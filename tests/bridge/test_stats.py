"""The statistics: exact answers first, then second implementations, invariances and simulated coverage."""

import warnings
from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from bridge import stats
from bridge.errors import UserError
from bridge.stats import (
    Interval,
    Resampled,
    crossed_bootstrap,
    cvar,
    difference,
    interval,
    iqm,
    mean_interval,
    normalised,
    optimality_gap,
    paired_difference,
    performance_profile,
    probability_of_improvement,
    seed_interval,
    wilson,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from rliable import library as rliable_library
    from rliable import metrics as rliable_metrics


def generator(*seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def study(rng: np.random.Generator, S: int, T: int, seed: float, task: float, cell: float) -> np.ndarray:
    """A table of mean zero with normal effects of these standard deviations."""
    return seed * rng.normal(size=(S, 1)) + task * rng.normal(size=T) + cell * rng.normal(size=(S, T))


def ends(found: Interval) -> np.ndarray:
    return np.array(found[:3])


seeded = given(st.integers(0, 2**32 - 1).map(generator))


# ---- trials ----


@seeded
def test_mean_interval_is_the_t_interval_of_the_raw_trials(rng: np.random.Generator) -> None:
    x = rng.normal(rng.normal(), 2.0, size=rng.integers(2, 50))
    found = mean_interval(float(x.sum()), float((x**2).sum()), len(x))
    expected = scipy.stats.t.interval(0.95, len(x) - 1, loc=x.mean(), scale=scipy.stats.sem(x))
    np.testing.assert_allclose(found[:3], (x.mean(), *expected), rtol=1e-9, atol=1e-9)
    assert found[3:] == (len(x), "trials", 0.95)


def test_mean_interval_far_from_zero_is_saved_by_the_shift() -> None:
    x = 1e9 + generator(0).normal(size=1000)
    y = x - 1e9
    found = mean_interval(float(y.sum()), float((y**2).sum()), len(y), shift=1e9)
    np.testing.assert_allclose(found.high - found.low, 2 * 1.9623 * y.std(ddof=1) / np.sqrt(1000), rtol=1e-4)
    assert found.mean == pytest.approx(x.mean(), abs=1e-6)


def test_mean_interval_forms_the_spread_exactly() -> None:
    a = 6e7  # both sums are exact in float64, the square of the first is not
    found = mean_interval(2 * a + 1, a**2 + (a + 1) ** 2, 2)
    assert found.high - found.mean == pytest.approx(12.706204736432095 / 2, rel=1e-8)


@given(st.floats(1e-6, 1e6), st.integers(2, 1000))
def test_mean_interval_of_equal_trials_has_no_negative_variance(value: float, n: int) -> None:
    total, total_sq = float(np.full(n, value).sum()), float(np.full(n, value**2).sum())
    found = mean_interval(total, total_sq, n)
    assert found.low <= found.mean <= found.high
    assert found.high - found.low <= 1e-5 * abs(value)


def test_mean_interval_refuses_one_trial_and_impossible_sums() -> None:
    with pytest.raises(UserError, match=r"2 trials or more, found 1\. Run more"):
        mean_interval(1.0, 1.0, 1)
    with pytest.raises(UserError, match=r"at least total\^2 / n = 50, found 49"):
        mean_interval(10.0, 49.0, 2)


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (1, 1), (7, 10), (10, 10), (123, 1000)])
def test_wilson_is_scipys(successes: int, n: int) -> None:
    expected = scipy.stats.binomtest(successes, n).proportion_ci(0.9, method="wilson")
    found = wilson(successes, n, level=0.9)
    np.testing.assert_allclose(found[:3], (successes / n, expected.low, expected.high), atol=1e-12)


def test_wilson_at_no_successes_in_closed_form() -> None:
    z2 = 3.841458820694124
    assert wilson(0, 10)[1:3] == pytest.approx((0.0, z2 / (10 + z2)))


@pytest.mark.parametrize(("successes", "n"), [(-1, 10), (11, 10), (0, 0)])
def test_wilson_refuses_what_cannot_be_counted(successes: int, n: int) -> None:
    with pytest.raises(UserError, match=f"found {successes} of {n}"):
        wilson(successes, n)


def test_seed_interval_by_hand() -> None:
    half = 12.706204736432095  # t with one degree of freedom, times a standard error of 1
    assert seed_interval(np.array([1.0, 3.0])) == pytest.approx((2.0, 2 - half, 2 + half, 2, "t over seeds", 0.95))


def test_one_seed_is_sent_to_the_trials() -> None:
    with pytest.raises(UserError, match=r"found 1\..*mean_interval, wilson"):
        seed_interval(np.array([1.0]))


# ---- scores by hand ----


def test_normalised_is_a_ratio_of_means_and_is_not_clipped() -> None:
    floor, ceiling = np.array([0.0, 2.0]), np.array([2.0, 10.0])
    x = np.array([[1.0, 3.0], [6.0, 20.0], [0.0, 0.0]])
    np.testing.assert_allclose(normalised(x, floor, ceiling), [0.2, 2.4, -0.2])
    ratios = (x[0] - floor) / (ceiling - floor)
    assert ratios.mean() == pytest.approx(0.3125)  # what it must not be


@pytest.mark.parametrize("ceiling", [[1.0, 1.0], [1.0, 0.5]])
def test_normalised_refuses_a_ceiling_that_is_not_above_the_floor(ceiling: list[float]) -> None:
    x, floor, top = np.ones((12, 2)), np.ones(2), np.array(ceiling)
    with pytest.raises(UserError, match=r"gap of (0|-0\.25)\. Use a split"):
        normalised(x, floor, top)
    with pytest.raises(UserError, match="gap of"):
        interval(Resampled.normalised, x, floor, top)


def test_iqm_by_hand() -> None:
    assert iqm(np.array([[9.0, 1.0, 3.0, 5.0], [2.0, 4.0, 6.0, -50.0]])) == pytest.approx((2 + 3 + 4 + 5) / 4)


@pytest.mark.parametrize("rate", [0.1, 0.4, 0.5, 0.9])
def test_iqm_hides_failures_on_single_trials_and_refuses_them(rate: float) -> None:
    trials = (np.arange(1000) < 1000 * rate).astype(float)[None]
    assert scipy.stats.trim_mean(trials[0], 0.25) == pytest.approx(np.clip((rate - 0.25) / 0.5, 0, 1))
    with pytest.raises(UserError, match=r"only 0s and 1s\. Report the mean"):
        iqm(trials)
    with pytest.raises(UserError, match="only 0s and 1s"):
        interval(Resampled.iqm, trials)


@pytest.mark.parametrize(("alpha", "expected"), [(0.25, 10.0), (0.375, 40 / 3), (0.5, 15.0), (0.1, 10.0), (1.0, 25.0)])
def test_cvar_by_hand_with_fractions_of_a_task(alpha: float, expected: float) -> None:
    choose, score = np.array([3.0, 1.0, 2.0, 4.0]), np.array([30.0, 10.0, 20.0, 40.0])
    assert cvar(choose, score, alpha) == pytest.approx(expected)


def test_cvar_lets_tied_tasks_share_the_tail() -> None:
    choose, score = np.array([0.0, 1.0, 0.0, 1.0]), np.array([10.0, 0.0, 20.0, 0.0])
    assert cvar(choose, score, 0.25) == pytest.approx(15.0)
    assert cvar(choose, score, 0.75) == pytest.approx(10.0)


def test_cvar_refuses_few_trials_and_odd_fractions() -> None:
    x = np.arange(10.0)
    with pytest.raises(UserError, match=r"64 trials per task .* found 63\. Evaluate more"):
        cvar(x, x, trials_per_task=63)
    assert cvar(x, x, trials_per_task=64) == 0.5
    for alpha in (0.0, 1.1):
        with pytest.raises(UserError, match=r"in \(0, 1\], found"):
            cvar(x, x, alpha)


def test_improvement_by_hand_with_ties() -> None:
    x, y = np.array([[1.0, 0.0], [2.0, 0.0]]), np.array([[1.0, 1.0], [0.0, 1.0], [3.0, 0.0]])
    first, second = (0.5 + 1 + 0 + 1 + 1 + 0) / 6, (0.5 + 0.5) / 6
    assert probability_of_improvement(x, y) == pytest.approx((first + second) / 2)


def test_profile_and_optimality_gap_by_hand() -> None:
    x = np.array([[0.0, 1.0], [2.0, 3.0]])
    np.testing.assert_allclose(performance_profile(x, np.array([-1.0, 0.0, 1.5, 3.0])), [1.0, 0.75, 0.5, 0.0])
    assert optimality_gap(x) == pytest.approx(0.25)
    assert optimality_gap(x, target=2.0) == pytest.approx(0.75)


# ---- second implementations ----


@seeded
def test_scores_are_rliables(rng: np.random.Generator) -> None:
    T = int(rng.integers(1, 7))
    x, y = (rng.normal(size=(rng.integers(2, 6), T)).round(1) + 0.03 for _ in range(2))
    assert iqm(x) == pytest.approx(rliable_metrics.aggregate_iqm(x))
    assert probability_of_improvement(x, y) == pytest.approx(rliable_metrics.probability_of_improvement(x, y))
    assert optimality_gap(x) == pytest.approx(rliable_metrics.aggregate_optimality_gap(x))
    thresholds = np.linspace(-2, 2, 9)
    expected = np.array([rliable_library.run_score_deviation(x, threshold) for threshold in thresholds], float)
    np.testing.assert_allclose(performance_profile(x, thresholds), expected)


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
    found = statistic(*(Resampled(x, n.astype(float), tasks.astype(float)) for x, n in zip(tables, drawn, strict=True)))
    for r in range(20):
        written = [x.repeat(n[r], axis=0).repeat(tasks[r], axis=1) for x, n in zip(tables, drawn, strict=True)]
        assert found[r] == pytest.approx(plain(*written))


def test_few_seeds_get_the_t_interval_over_seed_means_and_welchs_for_differences() -> None:
    rng = generator(2)
    x, y = study(rng, 5, 7, 1.0, 3.0, 1.0), study(rng, 4, 7, 2.0, 0.0, 1.0)
    floor, ceiling = np.zeros(7), np.full(7, 3.0)
    assert interval(Resampled.mean, x) == pytest.approx(seed_interval(x.mean(axis=1)))
    score = interval(Resampled.normalised, x, floor, ceiling)
    assert score == pytest.approx(seed_interval(normalised(x, floor, ceiling)))
    welch = scipy.stats.ttest_ind(x.mean(axis=1), y.mean(axis=1), equal_var=False).confidence_interval(0.95)
    found = paired_difference(x, y)
    np.testing.assert_allclose(found[1:3], (welch.low, welch.high))
    assert found[3:] == (4, "t over seeds", 0.95)


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
    ],
)
def test_the_rule_says_what_it_did(shapes: list[tuple[int, ...]], n: int, kind: str) -> None:
    rng = generator(4)
    statistic = Resampled.mean if len(shapes) == 1 else difference(Resampled.mean)
    assert interval(statistic, *(rng.normal(size=shape) for shape in shapes))[3:5] == (n, kind)


def test_tables_must_share_tasks_be_finite_and_have_several_tasks() -> None:
    x = np.zeros((12, 5))
    with pytest.raises(UserError, match=r"found shapes \[\(12, 5\), \(1, 4\)\]\. Use one split"):
        paired_difference(x, np.zeros(4))
    with pytest.raises(UserError, match="found 2 that are not"):
        interval(Resampled.mean, np.array([np.nan, 0.0, np.inf]))
    with pytest.raises(UserError, match="2 tasks or more, found 1"):
        interval(Resampled.mean, x[:, :1])


# ---- invariances ----


@seeded
def test_order_of_seeds_and_tasks_does_not_matter(rng: np.random.Generator) -> None:
    x, y, halves = rng.normal(size=(5, 8)), rng.normal(size=(4, 8)), rng.normal(size=(5, 8, 2)).round()
    seeds, tasks = rng.permutation(5), rng.permutation(8)
    for statistic, tables in (
        (Resampled.mean, [x]),
        (Resampled.iqm, [x]),
        (Resampled.cvar, [halves]),
        (Resampled.improvement, [x, y]),
        (difference(Resampled.mean), [x, y]),
    ):
        shuffled = [tables[0][seeds][:, tasks], *(table[:, tasks] for table in tables[1:])]
        np.testing.assert_allclose(ends(interval(statistic, *shuffled)), ends(interval(statistic, *tables)), atol=1e-9)


@seeded
def test_intervals_follow_the_units(rng: np.random.Generator) -> None:
    x, scale, shift = rng.normal(size=(10, 6)), rng.uniform(0.1, 10), rng.normal()
    for statistic in (Resampled.mean, Resampled.iqm):
        one, other = (ends(interval(statistic, table, reps=50)) for table in (x, scale * x + shift))
        np.testing.assert_allclose(other, scale * one + shift, atol=1e-6)
    floor, ceiling = rng.normal(size=6), rng.normal(size=6) + 9
    one, other = (
        ends(interval(Resampled.normalised, *(a * table + b for table in (x, floor, ceiling)), reps=50))
        for a, b in ((1.0, 0.0), (scale, shift))
    )
    np.testing.assert_allclose(other, one, atol=1e-6)


@seeded
def test_what_both_methods_share_on_a_task_cancels(rng: np.random.Generator) -> None:
    x, y, hardness = rng.normal(size=(10, 6)), rng.normal(size=(11, 6)), 100 * rng.normal(size=6)
    one, other = (ends(paired_difference(x + h, y + h, reps=50)) for h in (0.0, hardness))
    np.testing.assert_allclose(other, one, atol=1e-6)


@seeded
def test_improvements_of_two_methods_sum_to_one(rng: np.random.Generator) -> None:
    x, y = rng.normal(size=(3, 5)).round(), rng.normal(size=(4, 5)).round()
    assert probability_of_improvement(x, y) + probability_of_improvement(y, x) == pytest.approx(1)


def test_references_share_the_resample_of_tasks() -> None:
    reference = generator(5).normal(size=20)
    found = interval(difference(Resampled.mean), reference + 2.0, reference)
    np.testing.assert_allclose(found[:3], 2.0)


def test_pairing_on_tasks_narrows_the_interval() -> None:
    rng = generator(6)
    hardness = 5 * rng.normal(size=40)
    x, y = (study(rng, 10, 40, 0.2, 0.2, 0.2) + hardness for _ in range(2))
    paired = paired_difference(x, y)
    alone = [interval(Resampled.mean, table) for table in (x, y)]
    assert paired.high - paired.low < min(found.high - found.low for found in alone) / 5


def test_equal_values_have_an_interval_without_width() -> None:
    for table in (np.full((10, 8), 0.5), np.full((3, 8), 0.5), np.full(8, 0.5)):
        np.testing.assert_allclose(interval(Resampled.mean, table)[:3], 0.5)


def test_the_seed_alone_decides_and_no_global_state_is_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    x = generator(7).normal(size=(10, 8))
    before = repr(np.random.get_state())  # noqa: NPY002
    first = crossed_bootstrap(Resampled.mean, x, seed=1)
    assert crossed_bootstrap(Resampled.mean, x, seed=2) != first
    monkeypatch.setattr(stats, "_BLOCK", 7)
    assert crossed_bootstrap(Resampled.mean, x, seed=1) == first
    assert repr(np.random.get_state()) == before  # noqa: NPY002


# ---- simulation ----


def test_cvar_on_fresh_trials_is_unbiased_where_the_naive_choice_is_not() -> None:
    """Against the true mean of the tasks each of them chose: tasks that differ, and tasks that are all the same."""
    rng = generator(8)
    for spread in (1.0, 0.0):
        split, naive = [], []
        for _ in range(500):
            task = spread * rng.normal(size=60)
            choose, score = task + rng.normal(size=(2, 60))
            both = (choose + score) / 2
            split.append(cvar(choose, score) - cvar(choose, task))
            naive.append(cvar(both, both) - cvar(both, task))
        error = np.std(split) / np.sqrt(500)
        assert abs(np.mean(split)) < 3 * error
        assert np.mean(naive) < -20 * error


def test_cvar_leans_towards_the_mean_as_its_docstring_says() -> None:
    rng, noise = generator(9), 0.3
    task = rng.normal(size=(1000, 60))
    lean = [cvar(t + noise * rng.normal(size=60), t) / cvar(t, t) for t in task]
    assert 1 - np.mean(lean) == pytest.approx(noise**2 / (1 + noise**2) / 2, abs=0.005)


Study = Callable[[np.random.Generator], tuple[list[np.ndarray], float]]


def coverage(statistic: stats.Statistic, simulate: Study, studies: int = 1000, reps: int = 400) -> float:
    """How many studies, in percent, have the truth inside their nominal 95% interval."""
    hits = 0
    for k in range(studies):
        tables, truth = simulate(generator(10, k))
        found = interval(statistic, *tables, reps=reps, seed=k)
        hits += found.low <= truth <= found.high
    return 100 * hits / studies


SEED_DOMINATED, TASK_DOMINATED, BALANCED = (1.0, 0.3, 0.3), (0.1, 1.0, 0.3), (0.16, 0.32, 0.32)
MODEST_CELL, CELL_ONLY = (0.3, 0.6, 1.0), (0.0, 0.0, 1.0)


@pytest.mark.parametrize("effects", [SEED_DOMINATED, TASK_DOMINATED, BALANCED, MODEST_CELL, CELL_ONLY])
@pytest.mark.parametrize(("S", "T"), [(10, 40), (20, 60)])
def test_coverage_of_the_mean(S: int, T: int, effects: tuple[float, float, float]) -> None:
    assert 92 <= coverage(Resampled.mean, lambda rng: ([study(rng, S, T, *effects)], 0.0)) <= 97


@pytest.mark.parametrize("effects", [SEED_DOMINATED, TASK_DOMINATED, MODEST_CELL])
def test_coverage_of_the_normalised_score(effects: tuple[float, float, float]) -> None:
    def simulate(rng: np.random.Generator) -> tuple[list[np.ndarray], float]:
        hardness = rng.normal(size=40)
        floor = 0.5 * hardness + 0.3 * rng.normal(size=40)
        ceiling = 3 + 0.8 * hardness + 0.5 * rng.normal(size=40)
        return [1.5 + 0.6 * hardness + study(rng, 10, 40, *effects), floor, ceiling], 0.5

    assert 92 <= coverage(Resampled.normalised, simulate) <= 97


def two_methods(rng: np.random.Generator, effects: tuple[float, float, float]) -> list[np.ndarray]:
    hardness = 2 * rng.normal(size=40)
    return [hardness + study(rng, 10, 40, *effects) for _ in range(2)]


@pytest.mark.parametrize("effects", [SEED_DOMINATED, TASK_DOMINATED, MODEST_CELL])
def test_coverage_of_the_paired_difference(effects: tuple[float, float, float]) -> None:
    assert 92 <= coverage(difference(Resampled.mean), lambda rng: (two_methods(rng, effects), 0.0)) <= 97


@pytest.mark.parametrize("effects", [SEED_DOMINATED, MODEST_CELL])
def test_coverage_of_the_t_interval_on_these_tasks(effects: tuple[float, float, float]) -> None:
    def simulate(rng: np.random.Generator) -> tuple[list[np.ndarray], float]:
        hardness = rng.normal(size=40)
        return [hardness + study(rng, 5, 40, effects[0], 0.0, effects[2])], float(hardness.mean())

    assert 92 <= coverage(Resampled.mean, simulate) <= 97


@pytest.mark.slow
@pytest.mark.parametrize("effects", [SEED_DOMINATED, TASK_DOMINATED, MODEST_CELL])
def test_coverage_of_iqm_and_improvement(effects: tuple[float, float, float]) -> None:
    assert 92 <= coverage(Resampled.iqm, lambda rng: ([study(rng, 10, 40, *effects)], 0.0), studies=500) <= 97
    assert 92 <= coverage(Resampled.improvement, lambda rng: (two_methods(rng, effects), 0.5)) <= 97


@pytest.mark.slow
@pytest.mark.parametrize("effects", [SEED_DOMINATED, TASK_DOMINATED, MODEST_CELL])
def test_coverage_of_cvar_is_a_little_short(effects: tuple[float, float, float]) -> None:
    """The truth is what a choice with this noise scores on endless tasks."""
    noise, within = 0.1, effects[1] ** 2 + effects[2] ** 2
    tail = -scipy.stats.norm.pdf(scipy.stats.norm.ppf(0.2)) / 0.2 * within / np.sqrt(within + noise**2)

    def simulate(rng: np.random.Generator) -> tuple[list[np.ndarray], float]:
        x = study(rng, 10, 60, *effects)
        return [x[..., None] + noise * rng.normal(size=(10, 60, 2))], float(tail)

    assert 89 <= coverage(Resampled.cvar, simulate, studies=500) <= 97
