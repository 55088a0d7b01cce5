"""RL²: the contract, what PPO stands on, and that it learns."""

import numpy as np
import pytest
import torch

from bridge.conformance import AGENT_CHECKS
from bridge.evaluate import Plan, evaluate
from bridge.protocol import Clues
from bridge.references.random import Random
from bridge.rng import Rows
from bridge.tasks import family as make_family
from rl_algos.nets import CORES
from rl_algos.rl2 import Config, Rl2Learner
from tests.bridge.toys import Reach

SMALL = {"hidden": 8, "steps_per_update": 240, "minibatches": 2, "epochs": 2}


def learner(spec: str = "bandit:k=3,n=6", *, seed: int = 0, **settings) -> Rl2Learner:
    return Rl2Learner(make_family(spec), Config(**(SMALL | settings)), seed=seed)


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("spec", ["bandit:k=3,n=6", "gridnavi", "tabular_mdp:n=2"])
def test_keeps_the_contract(spec, core):
    made = learner(spec, core=core)
    made.update()
    for check in AGENT_CHECKS.values():
        check(made.agent(), make_family(spec))


@pytest.mark.parametrize(("core", "policy_hidden"), [*((core, 0) for core in CORES), ("gru", 4)])
@pytest.mark.parametrize("spec", ["bandit:k=3,n=6", "gridnavi"])
def test_recomputed_policy_is_the_policy_that_played(spec, core, policy_hidden):
    """The first ratio of every update is 1: logits seen in play equal those of the unrolled network."""
    made = learner(spec, core=core, policy_hidden=policy_hidden)
    played: list[torch.Tensor] = []
    agent_class = type(made.agent())
    act = agent_class.act

    def spy(self, *args, **kwargs):
        decision = act(self, *args, **kwargs)
        played.append(decision.logits)
        return decision

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(agent_class, "act", spy)
        batch, _ = made._play()
    out, _ = made._evaluate(batch)
    torch.testing.assert_close(out, torch.stack(played), atol=1e-5, rtol=0)


def test_the_critic_may_see_the_task_and_the_policy_never():
    made = learner(critic="task")
    batch, _ = made._play()
    out, value = made._evaluate(batch)
    other_out, other_value = made._evaluate(batch._replace(task=batch.task.flip(0)))
    assert torch.equal(out, other_out)
    assert not torch.equal(value, other_value)


def test_every_step_is_counted():
    made = learner("gridnavi", steps_per_update=240)
    assert made.env_steps == 0
    made.update()
    assert made.env_steps == 4 * 60  # four trials of four episodes of fifteen steps


def test_equal_seeds_train_equally_and_a_restored_learner_goes_on_bit_for_bit():
    one, two = learner(), learner()
    lines = [one.update() for _ in range(4)]
    assert [two.update() for _ in range(2)] == lines[:2]
    three = learner()
    three.load_state_dict(two.state_dict())
    assert [three.update() for _ in range(2)] == lines[2:]
    for a, b in zip(one.network.parameters(), three.network.parameters(), strict=True):
        assert torch.equal(a, b)
    assert learner(seed=1).update() != lines[0]


def test_no_global_generator_moves():
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    learner().update()
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all()  # noqa: NPY002


def test_learns_to_explore_a_bandit():
    """After 300,000 steps the lower bound of the paired gain over random play is above half of Bayes's gain.

    On (k=3, n=6) Bayes-optimal play earns 3.70 and random play 3.
    """
    family = make_family("bandit:k=3,n=6")
    settings = Config(hidden=32, steps_per_update=6000, minibatches=8, lr=5e-3, max_grad_norm=5.0, critic="task")
    made = Rl2Learner(family, settings, seed=0)
    while made.env_steps < 300_000:
        made.update(made.env_steps / 300_000)
    ours, random = (evaluate(a, family, Plan(trials=20_000)) for a in (made.agent(), Random(family)))
    gain = (ours.total["trial_return"][1] - random.total["trial_return"][1])[..., -1].sum(-1) / (20_000 / 64)
    low = gain.mean() - 3 * gain.std(ddof=1) / np.sqrt(len(gain))
    assert low > 0.35


def test_a_trial_starts_with_no_action_no_reward_and_an_end():
    made = learner()
    batch, _ = made._play()
    start = made.agent().start(Clues(), made.trial, Rows.of(0, torch.arange(2)))
    token = made.network.token(batch.obs[0, :2], *start[1:])
    assert token.tolist() == [[1.0, 0.0, 0.0, 0.0, 0.0, 1.0]] * 2  # observation, three actions, reward, end


def test_a_critic_that_knows_the_task_judges_by_mean_rewards():
    """Same trials, same noise: the reward that the policy reads stays the noisy one."""
    blind, told = learner("tabular_mdp:n=2")._play()[0], learner("tabular_mdp:n=2", critic="task")._play()[0]
    assert torch.equal(blind.judged, blind.reward)
    assert torch.equal(told.reward, blind.reward)
    noise = told.reward - told.judged
    assert abs(noise.mean().item()) < 5 / noise.numel() ** 0.5
    assert abs(noise.std().item() - 1) < 0.2


@pytest.mark.parametrize("core", CORES)
def test_continuous_actions_keep_the_contract(core):
    family = Reach()
    made = Rl2Learner(family, Config(**(SMALL | {"core": core})), seed=0)
    made.update()
    for check in AGENT_CHECKS.values():
        check(made.agent(), family)


def test_learns_to_reach():
    """Where the target is hidden and only nearness is paid, the return rises by 10 standard errors."""
    made = Rl2Learner(Reach(), Config(hidden=32, steps_per_update=4000, gamma=0.9, lam=0.9), seed=0)
    first, last = [], []
    for i in range(60):
        got = made.update(i / 60)["trial_return"]
        (first if i < 5 else last if i >= 55 else []).append(got)
    assert sum(last) / 5 - sum(first) / 5 > 10 * 5 / 2000**0.5  # a trial's return has a standard deviation of about 5
