"""Demonstrations of any quality: the oracle's play at one end, random play at the other."""

import pytest
import torch

from bridge.conformance import AGENT_CHECKS
from bridge.errors import UserError
from bridge.evaluation.evaluator import evaluate
from bridge.evaluation.plan import Plan
from bridge.protocol import Clues, Trial
from bridge.references.graded import Graded
from bridge.references.random import Random
from bridge.references.registry import reference
from bridge.rng import Rows
from bridge.tasks import family as make_family

SPECS = (
    "bandit:k=4,n=9",
    "contextual_bandit",
    "gridnavi:episodes=2",
    "tabular_mdp:n=2",
    "sparse_point:episodes=2",
)


@pytest.mark.parametrize("spec", SPECS)
def test_keeps_the_contract(spec):
    family = make_family(spec)
    for check in AGENT_CHECKS.values():
        check(Graded(family, "id"), family, "id")


@pytest.mark.parametrize("spec", SPECS)
def test_without_noise_it_earns_what_the_oracle_earns(spec):
    family = make_family(spec)
    agents = Graded(family, "id", noise=0.0), reference("oracle", family, "id")
    mine, oracles = (
        evaluate(agent, family, Plan(trials=400)).mean("trial_return") for agent in agents
    )
    assert mine == pytest.approx(oracles, rel=0.02)


def test_it_knows_how_many_steps_are_left():
    """Where the best action depends on that and is never tied, it is the oracle's to the last step."""
    family = make_family("tabular_mdp:n=2")
    agents = Graded(family, "id", noise=0.0), reference("oracle", family, "id")
    mine, oracles = (evaluate(agent, family, Plan(trials=400)).detail["action"] for agent in agents)
    assert (mine == oracles).all()


def test_the_worse_the_noisier():
    family = make_family("gridnavi:episodes=2")
    earned = [
        evaluate(Graded(family, "id", noise=share), family, Plan(trials=400)).mean("trial_return")
        for share in (0.0, 0.25, 0.5, 0.75, 1.0)
    ]
    assert earned == sorted(earned, reverse=True)
    random = evaluate(Random(family), family, Plan(trials=400)).mean("trial_return")
    assert earned[-1] == pytest.approx(random, abs=1.0)
    assert earned[0] - earned[-1] > 10


def test_the_share_is_that_of_actions():
    """On a bandit: the best arm is pulled with probability 1 - noise + noise / k."""
    family, n = make_family("bandit:k=4,n=9"), 40_000
    rng, tasks = Rows.of(0, torch.arange(n)), family.sample("id", torch.arange(n))
    agent = Graded(family, "id", noise=0.4)
    memory = agent.start(Clues(task=tasks), Trial(9, 1), rng)
    best = agent.act(memory, torch.zeros(n), rng, explore=True).action == family.mean_rewards(
        tasks
    ).argmax(1)
    assert best.float().mean().item() == pytest.approx(0.7, abs=4 * (0.21 / n) ** 0.5)


def test_an_impossible_share_is_refused():
    with pytest.raises(UserError, match="noise from 0"):
        Graded(make_family("gridnavi"), "id", noise=1.5)
