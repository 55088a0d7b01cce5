"""The multi-task transformer: what it forgets, and what it says again."""

import pytest
import torch

from bridge.conformance import AGENT_CHECKS
from bridge.errors import UserError
from bridge.protocol import Clues, Step
from bridge.rng import Rows
from bridge.tasks import family as make_family
from llm_adapt.multi_task import Config, MtLearner

GRID = make_family("gridnavi")
TINY = {
    "hidden": 8,
    "layers": 1,
    "heads": 2,
    "window": 32,
    "steps_per_update": 150,
    "minibatches": 2,
    "epochs": 1,
}


def test_it_trains_on_single_episodes_and_keeps_the_contract():
    made = MtLearner(GRID, Config(**TINY), seed=0)
    made.update()
    assert made.env_steps == 150
    assert made.agent().card.method == "mt"
    for check in AGENT_CHECKS.values():
        check(made.agent(), GRID)


@torch.no_grad()
def test_an_episode_is_forgotten_with_its_end_and_remembered_until_then():
    agent, rng = MtLearner(GRID, Config(**TINY), seed=0).agent(), Rows.of(0, torch.arange(2))
    torch.nn.init.normal_(agent.policy.actor.weight, generator=torch.Generator().manual_seed(0))
    memory = agent.begin(agent.start(Clues(), GRID.trial("id"), rng), rng, episode=0)
    obs = torch.zeros(2, 2)
    first = agent.act(memory, obs, rng, explore=True).logits
    flags = torch.zeros(2, dtype=torch.bool)
    step = Step(obs, torch.tensor([1, 2]), torch.tensor([0.0, 1.0]), obs + 1, flags, flags)
    memory = agent.observe(memory, step)
    assert not torch.allclose(agent.act(memory, obs, rng, explore=True).logits, first)
    memory = agent.begin(memory, rng, episode=1)
    assert torch.equal(agent.act(memory, obs, rng, explore=True).logits, first)


def test_trials_of_several_episodes_are_for_another_method():
    with pytest.raises(UserError, match=r"needs episodes=1, found 3\. Choose icl_rl"):
        Config(episodes=3)
