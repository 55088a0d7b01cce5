"""One best arm: Bayes-optimal play against a dynamic programme over beliefs, and every other reference's card."""

from functools import cache
from itertools import product

import numpy as np
import pytest
import torch

from bridge.evaluation.evaluator import evaluate
from bridge.evaluation.plan import Plan
from bridge.protocol import Clues
from bridge.references.bandit.arm_beliefs import Counts
from bridge.references.bandit.bayes import LikeliestArm, bayes, bayes_train
from bridge.references.registry import reference
from bridge.rng import Rows
from bridge.tasks.bandit import Bandit

History = tuple[tuple[int, int], ...]
"""(wins, losses) of each arm."""
FAMILIES = [
    Bandit(k=3, n=6, arms="one_best_hard"),
    Bandit(k=3, n=6, arms="one_best_easy"),
    Bandit(k=2, n=8, arms="one_best_easy"),
    Bandit(k=4, n=5, arms="one_best_hard"),
]


def action_values(means: np.ndarray, n: int):
    """A function of a history: the optimal total reward from each next arm, by recursion over beliefs.

    Row i of ``means`` is a task; all are equally likely. Nothing here knows that tasks are alike.
    """

    def belief(history: History) -> np.ndarray:
        wins, losses = np.array(history).T
        likelihood = (means**wins * (1 - means) ** losses).prod(1)
        return likelihood / likelihood.sum()

    @cache
    def values(history: History) -> tuple[float, ...]:
        left = n - sum(map(sum, history))
        if not left:
            return (0.0,) * len(history)
        found = []
        for arm, p in enumerate(belief(history) @ means):
            wins, losses = history[arm]
            after = [
                max(values((*history[:arm], outcome, *history[arm + 1 :])))
                for outcome in ((wins + 1, losses), (wins, losses + 1))
            ]
            found.append(float(p * (1 + after[0]) + (1 - p) * after[1]))
        return tuple(found)

    return values


def histories(k: int, n: int) -> list[History]:
    """All with pulls to go."""
    pairs = [(w, f) for w in range(n) for f in range(n - w)]
    return [h for h in product(pairs, repeat=k) if sum(map(sum, h)) < n]


@pytest.mark.parametrize("split", ["id", "shift/gap/4", "shift/horizon/1"])
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.id)
def test_the_likeliest_arm_is_optimal_after_every_history(family, split):
    """Rodman 1978; k = 2: Feldman 1962. Each of a tie is."""
    n = family.trial(split).episodes
    values = action_values(
        family.sample(split, torch.arange(family.k)).params["means"].double().numpy(), n
    )
    for history in histories(family.k, n):
        lead = np.array([wins - losses for wins, losses in history])
        value = np.array(values(history))
        assert np.ptp(value[lead == lead.max()]) < 1e-7
        assert (value[lead == lead.max()].min() >= value - 1e-7).all()


@pytest.mark.parametrize("make", [bayes, bayes_train])
def test_bayes_pulls_the_likeliest_arm(make):
    """That of the most wins less losses, whatever the numbers of pulls, and each of a tie."""
    family = Bandit(k=3, n=6, arms="one_best_hard")
    agent, noise = make(family, "id"), Rows.of(0, torch.arange(300))
    assert isinstance(agent, LikeliestArm)
    for wins, losses, best in [
        ([0, 0, 0], [0, 0, 0], {0, 1, 2}),
        ([5, 2, 0], [5, 1, 0], {1}),
        ([3, 1, 2], [2, 0, 4], {0, 1}),
        ([0, 0, 0], [1, 0, 2], {1}),
    ]:
        memory = Counts(
            torch.tensor([wins] * 300).float(),
            torch.tensor([losses] * 300).float(),
            torch.ones(300, dtype=torch.int64),
        )
        for explore in (True, False):
            action = agent.act(memory, torch.zeros(300), noise, explore=explore).action
            assert set(action.tolist()) == best


@pytest.mark.parametrize("split", ["id", "shift/gap/4", "shift/reward_scale/1", "shift/horizon/2"])
@pytest.mark.parametrize("family", FAMILIES[:2], ids=lambda family: family.id)
def test_bayes_earns_the_value_that_was_solved(family, split):
    prior, n = family.prior(split), family.trial(split).episodes
    means = family.sample(split, torch.arange(3)).params["means"].double().numpy()
    value = prior.scale * max(action_values(means, n)(((0, 0),) * 3))
    result = evaluate(bayes(family, split), family, Plan(split=split, trials=30_000))
    trials, total, square = result.pooled("trial_return")
    error = np.sqrt((square / trials - (total / trials) ** 2) / trials)
    assert total / trials == pytest.approx(value, abs=4 * error)


@pytest.mark.parametrize(
    ("method", "exactness"),
    [
        ("oracle", "exact"),
        ("bayes", "exact"),
        ("bayes_train", "exact"),
        ("gittins", "heuristic"),
        ("thompson", "heuristic"),
        ("ucb1", "heuristic"),
    ],
)
def test_cards_say_what_is_exact(method, exactness):
    for family in (FAMILIES[0], Bandit(k=5, n=100, arms="one_best_hard")):
        assert reference(method, family, "id").card.exact_reference == exactness


def test_gittins_on_dependent_pairs_is_a_heuristic():
    pair = Bandit(k=2, n=10, arms="dependent_hard")
    assert reference("gittins", pair, "id").card.exact_reference == "heuristic"
    assert reference("gittins", Bandit(k=2, n=10), "id").card.exact_reference == "near"


@pytest.mark.parametrize("method", ["ucb1", "greedy"])
def test_each_arm_is_pulled_once_first(method):
    family, n = Bandit(k=4, n=8, arms="one_best_easy"), 50
    agent, noise = reference(method, family, "id"), Rows.of(0, torch.arange(n))
    memory = agent.start(Clues(), family.trial("id"), noise)
    memory = memory._replace(
        pulls=torch.tensor([[1.0, 0.0, 1.0, 0.0]] * n),
        total=torch.tensor([[1.0, 0.0, 1.0, 0.0]] * n),
    )
    assert set(agent.act(memory, torch.zeros(n), noise, explore=True).action.tolist()) == {1, 3}
    memory = memory._replace(
        pulls=torch.tensor([[4.0, 1.0, 9.0, 1.0]] * n),
        total=torch.tensor([[3.0, 0.0, 6.0, 0.0]] * n),
    )
    scores = {"greedy": [0.75, 0, 6 / 9, 0], "ucb1": [0.75 + 1 / 2, 1, 6 / 9 + 1 / 3, 1]}[method]
    chosen = agent.act(memory, torch.zeros(n), noise, explore=True).action
    assert set(chosen.tolist()) == {int(np.argmax(scores))}
