"""Advantages over a trial against brute-force sums, with no cut at the ends of episodes."""

import pytest
import torch

from bridge.maths.returns import trial_advantages


def brute(reward, value, gamma, lam):
    """The definition, written as two nested sums."""
    steps = len(reward)
    after = [*value[1:].unbind(), torch.zeros_like(value[0])]
    delta = [reward[t] + gamma * after[t] - value[t] for t in range(steps)]
    return torch.stack([sum((gamma * lam) ** (s - t) * delta[s] for s in range(t, steps)) for t in range(steps)])


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 1.0), (0.99, 0.3), (0.9, 0.0), (1.0, 0.95)])
def test_equals_its_definition(gamma, lam):
    torch.manual_seed(0)
    reward, value = torch.randn(12, 4, dtype=torch.float64), torch.randn(12, 4, dtype=torch.float64)
    torch.testing.assert_close(trial_advantages(reward, value, gamma=gamma, lam=lam), brute(reward, value, gamma, lam))


def test_monte_carlo_is_the_rest_of_the_trial():
    """With lam = gamma = 1 the advantage is the reward of the whole rest of the trial less the value."""
    torch.manual_seed(0)
    reward, value = torch.randn(6, 3), torch.randn(6, 3)
    rest = reward.flip(0).cumsum(0).flip(0)
    torch.testing.assert_close(trial_advantages(reward, value, gamma=1.0, lam=1.0), rest - value)


def test_a_perfect_critic_leaves_no_advantage():
    reward = torch.tensor([[1.0], [2.0], [3.0]])
    value = reward.flip(0).cumsum(0).flip(0)
    assert trial_advantages(reward, value, gamma=1.0, lam=0.7).abs().max() < 1e-6
