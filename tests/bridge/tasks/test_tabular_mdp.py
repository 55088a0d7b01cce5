"""The random MDPs: exact identities between splits first, then the laws of what is drawn."""

import numpy as np
import pytest
import torch
from scipy import stats

from bridge.errors import UserError
from bridge.evaluation.evaluator import evaluate
from bridge.evaluation.plan import Plan
from bridge.noise import TrialNoise
from bridge.play import play_episode
from bridge.protocol import Step, Trial
from bridge.references.random import Random
from bridge.rng import Rows
from bridge.tasks.base import Tasks
from bridge.tasks.tabular_mdp import TabularMdp

FAMILY = TabularMdp()
AXES = tuple(FAMILY.axes)
LEAST_P = 1e-3
"""Seeds are fixed, so a test either always passes or always fails; a true null fails one in a thousand."""


def sampled(split: str, *index: int) -> dict[str, torch.Tensor]:
    return FAMILY.sample(split, torch.tensor(index)).params


def one_task(copies: int, split: str = "id") -> Tasks:
    return FAMILY.sample(split, torch.zeros(copies, dtype=torch.int64))


# --- names, shapes, refusals ------------------------------------------------------------------------------------------


def test_names() -> None:
    assert FAMILY.id == "tabular_mdp"
    assert TabularMdp(n=25).id == "tabular_mdp:n=25"


def test_a_trial_without_episodes_is_refused() -> None:
    with pytest.raises(UserError, match="needs n 1 or more; found 0"):
        TabularMdp(n=0)


def test_trials() -> None:
    assert FAMILY.trial("id") == Trial(10, 10)
    assert TabularMdp(n=25).trial("shift/horizon/4") == Trial(25, 40)


def test_parameters_hold_one_big_tensor_and_only_what_is_active() -> None:
    assert {name: tuple(value.shape) for name, value in sampled("id", 0, 1).items()} == {
        "transition": (2, 10, 5, 10),
        "reward_mean": (2, 10, 5),
    }
    assert sampled("shift/reward_noise/1", 0)["sd"].tolist() == [2.0]
    assert sampled("shift/reward_scale/1", 0)["factor"].tolist() == [pytest.approx(0.1)]


# --- exact identities -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", AXES)
def test_level_0_is_bitwise_the_id_split(axis: str) -> None:
    trained, level_0 = sampled("id", 0, 7, 1500), sampled(f"shift/{axis}/0", 0, 7, 1500)

    assert trained.keys() == level_0.keys()
    assert all(torch.equal(trained[name], level_0[name]) for name in trained)
    assert FAMILY.trial(f"shift/{axis}/0") == FAMILY.trial("id")


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("level", [1, 4])
def test_a_shift_moves_its_own_parameter_alone(axis: str, level: int) -> None:
    trained, shifted = sampled("id", 0, 7), sampled(f"shift/{axis}/{level}", 0, 7)

    assert torch.equal(trained["reward_mean"], shifted["reward_mean"])
    assert torch.equal(trained["transition"], shifted["transition"]) == (axis != "concentration")


@pytest.mark.parametrize("split", ["id", "shift/concentration/1", "shift/reward_sign/2"])
def test_a_task_alone_equals_the_task_in_a_batch_across_blocks(split: str) -> None:
    batch = FAMILY.sample(split, torch.arange(1100)).params

    for index in (0, 1023, 1024, 1099):
        for name, value in sampled(split, index).items():
            assert torch.equal(value[0], batch[name][index])


def test_streams_differ() -> None:
    assert not torch.equal(sampled("train", 0)["transition"], sampled("id", 0)["transition"])


@pytest.mark.parametrize("action", range(5))
def test_one_uniform_and_one_normal_are_shared_by_all_actions(action: int) -> None:
    tasks = FAMILY.sample("id", torch.arange(64))
    noise = Rows.of(0, torch.arange(64))
    state = torch.arange(64) % 10

    outcome = FAMILY.step(tasks, state, torch.full_like(state, action), noise)

    for row in range(64):
        p = tasks.params["transition"][row, row % 10, action].double().numpy()
        u = float(noise.at("next").uniform()[row])
        assert int(outcome.obs[row]) == np.searchsorted(p.cumsum() / p.sum(), u)
    mean = tasks.params["reward_mean"][torch.arange(64), state, action]
    assert torch.equal(outcome.reward, mean + noise.at("reward").normal())


def test_scale_and_sign_multiply_the_reward_that_id_pays() -> None:
    noise, state = Rows.of(0, torch.arange(64)), torch.arange(64) % 10

    def paid(split: str) -> torch.Tensor:
        return FAMILY.step(FAMILY.sample(split, torch.arange(64)), state, state % 5, noise).reward

    assert torch.equal(paid("shift/reward_scale/4"), 10 * paid("id"))
    assert torch.equal(paid("shift/reward_sign/4"), -paid("id"))


def test_reward_noise_widens_the_noise_that_id_draws() -> None:
    noise, state = Rows.of(0, torch.arange(64)), torch.arange(64) % 10
    mean = FAMILY.sample("id", torch.arange(64)).params["reward_mean"][
        torch.arange(64), state, state % 5
    ]

    tasks = FAMILY.sample("shift/reward_noise/2", torch.arange(64))
    reward = FAMILY.step(tasks, state, state % 5, noise).reward

    assert torch.equal(reward, mean + 3 * noise.at("reward").normal())


