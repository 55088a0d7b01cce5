"""Baselines against plain loops and exact fits."""

import numpy as np
import pytest
import torch

from bridge.maths.baselines import episode_advantages, standardised
from bridge.rng import Rows

N, E, H = 3, 6, 5


def draws(name: str, *shape: int) -> torch.Tensor:
    return Rows.of(name, torch.arange(N)).normal(*shape, dtype=torch.float64)


def some_episodes() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Rewards, observations, and which steps were lived: episodes of two to five steps."""
    live = torch.arange(H) < 2 + Rows.of("length", torch.arange(N)).integers(4, E)[..., None]
    return draws("reward", E, H) * live, draws("obs", E, H, 2), live


@pytest.mark.parametrize("lam", [0.0, 0.6, 1.0])
def test_the_mean_at_each_time_by_loops(lam):
    reward, obs, live = some_episodes()
    found = episode_advantages(reward, obs, live, gamma=0.9, lam=lam, baseline="time")
    for n in range(N):
        to_go = np.zeros((E, H))
        for e in range(E):
            for t in range(H):
                to_go[e, t] = sum(0.9 ** (u - t) * float(reward[n, e, u]) for u in range(t, H))
        lived = live[n].numpy()
        mean = [to_go[lived[:, t], t].mean() if lived[:, t].any() else 0.0 for t in range(H)]
        for e in range(E):
            last = int(lived[e].sum())
            for t in range(H):
                expected = 0.0
                for u in range(t, last):
                    after = mean[u + 1] if u + 1 < last else 0.0
                    expected += (0.9 * lam) ** (u - t) * (
                        float(reward[n, e, u]) + 0.9 * after - mean[u]
                    )
                assert found[n, e, t] == pytest.approx(expected, abs=1e-12)


def test_returns_that_are_linear_in_the_features_leave_no_advantage():
    """Each task has weights of its own; with lam 1 and gamma 0 the return is the reward."""
    _, obs, live = some_episodes()
    weight = draws("weight", 2)
    reward = (
        (obs * weight[:, None, None]).sum(-1) + obs[..., 0] ** 2 + 3 + torch.linspace(0, 1, H) ** 2
    ) * live
    advantage = episode_advantages(reward, obs, live, gamma=0.0, lam=1.0, baseline="linear")
    assert advantage.abs().max() < 1e-3
    assert (
        episode_advantages(reward, obs, live, gamma=0.0, lam=1.0, baseline="time").abs().max() > 0.1
    )


@pytest.mark.parametrize("baseline", ["linear", "time"])
def test_a_task_is_judged_by_its_own_episodes(baseline):
    reward, obs, live = some_episodes()
    together = episode_advantages(reward, obs, live, gamma=0.9, lam=0.8, baseline=baseline)
    alone = episode_advantages(
        reward[1:2], obs[1:2], live[1:2], gamma=0.9, lam=0.8, baseline=baseline
    )
    torch.testing.assert_close(together[1:2], alone, atol=1e-9, rtol=0)


@pytest.mark.parametrize("baseline", ["linear", "time"])
def test_steps_not_lived_count_for_nothing(baseline):
    reward, obs, live = some_episodes()
    found = episode_advantages(reward, obs, live, gamma=0.9, lam=0.8, baseline=baseline)
    other = torch.where(live[..., None], obs, 100.0)
    again = episode_advantages(reward, other, live, gamma=0.9, lam=0.8, baseline=baseline)
    torch.testing.assert_close(found, again, atol=1e-9, rtol=0)
    assert (found[~live] == 0).all()


def test_standard_scores_of_the_steps_lived():
    advantage, _, live = some_episodes()
    advantage = (5 + 3 * advantage) * live
    found = standardised(advantage, live, (1, 2))
    for n in range(N):
        lived = advantage[n][live[n]].numpy()
        expected = (lived - lived.mean()) / lived.std()
        np.testing.assert_allclose(found[n][live[n]].numpy(), expected, atol=1e-4)
    assert (found[~live] == 0).all()
    assert (standardised(torch.full((1, 2), 7.0), torch.ones(1, 2).bool(), (0, 1)) == 0).all()


def test_powers_of_time_up_to_the_third_are_fitted():
    """With a fourth power something is left: five times are enough to tell."""
    _, obs, _ = some_episodes()
    live = torch.ones(N, E, H, dtype=torch.bool)
    time = torch.linspace(0, 1, H, dtype=torch.float64)
    for power, fitted in ((1, True), (2, True), (3, True), (4, False)):
        reward = (time**power).expand(N, E, H)
        left = (
            episode_advantages(reward, obs, live, gamma=0.0, lam=1.0, baseline="linear").abs().max()
        )
        assert (left < 1e-3) == fitted


def test_episodes_seen_twice_are_fitted_as_if_seen_once():
    reward, obs, live = some_episodes()
    once = episode_advantages(reward, obs, live, gamma=0.9, lam=0.8, baseline="linear")
    twice = episode_advantages(
        *(torch.cat([part, part], 1) for part in (reward, obs, live)),
        gamma=0.9,
        lam=0.8,
        baseline="linear",
    )
    torch.testing.assert_close(twice, torch.cat([once, once], 1), atol=1e-12, rtol=0)


def test_observations_that_say_nothing_are_fitted_as_if_there_were_none():
    reward, obs, live = some_episodes()
    silent, none = (
        episode_advantages(reward, seen, live, gamma=0.9, lam=0.8, baseline="linear")
        for seen in (torch.zeros_like(obs), obs[..., :0])
    )
    torch.testing.assert_close(silent, none, atol=1e-6, rtol=0)


def test_what_steps_not_lived_would_have_earned_is_not_averaged():
    advantage, _, live = some_episodes()
    found = standardised(advantage, live, (1, 2))
    again = standardised(torch.where(live, advantage, 100.0), live, (1, 2))
    torch.testing.assert_close(found, again, atol=1e-12, rtol=0)
