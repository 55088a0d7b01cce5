"""Findings on made-up rows with known scores, and what is said where there is nothing to find."""

import pytest

from bridge.report.findings import findings
from bridge.report.leaderboard import boards
from bridge.report.summary import Results
from tests.bridge.report.made_up import BOTH, CONTEXT, GRADIENT, bounds, played

GRID, ROOM = "gridnavi", "darkroom:variant=ad"
SCALE, SLIP = "shift/reward_scale/4", "shift/slip/4"
PLACES = [(family, split) for family in (GRID, ROOM) for split in ("id", SCALE, SLIP)]


def found(scores, about):
    """The findings on methods with these scores (and halves) on ``PLACES``; None: not played."""
    rows = [columns for place in PLACES for columns in bounds(*place)]
    for method, values in scores.items():
        rows += [
            played(
                method, *place, *(value if isinstance(value, tuple) else (value,)), **about[method]
            )
            for place, value in zip(PLACES, values, strict=True)
            if value is not None
        ]
    read = Results(rows)
    return findings(read, boards(read)[0])


def test_the_best_method_and_its_lead():
    """The lead is paired: the same noise is in both scores, and none is in their difference."""
    scores = {
        "rl2": [(0.8, 0.06), 1, 1, (0.4, 0.08), 1, 1],
        "maml": [(0.7, 0.06), 1, 1, (0.3, 0.08), 1, 1],
    }
    best, *_ = found(scores, {"rl2": CONTEXT, "maml": GRADIENT})
    assert best == (
        "Best of 2 in distribution: rl2, whose score on id is 0.600 ±0.050 (darkroom and gridnavi), 0.1 ahead of maml."
    )


def test_a_lead_within_its_interval_is_not_clear():
    scores = {
        name: [score, 1, 1, score, 1, 1]
        for name, score in (("a", (0.8, 0.06)), ("b", 0.79), ("c", 0.5))
    }
    best, *_ = found(scores, dict.fromkeys(scores, CONTEXT))
    assert best.endswith("0.010 ±0.042 ahead of b; its lead over b is not clear of 0.")


def test_a_method_that_lacks_a_family_is_not_the_best():
    scores = {"rl2": [0.9, 1, 1, None, 1, 1], "maml": [0.5, 1, 1, 0.5, 1, 1]}
    best, *_ = found(scores, {"rl2": CONTEXT, "maml": GRADIENT})
    assert best == "In distribution: maml, whose score on id is 0.5 (darkroom and gridnavi)."
    none, *_ = found({"rl2": scores["rl2"]}, {"rl2": CONTEXT})
    assert none == "Best in distribution: none, as no learned method plays darkroom and gridnavi."


def test_the_largest_fall_is_named_with_both_ends():
    """``rl2`` falls from 0.8 to -0.5 on slip (both families); ``maml`` from 0.5 to -0.5 on the scale."""
    scores = {
        "rl2": [0.9, 0.5, (-0.8, 0.06), 0.7, 0.5, (-0.2, 0.08)],
        "maml": [0.5, -0.5, 0.5, 0.5, -0.5, 0.5],
    }
    _, fall, *_ = found(scores, {"rl2": CONTEXT, "maml": GRADIENT})
    assert fall == (
        "Largest fall, of 4 pairs of method and axis: rl2 under shift/slip/4, from 0.8 on id to -0.500 ±0.050 "
        "(darkroom and gridnavi)."
    )


def test_a_fall_within_its_interval_is_not_clear():
    _, fall = found({"rl2": [0.5, 0.5, (0.4, 0.5), 0.5, 0.5, (0.4, 0.5)]}, {"rl2": CONTEXT})
    assert fall == (
        "Largest fall, of 2 pairs of method and axis, none of which is clear of 0: rl2 under shift/slip/4, from 0.5 on "
        "id to 0.40 ±0.35 (darkroom and gridnavi)."
    )


def test_a_clear_fall_comes_before_a_larger_one_that_may_be_noise():
    _, fall = found({"rl2": [0.5, 0.45, (0.4, 0.5), 0.5, 0.45, (0.4, 0.5)]}, {"rl2": CONTEXT})
    assert fall.startswith(
        "Largest fall that is clear of 0, of 2 pairs of method and axis: rl2 under shift/reward_scale/4, from 0.5 on "
    )


def test_a_rise_is_no_fall():
    _, fall = found({"rl2": [0.5, 0.6, 0.5, 0.5, 0.7, 0.5]}, {"rl2": CONTEXT})
    assert fall == "No fall: of 2 pairs of method and axis, none has a lower score than on id."


