"""Tabular Q-learning: single updates by hand, exploration that ends, learning to the optimum, refusals."""

import pytest
import torch

from bridge.conformance import AGENT_CHECKS
from bridge.errors import UserError
from bridge.evaluation.evaluator import evaluate
from bridge.evaluation.plan import Plan
from bridge.protocol import Clues, Step, Trial
from bridge.references.q_learning import QLearning
from bridge.rng import Rows
from bridge.tasks import family as make_family
from tests.bridge.toys import Corridor, Reach


@pytest.mark.parametrize("family", ["gridnavi", "tabular_mdp:n=2", Corridor()])
def test_keeps_the_contract(family):
    made = make_family(family) if isinstance(family, str) else family
    for check in AGENT_CHECKS.values():
        check(QLearning(made, "id"), made, "id")


def test_updates_by_hand():
    """Q(1, 1) moves half way to r + gamma max Q(s', .); beyond the end of an episode there is nothing, after a time-out
    there is; a dead row learns nothing."""
    agent, rows = QLearning(Corridor(), "id", rate=0.5, gamma=0.9), 4
    memory = agent.start(Clues(), Trial(2, 6), Rows.of(0, torch.arange(rows)))
    memory.values[:, 2, 0] = 10.0
    memory.values[:, 1, 1] = 2.0
    full = torch.full((rows,), 1)
    ended, late = (
        torch.tensor([False, True, False, False]),
        torch.tensor([False, False, True, False]),
    )
    live = torch.tensor([True, True, True, False])
    found = agent.observe(
        memory, Step(full, full, torch.ones(rows), full + 1, ended, late, live)
    ).values
    torch.testing.assert_close(found[:, 1, 1], torch.tensor([6.0, 1.5, 6.0, 2.0]))
    assert (found[:, 2, 0] == 10.0).all()


def test_exploration_falls_and_ends():
    agent = QLearning(Corridor(), "id", epsilon=0.8, greedy_from=0.5)
    memory = agent.start(Clues(), Trial(8, 6), Rows.of(0, torch.arange(1)))
    found = [
        agent.begin(memory, Rows.of(0, torch.arange(1)), episode=e).epsilon.item() for e in range(8)
    ]
    assert found == pytest.approx([0.8, 0.6, 0.4, 0.2, 0.0, 0.0, 0.0, 0.0])


def test_explores_as_often_as_it_should():
    agent, rows = QLearning(Corridor(), "id"), 4_000
    rng = Rows.of(0, torch.arange(rows))
    memory = agent.start(Clues(), Trial(4, 6), rng)
    memory.values[:, 2, 1] = 1.0
    memory = memory._replace(epsilon=torch.full((rows,), 0.5))
    obs = torch.full((rows,), 2)
    share = agent.act(memory, obs, rng, explore=True).action.float().mean().item()
    assert abs(share - 0.75) < 4 * (0.75 * 0.25 / rows) ** 0.5
    assert (agent.act(memory, obs, rng, explore=False).action == 1).all()


@pytest.mark.slow
def test_it_learns_a_dark_room_from_scratch():
    """Its last episodes are near the optimum of 16.5 on the 9 x 9 room's goals once there were enough of them."""
    family = make_family("darkroom:variant=ad,episodes=200")
    found = evaluate(QLearning(family, "id", first=1.0), family, Plan(trials=162))
    assert found.mean("episode_return", 0) < 1
    assert found.mean("episode_return") > 8


@pytest.mark.parametrize(
    "settings", [{"rate": 0.0}, {"gamma": 1.1}, {"epsilon": -0.1}, {"greedy_from": 0.0}]
)
def test_impossible_settings_are_refused(settings):
    with pytest.raises(UserError, match=next(iter(settings))):
        QLearning(Corridor(), "id", **settings)


def test_what_cannot_be_numbered_is_refused():
    with pytest.raises(UserError, match="needs numbered states"):
        QLearning(Reach(), "id")
