"""Advantages over a trial against brute-force sums, with no cut at the ends of episodes."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
import torch

from bridge.maths.returns import ReturnScale, trial_advantages


def brute(reward, value, gamma, lam):
    """The definition, written as two nested sums."""
    steps = len(reward)
    after = [*value[1:].unbind(), torch.zeros_like(value[0])]
    delta = [reward[t] + gamma * after[t] - value[t] for t in range(steps)]
    return torch.stack(
        [sum((gamma * lam) ** (s - t) * delta[s] for s in range(t, steps)) for t in range(steps)]
    )


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 1.0), (0.99, 0.3), (0.9, 0.0), (1.0, 0.95)])
def test_equals_its_definition(gamma, lam):
    torch.manual_seed(0)
    reward, value = torch.randn(12, 4, dtype=torch.float64), torch.randn(12, 4, dtype=torch.float64)
    torch.testing.assert_close(
        trial_advantages(reward, value, gamma=gamma, lam=lam), brute(reward, value, gamma, lam)
    )


def test_monte_carlo_is_the_rest_of_the_trial():
    """With lam = gamma = 1 the advantage is the reward of the whole rest of the trial less the value."""
    torch.manual_seed(0)
    reward, value = torch.randn(6, 3), torch.randn(6, 3)
    rest = reward.flip(0).cumsum(0).flip(0)
    torch.testing.assert_close(trial_advantages(reward, value, gamma=1.0, lam=1.0), rest - value)


def test_padding_is_the_end_of_a_trial():
    """Trials of 5, 2 and 3 steps beside one another have the advantages that each has alone."""
    torch.manual_seed(0)
    trials = [(torch.randn(n, 1), torch.randn(n, 1)) for n in (5, 2, 3)]
    reward, value = (
        torch.cat([torch.nn.functional.pad(part, (0, 0, 0, 5 - len(part))) for part in parts], 1)
        for parts in zip(*trials, strict=True)
    )
    found = trial_advantages(reward, value, gamma=0.9, lam=0.8)
    for b, alone in enumerate(trials):
        torch.testing.assert_close(found[: len(alone[0]), b : b + 1], brute(*alone, 0.9, 0.8))


def test_a_perfect_critic_leaves_no_advantage():
    reward = torch.tensor([[1.0], [2.0], [3.0]])
    value = reward.flip(0).cumsum(0).flip(0)
    assert trial_advantages(reward, value, gamma=1.0, lam=0.7).abs().max() < 1e-6


def test_return_scale_knows_mean_and_spread_of_each_step():
    torch.manual_seed(0)
    reward = torch.randn(5, 2000) + torch.arange(5.0)[:, None]
    scale = ReturnScale(5)
    scale.update(reward, torch.ones(5, 2000).bool(), gamma=0.9)
    returns = trial_advantages(reward, torch.zeros_like(reward), gamma=0.9, lam=1.0)
    score = scale.to_score(returns)
    torch.testing.assert_close(score.mean(1), torch.zeros(5), atol=1e-5, rtol=0)
    torch.testing.assert_close(score.square().mean(), torch.tensor(1.0), atol=1e-4, rtol=0)
    torch.testing.assert_close(scale.to_return(score), returns, atol=1e-4, rtol=0)


def test_return_scale_follows_slowly_and_forgets_its_start():
    """After a first batch of mean 10 come many of mean 0: the memory of the first fades by the given factor."""
    scale = ReturnScale(1, memory=0.5)
    reward, live = torch.zeros(1, 4), torch.ones(1, 4).bool()
    scale.update(reward + 10, live, gamma=1.0)
    assert scale.mean.item() == 10.0
    seen = []
    for _ in range(4):
        scale.update(reward, live, gamma=1.0)
        seen.append(scale.mean.item())
    assert seen == [5.0, 2.5, 1.25, 0.625]


def test_return_scale_asks_only_trials_that_reach_a_step():
    """Trials of 3, 1 and 2 steps that pay 1 a step have returns 3 2 1, 1, 2 1; none of the first update has a third."""
    length = torch.tensor([3, 1, 2])
    live = torch.arange(3)[:, None] < length
    scale = ReturnScale(4, memory=0.5)
    scale.update(live[:2, 1:].float(), live[:2, 1:], gamma=1.0)
    assert scale.mean.flatten().tolist() == [1.5, 1, 0, 0]
    assert scale.square.item() == pytest.approx(0.5 / 3)
    scale.update(live.float(), live, gamma=1.0)
    assert scale.mean.flatten().tolist() == [
        1.75,
        1.25,
        1,
        0,
    ]  # halfway to 2 and to 1.5; at once to the first 1
    squares = sum(x * x for x in (1.25, -0.75, 0.25, 0.75, -0.25, 0))
    assert scale.square.item() == pytest.approx((0.5 / 3 + squares / 6) / 2)
    assert scale.updates.flatten().tolist() == [2, 2, 1, 0]


def test_return_scale_of_workers_is_that_of_all_their_trials():
    """Trials of 4, 2, 1 steps here and of 3, 3, 2 steps there, where nobody waits for a fourth step."""
    torch.manual_seed(0)
    live = torch.arange(4)[:, None] < torch.tensor([4, 2, 1, 3, 3, 2])
    reward = torch.randn(4, 6).where(live, 0.0)
    whole, here, there = ReturnScale(5), ReturnScale(5), ReturnScale(5)
    whole.update(reward, live, gamma=0.9)
    with ThreadPoolExecutor(1) as pool:
        meeting, told = Barrier(2, timeout=10), {}

        def learn(scale, *trials):
            def average(mine):
                meeting.wait()
                told[scale] = mine
                meeting.wait()
                return (told[here] + told[there]) / 2

            scale.update(*trials, gamma=0.9, average=average)

        first = pool.submit(learn, here, reward[:, :3], live[:, :3])
        learn(there, reward[:3, 3:], live[:3, 3:])
        first.result()
    for part in (here, there):
        torch.testing.assert_close(part.state_dict(), whole.state_dict())
