"""Play that is optimal for a known list of tasks, against plain recursion, limits and its own expectation."""

from functools import cache

import numpy as np
import pytest

from bridge.errors import UserError
from bridge.evaluation.evaluator import evaluate
from bridge.evaluation.plan import Plan
from bridge.references.bandit.finite_prior import KnownTasks, chances, count_states, solve
from bridge.references.registry import DoesNotPlayError, reference
from bridge.tasks import family as make_family


def naive(means: np.ndarray, n: int) -> float:
    """The value by recursion over the likelihood of each task given the history."""

    @cache
    def value(likelihood: tuple[float, ...], left: int) -> float:
        if not left:
            return 0.0
        weight = np.array(likelihood)
        totals = []
        for arm in range(means.shape[1]):
            won, lost = weight * means[:, arm], weight * (1 - means[:, arm])
            p = won.sum() / weight.sum()
            total = p * (1 + value(tuple(won), left - 1)) if p else 0.0
            totals.append(total + ((1 - p) * value(tuple(lost), left - 1) if p < 1 else 0.0))
        return max(totals)

    return value((1.0,) * len(means), n)


@pytest.mark.parametrize(("tasks", "k", "n"), [(1, 2, 4), (3, 2, 5), (4, 3, 4), (20, 2, 6)])
def test_the_value_is_that_of_plain_recursion(tasks, k, n):
    means = np.random.Generator(np.random.PCG64(tasks)).uniform(size=(tasks, k))
    assert solve(means, n).value == pytest.approx(naive(means, n), abs=1e-9)


def test_there_are_as_many_states_as_counts():
    assert count_states(5, 10) == 184_756
    means = np.random.Generator(np.random.PCG64(0)).uniform(size=(3, 2))
    assert len(solve(means, 4).key) == count_states(2, 3)


def test_a_single_known_task_is_played_best_from_the_start():
    means = np.array([[0.2, 0.9, 0.5]])
    found = solve(means, 4)
    assert found.value == pytest.approx(3.6)
    assert found.best.all(0).tolist() == [False, True, False]


def test_many_tasks_are_nearly_their_distribution():
    """Bayes-optimal play for uniform means earns 6.0218 in 10 pulls of two arms."""
    means = np.random.Generator(np.random.PCG64(0)).uniform(size=(16_384, 2))
    assert solve(means, 10).value == pytest.approx(6.0218, abs=0.03)


def test_chances_are_posterior_means():
    means = np.array([[0.2, 0.9], [0.6, 0.3]])
    states = np.array([[1, 0, 0, 2]])  # arm 0 won once, arm 1 lost twice
    like = np.array([0.2 * 0.1**2, 0.6 * 0.7**2])
    assert chances(states, means)[0] == pytest.approx(like @ means / like.sum())


def test_it_earns_its_value_on_its_tasks_and_less_than_the_distribution_on_new_ones():
    family = make_family("bandit:k=3,n=6,tasks=2")
    agent = reference("bayes_tasks", family, "train")
    assert isinstance(agent, KnownTasks)
    home = evaluate(agent, family, Plan(split="train", trials=16_000)).mean("trial_return")
    assert home == pytest.approx(agent.solution.value, abs=4 * 1.3 / 16_000**0.5)
    known, wider = (
        {
            split: evaluate(
                reference(name, family, split), family, Plan(split=split, trials=16_000)
            ).mean("trial_return")
            for split in ("train", "id")
        }
        for name in ("bayes_tasks", "bayes_train")
    )
    assert known["train"] > wider["train"] + 0.1
    assert known["id"] < wider["id"] - 0.1


def test_after_the_trained_pulls_it_plays_the_highest_posterior_mean():
    family = make_family("bandit:k=3,n=4,tasks=5")
    agent = reference("bayes_tasks", family, "shift/horizon/4")
    found = evaluate(agent, family, Plan(split="shift/horizon/4", trials=200))
    random = evaluate(
        reference("random", family, "id"), family, Plan(split="shift/horizon/4", trials=200)
    )
    assert found.mean("trial_return") > random.mean("trial_return") + 1


def test_it_needs_training_tasks_and_bernoulli_arms():
    with pytest.raises(DoesNotPlayError, match="Add tasks=N"):
        reference("bayes_tasks", make_family("bandit:k=3,n=4"), "id")
    with pytest.raises(UserError, match="independent Bernoulli arms"):
        reference("bayes_tasks", make_family("bandit:k=3,n=4,arms=gaussian,tasks=3"), "id")
    with pytest.raises(UserError, match="Take fewer arms or pulls"):
        reference("bayes_tasks", make_family("bandit:k=5,n=100,tasks=3"), "id")


def test_on_grids_it_searches_the_training_goals_first():
    family = make_family("gridnavi:tasks=3")
    names = ("bayes_tasks", "bayes_train")
    returns = {
        (name, split): evaluate(
            reference(name, family, split), family, Plan(split=split, trials=210)
        ).mean("trial_return")
        for name in names
        for split in ("train", "id")
    }
    assert returns["bayes_tasks", "train"] > returns["bayes_train", "train"] + 1
    assert returns["bayes_tasks", "id"] < returns["bayes_train", "id"] - 1