def test_more_negated_tasks_contain_the_fewer() -> None:
    fewer, more = (
        FAMILY.sample(f"shift/reward_sign/{level}", torch.arange(4000)).params["factor"]
        for level in (1, 2)
    )

    assert bool((more <= fewer).all())
    assert stats.binomtest(int((fewer < 0).sum()), 4000, 0.25).pvalue > LEAST_P


def test_episodes_end_by_time_alone() -> None:
    steps: list[Step] = []
    tasks = FAMILY.sample("id", torch.arange(8))

    play_episode(
        Random(FAMILY),
        FAMILY,
        tasks,
        torch.zeros(8, 0),
        TrialNoise.of(0, torch.arange(8)),
        episode=0,
        horizon=10,
        visit=lambda _t, step, _decision: steps.append(step),
    )

    assert steps[0].obs.tolist() == [0] * 8
    assert [bool(step.truncated.all()) for step in steps] == [False] * 9 + [True]
    assert not any(bool(step.terminated.any()) for step in steps)


# --- what regret is measured against ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "split", ["id", "shift/horizon/1", "shift/reward_sign/4", "shift/reward_scale/1"]
)
def test_optimal_return_is_float64_dynamic_programming(split: str) -> None:
    tasks, trial = FAMILY.sample(split, torch.arange(20)), FAMILY.trial(split)
    p = tasks.params["transition"].double()
    r = (
        tasks.params["reward_mean"].double()
        * tasks.params.get("factor", torch.ones(20)).double()[:, None, None]
    )
    value = torch.zeros(20, 10, dtype=torch.float64)
    for _ in range(trial.horizon):
        value = (r + torch.einsum("bsat,bt->bsa", p, value)).amax(-1)

    torch.testing.assert_close(
        FAMILY.optimal_return(tasks, trial).double(), value[:, 0], rtol=1e-5, atol=1e-4
    )


def test_expected_reward_is_the_mean_over_noise() -> None:
    copies = 20_000
    tasks = one_task(copies, "shift/reward_scale/2")
    state, action = torch.full((copies,), 3), torch.full((copies,), 2)

    outcome = FAMILY.step(tasks, state, action, Rows.of(1, torch.arange(copies)))
    never = torch.zeros(copies, dtype=torch.bool)
    expected = FAMILY.expected_reward(
        tasks, Step(state, action, outcome.reward, outcome.obs, never, never)
    )

    assert torch.equal(expected, expected[:1].expand(copies))
    assert stats.ttest_1samp(outcome.reward.numpy(), float(expected[0])).pvalue > LEAST_P


# --- laws -------------------------------------------------------------------------------------------------------------


def test_mean_rewards_are_normal_1_1() -> None:
    means = FAMILY.sample("id", torch.arange(400)).params["reward_mean"]

    assert stats.kstest(means.flatten().numpy(), stats.norm(1, 1).cdf).pvalue > LEAST_P


@pytest.mark.parametrize(("level", "concentration"), [(0, 1.0), (1, 0.1), (3, 3.0)])
def test_transitions_are_dirichlet(level: int, concentration: float) -> None:
    """One component of a symmetric Dirichlet over ten is Beta(c, 9c), and a row sums to 1."""
    transition = FAMILY.sample(f"shift/concentration/{level}", torch.arange(100)).params[
        "transition"
    ]
    one_component = transition[..., 4].flatten().numpy()

    torch.testing.assert_close(transition.sum(-1), torch.ones(100, 10, 5))
    assert (
        stats.kstest(one_component, stats.beta(concentration, 9 * concentration).cdf).pvalue
        > LEAST_P
    )


def test_next_states_follow_the_transition_probabilities() -> None:
    copies = 20_000
    tasks = one_task(copies)
    state, action = torch.full((copies,), 2), torch.full((copies,), 1)

    arrived = FAMILY.step(tasks, state, action, Rows.of(2, torch.arange(copies))).obs
    p = tasks.params["transition"][0, 2, 1].double()

    assert (
        stats.chisquare(torch.bincount(arrived, minlength=10), copies * p / p.sum()).pvalue
        > LEAST_P
    )


def test_reward_noise_is_standard_normal() -> None:
    copies = 20_000
    tasks = one_task(copies)
    state, action = torch.full((copies,), 2), torch.full((copies,), 1)

    reward = FAMILY.step(tasks, state, action, Rows.of(3, torch.arange(copies))).reward

    centred = (reward - tasks.params["reward_mean"][:, 2, 1]).numpy()
    assert stats.kstest(centred, stats.norm.cdf).pvalue > LEAST_P


def test_the_random_agent_earns_100_in_10_episodes() -> None:
    """100 steps of mean reward 1 in expectation over tasks; the published row is 100.1."""
    n, total, square = evaluate(Random(FAMILY), FAMILY, Plan(trials=4000)).pooled("trial_return")
    mean = total / n

    assert abs(mean - 100.0) < 3 * ((square / n - mean**2) / n) ** 0.5
