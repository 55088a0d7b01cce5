"""Optimists: nothing when the optimism is taken away, and optimistic when it is not."""

import math

import pytest
import torch

from bridge.errors import UserError
from bridge.maths.planning import extended_value_iteration, value_iteration
from bridge.noise import TrialNoise
from bridge.play import play_episode
from bridge.protocol import Clues
from bridge.references.mdp.optimism import Beb, Ucrl2
from bridge.references.mdp.posterior import MdpGreedy, MdpOracle, Memory, Planner
from bridge.references.random import Random
from bridge.tasks.tabular_mdp import TabularMdp

FAMILY = TabularMdp()
IDS = torch.arange(64)
TASKS, TRIAL, NOISE = FAMILY.sample("id", IDS), FAMILY.trial("id"), TrialNoise.of(0, IDS)


class CountingRandom(MdpGreedy):
    """Plays at random and counts: the experience that the plans below are compared on."""

    act = Random(FAMILY).act


def planned(agent: Planner, episodes: int = 20) -> Memory:
    """What ``agent`` plans after random play."""
    random = CountingRandom(FAMILY)
    memory = random.start(Clues(), TRIAL, NOISE.agent)
    for episode in range(episodes):
        memory, _ = play_episode(
            random, FAMILY, TASKS, memory, NOISE, episode=episode, horizon=TRIAL.horizon
        )
    return agent.begin(memory, NOISE.agent, episode=episodes)


def test_beb_without_a_bonus_is_greedy() -> None:
    assert torch.equal(planned(Beb(FAMILY, beta=0.0)).plan.q, planned(MdpGreedy(FAMILY)).plan.q)


def test_bebs_bonus_on_the_last_step_is_beta_over_one_plus_states_plus_visits() -> None:
    memory, greedy = planned(Beb(FAMILY, beta=7.0)), planned(MdpGreedy(FAMILY))

    bonus = memory.plan.q[:, -1] - greedy.plan.q[:, -1]

    torch.testing.assert_close(bonus, 7 / (1 + 10 + memory.counts.visits), atol=1e-5, rtol=1e-5)


def test_ucrl2_without_confidence_balls_plans_in_the_empirical_mdp() -> None:
    memory = planned(Ucrl2(FAMILY, scaling=0.0))
    visits = memory.counts.visits
    transition = torch.full((len(IDS), 10, 5, 10), 0.1)
    reward = torch.zeros(len(IDS), 10, 5)
    for b, s, a in visits.nonzero().tolist():
        transition[b, s, a] = memory.counts.next_states[b, s, a] / visits[b, s, a]
        reward[b, s, a] = memory.counts.reward_sum[b, s, a] / visits[b, s, a]

    torch.testing.assert_close(
        memory.plan.q, value_iteration(transition, reward, 10), atol=1e-4, rtol=1e-5
    )


def test_ucrl2_with_the_radii_of_theory_is_above_the_truth() -> None:
    optimal = MdpOracle(FAMILY).start(Clues(task=TASKS), TRIAL, NOISE.agent)

    above = planned(Ucrl2(FAMILY, scaling=1.0)).plan.q >= optimal.q

    assert float(above.all(-1).all(-1).all(-1).float().mean()) >= 0.95


def test_ucrl2s_radii_are_those_of_the_paper() -> None:
    """Equations 3 and 4 before step t = 201, on the last two steps of the plan."""
    memory = planned(Ucrl2(FAMILY, scaling=0.05, delta=0.1))
    visits = memory.counts.visits
    n = visits.clamp(min=1)
    empirical = torch.where(visits[..., None] > 0, memory.counts.next_states / n[..., None], 0.1)
    reward_radius = (7 * math.log(2 * 10 * 5 * 201 / 0.1) / (2 * n)).sqrt()
    radius = (14 * 10 * math.log(2 * 5 * 201 / 0.1) / n).sqrt()
    reward = memory.counts.reward_sum / n + 0.05 * reward_radius

    expected = extended_value_iteration(empirical, reward, 0.05 * radius, 2)

    torch.testing.assert_close(memory.plan.q[:, -2:], expected, atol=1e-4, rtol=1e-5)


def test_refusals_name_what_was_found() -> None:
    with pytest.raises(UserError, match=r"beb needs beta 0 or more; found -1\.0"):
        Beb(FAMILY, beta=-1.0)
    with pytest.raises(UserError, match=r"ucrl2 needs scaling 0 or more; found -1\.0"):
        Ucrl2(FAMILY, scaling=-1.0)
    with pytest.raises(UserError, match=r"ucrl2 needs delta below 1; found 1\.0"):
        Ucrl2(FAMILY, delta=1.0)
