"""Advantages over a trial against brute-force sums, with no cut at the ends of episodes."""

import pytest
import torch

from bridge.maths.returns import ReturnScale, trial_advantages


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


def test_return_scale_knows_mean_and_spread_of_each_step():
    torch.manual_seed(0)
    reward = torch.randn(5, 2000) + torch.arange(5.0)[:, None]
    scale = ReturnScale(5)
    scale.update(reward, gamma=0.9)
    returns = trial_advantages(reward, torch.zeros_like(reward), gamma=0.9, lam=1.0)
    score = scale.to_score(returns)
    torch.testing.assert_close(score.mean(1), torch.zeros(5), atol=1e-5, rtol=0)
    torch.testing.assert_close(score.square().mean(), torch.tensor(1.0), atol=1e-4, rtol=0)
    torch.testing.assert_close(scale.to_return(score), returns, atol=1e-4, rtol=0)


def test_return_scale_follows_slowly_and_forgets_its_start():
    """After a first batch of mean 10 come many of mean 0: the memory of the first fades by the given factor."""
    scale = ReturnScale(1, memory=0.5)
    scale.update(torch.full((1, 4), 10.0), gamma=1.0)
    assert scale.mean.item() == 10.0
    seen = []
    for _ in range(4):
        scale.update(torch.zeros(1, 4), gamma=1.0)
        seen.append(scale.mean.item())
    assert seen == [5.0, 2.5, 1.25, 0.625]


def test_return_scale_of_workers_is_that_of_all_their_trials():
    torch.manual_seed(0)
    reward = torch.randn(4, 6)
    whole, part = ReturnScale(4), ReturnScale(4)
    whole.update(reward, gamma=1.0)
    returns = trial_advantages(reward, torch.zeros_like(reward), gamma=1.0, lam=1.0)
    exchanged = iter([returns.mean(1, keepdim=True), (returns - returns.mean(1, keepdim=True)).square().mean()])
    part.update(reward[:, :3], gamma=1.0, average=lambda _mine: next(exchanged))
    torch.testing.assert_close(part.mean, whole.mean)
    torch.testing.assert_close(part.square, whole.square)
