"""Falls from id to a shifted split, and their parts."""

import pytest

from bridge.report.falls import WORKS, Fall, fall, works_at
from bridge.report.summary import Key, Results
from tests.bridge.report.made_up import bounds, played

FAMILY = "gridnavi"
HERE, THERE = "id", "shift/slip/3"
EXACT = {"exact_reference": "exact"}


def results(bayes=(0.8, 0.7), bayes_train=(0.8, 0.4), rl2=(0.6, 0.1), half=0.0, exact=EXACT):
    """Scores on id and on the split."""
    rows = []
    for split, *scores in zip((HERE, THERE), bayes, bayes_train, rl2, strict=True):
        names = ("bayes", "bayes_train", "rl2")
        rows += bounds(FAMILY, split)
        for name, score in zip(names, scores, strict=True):
            about = exact if name != "rl2" else {}
            rows.append(played(name, FAMILY, split, score, half, **about))
    return Results(rows)


def fell(found: Results, track: str = "O", method: str = "rl2") -> Fall:
    """The fall of one of the methods above."""
    fallen = fall(found, Key(FAMILY, THERE, method, track))
    assert fallen is not None
    return fallen


def test_a_fall_is_the_sum_of_its_parts():
    total, *parts = fell(results())
    assert total.mean == pytest.approx(0.5)
    assert [part.mean for part in parts] == pytest.approx([0.1, 0.3, 0.1])


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ({}, (0.4, 0.1, 0.3, 0.0)),  # the best learner of the prior has no fault of its own
        ({"bayes_train": (0.8, 0.7)}, (0.1, 0.1, 0.0, 0.0)),  # a shift that costs the prior nothing
        ({"bayes": (0.8, 0.9)}, (0.4, -0.1, 0.5, 0.0)),  # easier tasks
    ],
)
def test_what_the_prior_costs_is_not_the_methods(scores, expected):
    found = fell(results(**scores), method="bayes_train")
    assert [part.mean for part in found] == pytest.approx(expected)


def test_the_prior_of_another_learner_takes_its_part_from_the_method():
    """A learner of the training tasks alone earns 0.2 on the split, where that of the distribution earns 0.4."""
    rows = []
    scores = {
        "bayes": (0.8, 0.7),
        "bayes_train": (0.8, 0.4),
        "bayes_tasks": (0.7, 0.2),
        "rl2": (0.6, 0.1),
    }
    for place, split in enumerate((HERE, THERE)):
        rows += bounds(FAMILY, split)
        for name, both in scores.items():
            rows.append(
                played(name, FAMILY, split, both[place], **(EXACT if name != "rl2" else {}))
            )
    key = Key(FAMILY, THERE, "rl2")
    found = fall(Results(rows), key, "bayes_tasks")
    assert found is not None
    assert [part.mean for part in found] == pytest.approx([0.5, 0.1, 0.5, -0.1])
    without = fall(results(), key, "bayes_tasks")
    assert without is not None
    assert without.prior is None


def test_intervals_of_two_splits_combine_in_quadrature():
    found = fell(results(half=0.03))
    assert found.total.half == pytest.approx(0.03 * 2**0.5, rel=1e-3)
    assert found.tasks.half == pytest.approx(0.03 * 2**0.5, rel=1e-3)


def test_without_exact_references_the_fall_has_no_parts():
    found = fell(results(exact={"exact_reference": "near"}))
    assert found.total.mean == pytest.approx(0.5)
    assert found[1:] == (None, None, None)


def test_every_part_is_of_the_same_track():
    rows = []
    for split, best, train, own in ((HERE, 0.9, 0.9, 0.6), (THERE, 0.9, 0.9, 0.5)):
        rows += bounds(FAMILY, split) + bounds(FAMILY, split, "C")
        for name, score in (("bayes", best), ("bayes_train", train), ("rl2", own)):
            about = EXACT if name != "rl2" else {}
            rows.append(played(name, FAMILY, split, score, track="C", **about))
            elsewhere = 0.1 if name == "bayes_train" else 0.8
            rows.append(played(name, FAMILY, split, elsewhere, **about))
    found = fell(Results(rows), "C")
    assert [part.mean for part in found] == pytest.approx([0.1, 0.0, 0.0, 0.1])


def test_what_was_not_played_has_no_fall():
    assert fall(results(), Key(FAMILY, "shift/slip/4", "rl2")) is None


def test_a_method_works_where_it_keeps_half_of_its_score():
    rows = [*bounds(FAMILY, HERE), played("rl2", FAMILY, HERE, 0.6)]
    splits = {}
    for level, score in enumerate((0.5, 0.31, 0.29, 0.4), 1):
        split = f"shift/slip/{level}"
        splits[0.1 * level] = split
        rows += [*bounds(FAMILY, split), played("rl2", FAMILY, split, score)]
    assert WORKS == 0.5
    key = Key(FAMILY, HERE, "rl2")
    assert works_at(Results(rows), key, splits) == pytest.approx([0.1, 0.2, 0.4])
    rows[2] = played("rl2", FAMILY, HERE, 0.1, half=0.2)
    assert works_at(Results(rows), key, splits) is None
