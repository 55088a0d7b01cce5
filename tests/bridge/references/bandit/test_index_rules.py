"""Prior-free rules against a scalar re-implementation, and against values computed elsewhere."""

import math

import numpy as np
import pytest
import torch

from bridge.errors import UserError
from bridge.evaluation.evaluator import evaluate
from bridge.evaluation.plan import Plan
from bridge.references.bandit.arm_beliefs import Moments, gaussian_posterior
from bridge.references.bandit.index_rules import UCB1, EpsilonGreedy, Greedy
from bridge.references.bandit.thompson import thompson
from bridge.rng import Rows
from bridge.tasks.bandit import Bandit

BERNOULLI, GAUSSIAN = Bandit(k=3, n=10), Bandit(k=3, n=10, arms="gaussian")
PULLS, TOTAL = [4.0, 1.0, 2.0], [3.0, 1.0, 0.0]


def act(agent, pulls=PULLS, total=TOTAL, *, explore=True, n=1):
    memory = Moments(
        torch.tensor([pulls] * n, dtype=torch.float32),
        torch.tensor([total] * n, dtype=torch.float32),
    )
    return agent.act(memory, torch.zeros(n), Rows.of(1, torch.arange(n)), explore=explore).action


def test_greedy_starts_from_one_success_in_two():
    scores = [(t + 1) / (p + 2) for p, t in zip(PULLS, TOTAL, strict=True)]
    assert scores[0] == scores[1] == max(scores)
    assert set(act(Greedy(BERNOULLI), n=200).tolist()) == {0, 1}


def test_greedy_on_gaussian_arms_pulls_each_arm_once_first():
    assert act(Greedy(GAUSSIAN), [1, 0, 2], [5.0, 0.0, 0.0]).item() == 1
    assert act(Greedy(GAUSSIAN), [1, 1, 2], [0.5, 0.4, 1.2]).item() == 2


def test_ucb1_formula():
    c, t = 1.0, sum(PULLS) + 6
    scores = [
        (s + 1) / (p + 2) + c * math.sqrt(2 * math.log(t) / (p + 2))
        for p, s in zip(PULLS, TOTAL, strict=True)
    ]
    assert act(UCB1(BERNOULLI, c=c)).item() == int(np.argmax(scores))
    assert act(UCB1(BERNOULLI, c=0.0), [9, 0, 9], [1, 0, 9]).item() == 2


def test_ucb1_on_gaussian_arms_adds_one_over_root_n():
    scores = [t / p + 1 / math.sqrt(p) for p, t in zip(PULLS, TOTAL, strict=True)]
    assert act(UCB1(GAUSSIAN)).item() == int(np.argmax(scores))


def test_frozen_scoring_does_not_explore():
    assert act(UCB1(BERNOULLI, c=100.0), [50, 1, 1], [45, 0, 0], explore=False).item() == 0
    assert set(
        act(
            EpsilonGreedy(BERNOULLI, epsilon=1.0), [50, 1, 1], [45, 0, 0], explore=False, n=50
        ).tolist()
    ) == {0}


def test_epsilon_is_the_share_of_uniform_pulls():
    chosen = act(EpsilonGreedy(BERNOULLI, epsilon=0.3), [50, 1, 1], [45, 0, 0], n=30_000)
    assert (chosen != 0).float().mean().item() == pytest.approx(0.3 * 2 / 3, abs=0.01)


@pytest.mark.parametrize(
    "make", [lambda: EpsilonGreedy(BERNOULLI, epsilon=1.5), lambda: UCB1(BERNOULLI, c=-1.0)]
)
def test_impossible_constants_are_refused(make):
    with pytest.raises(UserError, match="found"):
        make()


@pytest.mark.parametrize(
    ("agent", "family", "metric", "value", "tolerance"),
    [
        (lambda f: UCB1(f, c=0.1), Bandit(k=5, n=10), "trial_return", 6.658, 0.05),
        (lambda f: UCB1(f, c=1.0), Bandit(k=2, n=100), "trial_return", 61.07, 1.0),
        (lambda f: thompson(f, "id"), Bandit(k=5, n=10), "trial_return", 5.85, 0.05),
        (lambda f: thompson(f, "id"), Bandit(k=5, n=100, arms="gaussian"), "regret", 5.96, 0.3),
        (lambda f: UCB1(f), Bandit(k=5, n=100, arms="gaussian"), "regret", 6.97, 0.4),
    ],
)
def test_values_computed_elsewhere(agent, family, metric, value, tolerance):
    trials = 20_000 if family.n == 10 else 5_000
    assert evaluate(agent(family), family, Plan(trials=trials)).mean(metric) == pytest.approx(
        value, abs=tolerance
    )


def test_gaussian_posterior_by_hand():
    mean, variance = gaussian_posterior(
        Moments(torch.tensor([[2.0]]), torch.tensor([[1.6]])), 0.5, 1 / 12, 0.3
    )
    precision = 12 + 2 / 0.09
    assert mean.item() == pytest.approx((6 + 1.6 / 0.09) / precision)
    assert variance.item() == pytest.approx(1 / precision)


def test_thompson_draws_from_the_beta_posterior():
    """P(arm 0 is chosen) equals P(Beta(5, 2) > Beta(2, 4)), integrated numerically."""
    from scipy.integrate import quad
    from scipy.stats import beta

    from bridge.references.bandit.arm_beliefs import Counts

    n = 40_000
    agent = thompson(Bandit(k=2, n=10), "id")
    memory = Counts(
        torch.tensor([[4.0, 1.0]] * n),
        torch.tensor([[1.0, 3.0]] * n),
        torch.ones(n, dtype=torch.int64),
    )
    share = (
        (agent.act(memory, torch.zeros(n), Rows.of(2, torch.arange(n)), explore=True).action == 0)
        .float()
        .mean()
        .item()
    )
    exact = quad(lambda x: beta.pdf(x, 5, 2) * beta.cdf(x, 2, 4), 0, 1)[0]
    assert share == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / n))
