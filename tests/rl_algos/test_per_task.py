"""Policies that differ by task: the same as a loop over tasks, and side by side the same as the agent that adapts."""

import pytest
import torch
from torch.func import functional_call

from bridge.noise import TrialNoise
from bridge.play import play_episode
from bridge.protocol import Card, Clues
from rl_algos import per_task
from rl_algos.inner_loop import GradientAgent, InnerConfig, InnerLoop
from rl_algos.policies import MlpPolicy
from tests.bridge.toys import Corridor, Reach

FAMILIES = [Corridor(), Reach()]


def policy_for(family) -> MlpPolicy:
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(0)
        made = MlpPolicy(family.observation, family.action, 4)
        torch.nn.init.normal_(made.head.weight)
    return made


def three_of(policy: MlpPolicy) -> per_task.Parameters:
    own = dict(policy.named_parameters())
    return {
        name: torch.stack([own[name] * (1 + k) for k in range(3)]).detach()
        for name in ("head.weight", "body.0.bias")
    }


def some(family, policy, params, *, episodes: int = 4) -> per_task.Episodes:
    tasks, noise = family.sample("train", torch.arange(3)), TrialNoise.of(0, torch.arange(3))
    return per_task.roll_out(policy, params, family, tasks, noise, episodes)


@pytest.mark.parametrize("family", FAMILIES)
def test_all_tasks_at_once_equal_each_alone(family):
    policy = policy_for(family)
    params = three_of(policy)
    played = some(family, policy, params)
    found = per_task.out(policy, params, played.obs)
    for task in range(3):
        own = {name: p[task] for name, p in params.items()}
        alone = functional_call(policy, own, (played.obs[task],))
        torch.testing.assert_close(found[task], alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_episode_side_by_side_is_the_episode_of_the_agent_that_adapts(family):
    """Same parameters, task and noise: the same steps, played by the evaluator's agent one row at a time."""
    policy = policy_for(family)
    agent = GradientAgent(InnerLoop(policy, InnerConfig(episodes_per_step=2)), Card(method="toy"))
    params = agent.inner.start(3)
    played = some(family, policy, params, episodes=2)
    noise = TrialNoise.of(0, torch.arange(3)).fork(2)
    tasks = family.sample("train", torch.arange(3).repeat_interleave(2))
    memory = agent.start(Clues(), family.trial("train"), noise.agent)
    steps = []
    play_episode(
        agent,
        family,
        tasks,
        memory,
        noise,
        episode=0,
        horizon=family.trial("train").horizon,
        visit=lambda _t, step, _decision: steps.append(step),
    )
    for name in ("obs", "action", "reward"):
        torch.testing.assert_close(
            torch.stack([getattr(step, name) for step in steps], 1),
            getattr(played, name).flatten(0, 1),
            atol=1e-5,
            rtol=0,
        )


def test_what_was_not_lived_is_nothing():
    family = Corridor()
    played = some(family, policy_for(family), three_of(policy_for(family)), episodes=30)
    assert not played.live.all()
    assert played.live[..., 0].all()
    assert (
        played.live[..., 1:] <= played.live[..., :-1]
    ).all()  # what has ended does not begin again
    for part in (played.reward, played.behaviour, played.advantage):
        assert (part[~played.live] == 0).all()
    assert (played.behaviour[played.live] < 0).all()


@pytest.mark.parametrize(
    ("asked", "steps", "found"),
    [(7, 1, 7), (0, 1, 2_000), (0, 40, 50), (0, 99, 21), (0, 8_000, 20)],
)
def test_enough_tasks(asked, steps, found):
    assert per_task.enough_tasks(asked, steps) == found
