"""Verdicts: p values against scipy, parts that must all hold or any, and Holm's procedure over a sheet."""

import numpy as np
import pytest
import scipy.stats

from bridge.evaluation.stats import Interval, seed_interval
from bridge.report.claims import COUNTED, AllOf, AnyOf, Effect, beyond, verdicts

SEEDS = np.array([0.11, 0.17, 0.14, 0.22, 0.12])


def interval(mean: float, half: float, n: int = 5) -> Interval:
    return Interval(mean, mean - half, mean + half, n, "t over seeds")


def effect(mean: float, half: float = 0.02, bound: float = 0.0) -> Effect:
    return Effect("made up", interval(mean, half), bound)


@pytest.mark.parametrize("bound", [0.0, 0.1, 0.15, 0.3])
@pytest.mark.parametrize("side", ["above", "below"])
def test_p_is_that_of_a_one_sided_t_test(bound, side):
    alternative = "greater" if side == "above" else "less"
    expected = scipy.stats.ttest_1samp(SEEDS, bound, alternative=alternative).pvalue
    assert beyond(seed_interval(SEEDS), bound, side) == pytest.approx(expected, rel=1e-9)


def test_an_interval_that_touches_its_bound_has_p_of_a_fortieth():
    found = seed_interval(SEEDS)
    assert beyond(found, found.low, "above") == pytest.approx(0.025)


def test_a_number_that_is_counted_is_certain():
    counted = interval(2.0, 0.0)._replace(kind=COUNTED)
    assert beyond(counted, 1.5, "above") == 0
    assert beyond(counted, 1.5, "below") == 1
    assert beyond(counted, 2.0, "above") == 1


def test_seeds_that_agree_to_the_last_bit_say_nothing():
    assert np.isnan(beyond(interval(2.0, 0.0), 1.5, "above"))


def test_all_of_is_as_weak_as_its_weakest_part():
    strong, weak = effect(0.1), effect(0.02)
    both = AllOf((strong, weak))
    assert both.supported == weak.supported > strong.supported
    assert both.refuted == min(1, 2 * weak.refuted)
    assert AllOf((strong, effect(-0.1))).refuted == 2 * effect(-0.1).refuted


def test_any_of_needs_one_part_and_pays_for_having_looked_at_all():
    strong, weak = effect(0.1), effect(0.02)
    either = AnyOf((strong, weak))
    assert either.supported == 2 * strong.supported
    assert either.refuted == strong.refuted
    assert len(AllOf((either, weak)).effects) == 3


def test_below_is_above_of_the_negative():
    low = Effect("low", interval(-0.1, 0.02), 0.0, "below")
    assert low.supported == pytest.approx(effect(0.1).supported)
    assert low.refuted == pytest.approx(effect(0.1).refuted)


def test_verdicts_are_supported_refuted_and_inconclusive():
    found = verdicts({"yes": effect(0.3), "no": effect(-0.3), "perhaps": effect(0.01)})
    outcomes = {name: verdict.outcome for name, verdict in found.items()}
    assert outcomes == {"yes": "supported", "no": "refuted", "perhaps": "inconclusive"}


def test_holm_multiplies_the_smallest_p_by_the_number_of_claims():
    """By hand: p 0.01, 0.02, 0.03 become 0.03, 0.04, 0.04 (Holm-Sidak would give 0.0297, 0.0396, 0.0396)."""

    df, p = 4, {"a": 0.005, "b": 0.01, "c": 0.015}
    quantile = scipy.stats.t.ppf(0.975, df)
    sheet = {
        name: effect(-0.02 / quantile * scipy.stats.t.ppf(each, df)) for name, each in p.items()
    }
    found = verdicts(sheet)
    assert [verdict.p for verdict in found.values()] == pytest.approx([0.03, 0.04, 0.04])


def test_a_claim_without_rows_has_no_verdict_and_counts():
    missing = Effect("nothing", None, 0.0)
    alone, beside = verdicts({"a": effect(0.03)}), verdicts({"a": effect(0.03), "b": missing})
    assert beside["b"].outcome == "no rows"
    assert beside["a"].p == pytest.approx(2 * alone["a"].p)


def test_a_missing_part_keeps_all_of_from_support_and_not_from_being_refuted():
    missing = Effect("nothing", None, 0.0)
    assert np.isnan(AllOf((effect(0.3), missing)).supported)
    refuted = AllOf((effect(-0.3), missing))
    assert verdicts({"a": refuted})["a"].outcome == "refuted"
    assert verdicts({"a": AllOf((effect(0.3), missing))})["a"].outcome != "supported"


def test_an_empty_sheet_has_no_verdicts():
    assert verdicts({}) == {}
