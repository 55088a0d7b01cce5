"""How much more a trial's last episode earns than its first, in units of score."""

import numpy as np
import pytest

from bridge.evaluation import result_rows
from bridge.evaluation.evaluator import evaluate
from bridge.evaluation.plan import Plan
from bridge.references.registry import reference
from bridge.report.leaderboard import boards
from bridge.report.summary import Key, Results
from bridge.tasks import family
from tests.bridge.report.made_up import bounds, played

FAMILY = family("bandit:k=3,n=8")


@pytest.fixture(scope="module")
def results():
    plan = Plan(split="id", trials=2_000)
    agents = [reference(name, FAMILY, "id") for name in ("random", "oracle", "ucb1")]
    return Results([result_rows.columns(evaluate(a, FAMILY, plan), FAMILY, a.card) for a in agents])


def key(method: str) -> Key:
    return Key(FAMILY.id, "id", method)


def test_it_is_the_rise_of_the_curve_over_what_can_be_earned(results):
    rise = {m: results.curve(key(m)) for m in ("random", "oracle", "ucb1")}
    first, last = rise["ucb1"][0][2].mean, rise["ucb1"][-1][2].mean
    most = rise["oracle"][-1][2].mean - rise["random"][-1][2].mean
    assert results.gain(key("ucb1")).mean == pytest.approx((last - first) / most, rel=0.01)
    assert results.gain(key("ucb1")).low > 0.3


def test_agents_that_do_not_adapt_gain_nothing(results):
    for method in ("random", "oracle"):
        gain = results.gain(key(method))
        assert gain.low <= 0.0 <= gain.high


def test_without_a_reference_there_is_no_gain(results):
    assert results.gain(key("ucb1"), ceiling="bayes") is None
    assert results.gain(key("rl2")) is None


def test_without_an_oracle_specialists_are_the_ceiling():
    rows = [
        played("random", "cheetah_vel:tests=3", "id", 0.0, exact_reference="exact"),
        played("specialists", "cheetah_vel:tests=3", "id", 2.0, exact_reference="heuristic"),
        played("rl2", "cheetah_vel:tests=3", "id", 1.5),
    ]
    results = Results(rows)
    assert results.ceiling == "specialists"
    score = results.number(Key("cheetah_vel:tests=3", "id", "rl2"), "score_specialists")
    assert score.mean == pytest.approx(0.75)
    assert results.number(Key("cheetah_vel:tests=3", "id", "rl2"), "score_oracle") is None


def test_several_seeds_of_specialists_are_one_ceiling_by_their_mean():
    family = "cheetah_vel:tests=3"
    rows = [
        played("random", family, "id", 0.0, exact_reference="exact"),
        *(
            played(
                "specialists",
                family,
                "id",
                value,
                exact_reference="heuristic",
                seed=np.full(10, seed),
            )
            for seed, value in enumerate((1.0, 3.0))
        ),
        played("rl2", family, "id", 1.5),
    ]
    results = Results(rows)
    assert results.score(Key(family, "id", "rl2")).mean == pytest.approx(0.75)
    assert results.score(Key(family, "id", "specialists")).mean == pytest.approx(1.0)
    assert results.gain(Key(family, "id", "rl2")).mean == pytest.approx(0.0)


def test_each_family_has_a_ceiling_of_its_own():
    solved, unsolved = "gridnavi", "cheetah_vel:tests=3"
    rows = [
        *bounds(solved, "id"),
        played("rl2", solved, "id", 0.5),
        played("random", unsolved, "id", 0.0, exact_reference="exact"),
        played("specialists", unsolved, "id", 2.0, exact_reference="heuristic"),
        played("rl2", unsolved, "id", 1.5),
    ]
    results = Results(rows)
    assert results.ceiling == "oracle or specialists"
    scores = [results.score(Key(family, "id", "rl2")).mean for family in (solved, unsolved)]
    assert scores == pytest.approx([0.5, 0.75])
    (board,) = boards(results)
    assert board.unscored == []
    assert [row.method for row in board.learned] == ["rl2"]