def test_gradient_steps_overtake_context_where_the_paired_interval_is_clear():
    """The best of each kind on id: ``weak`` would be ahead of ``rl2`` on every split, but is not the best there."""
    scores = {
        "rl2": [0.9, 0.5, (0.1, 0.3), 0.9, 0.5, 0.1],
        "maml": [0.6, 0.5, 0.3, 0.6, (0.8, 0.1), (0.2, 0.3)],
        "weak": [0.1, 1, 1, 0.1, 1, 1],
    }
    *_, steps = found(scores, {"rl2": CONTEXT, "maml": GRADIENT, "weak": GRADIENT})
    assert steps == (
        "Gradient steps alone (maml) overtake reading the context (rl2), each the best of its kind on id of a family: "
        "ahead on 1 of 6 splits of darkroom and gridnavi, behind on 2 (intervals clear of 0; 0.2 would be ahead by "
        "chance). Most clearly on darkroom, shift/reward_scale/4: maml is 0.30 ±0.10 ahead of rl2."
    )


def test_gradient_steps_may_overtake_nowhere():
    scores = {"rl2": [0.9, 0.5, 0.5, 0.9, 0.5, 0.5], "maml": [0.6, 0.5, 0.3, 0.6, 0.2, 0.5]}
    *_, steps = found(scores, {"rl2": CONTEXT, "maml": GRADIENT})
    assert steps.startswith(
        "Gradient steps alone (maml) nowhere overtake reading the context (rl2)"
    )
    assert "ahead on 0 of 6 splits" in steps
    assert steps.endswith("by chance).")


@pytest.mark.parametrize(
    "method", ["lora_reward_icl_rl", "lora_reward:inner_steps=5,run=zoo:icl_rl"]
)
def test_gradient_steps_on_top_are_compared_with_their_own_base(method):
    """``zoo:icl_rl`` is the base: of two runs named alike, the one whose training was as long."""
    scores = {
        method: [0.9, 0.8, 0.5, 0.9, 0.4, 0.5],
        "icl_rl": [0, 0, 0, 0, 0, 0],
        "zoo:icl_rl": [0.9, 0.5, 0.5, 0.9, 0.5, 0.5],
    }
    about = {
        method: BOTH,
        "icl_rl": CONTEXT | {"train_env_steps": 5},
        "zoo:icl_rl": CONTEXT,
    }
    *_, steps = found(scores, about)
    assert not any("on top" in text for text in found(scores, about | {"zoo:icl_rl": GRADIENT}))
    assert steps == (
        f"Gradient steps on top of the context ({method} less zoo:icl_rl) help on 1 of 6 splits and harm on "
        f"1, most clearly on gridnavi, shift/reward_scale/4: {method} is 0.3 ahead of zoo:icl_rl."
    )


def test_a_base_is_the_run_that_was_trained_as_long_on_the_same_family():
    """``zoo:icl_rl`` has other budgets on other families, which ``lora_reward_icl_rl`` does not play."""
    rows = [columns for place in PLACES for columns in bounds(*place)]
    for family, split in PLACES:
        steps = {"train_env_steps": 1000 if family == GRID else 5}
        rows.append(played("zoo:icl_rl", family, split, 0.5, **CONTEXT | steps))
        if family == GRID:
            rows.append(played("lora_reward_icl_rl", family, split, 0.7, **BOTH))
    read = Results(rows)
    *_, steps = findings(read, boards(read)[0])
    assert steps.startswith(
        "Gradient steps on top of the context (lora_reward_icl_rl less zoo:icl_rl) help on 3 of 3 splits and harm on 0"
    )


@pytest.mark.parametrize("split", ["id", SLIP])
def test_one_split_has_no_fall_and_without_id_nothing_is_found(split):
    rows = [*bounds(GRID, split), played("rl2", GRID, split, 0.5, **CONTEXT)]
    read = Results(rows)
    said = findings(read, boards(read)[0])
    assert said == [
        "In distribution: rl2, whose score on id is 0.5 (gridnavi)."
        if split == "id"
        else "There are no findings without id: play it beside the shifted splits."
    ]


def test_references_alone_have_no_findings_and_scores_are_needed():
    read = Results(bounds(GRID, "id"))
    assert [findings(read, board) for board in boards(read)] == [[]]
    read = Results([played("rl2", GRID, "id", 0.5, **CONTEXT)])
    (said,) = findings(read, boards(read)[0])
    assert (
        said
        == "There are no findings without scores. They need random, oracle and enough trials; where nobody knows "
        "the optimum, specialists in place of the oracle (docs/gymnasium.md)."
    )
