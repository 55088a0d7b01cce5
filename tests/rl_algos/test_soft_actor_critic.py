"""Soft actor-critic: its losses against enumeration, closed forms and the fixed point of soft Q iteration."""

import math

import pytest
import torch

from bridge.rng import Rows
from bridge.tasks.base import Box, Discrete
from rl_algos.soft_actor_critic import Ensemble, SoftActorCritic, target_entropy
from rl_algos.transitions import Transitions

THREE, BOX = Discrete(3), Box((-0.1, 2.0), (0.3, 10.0))


def made(
    action: Discrete | Box = THREE, *, condition: int = 2, seed: int = 0, **settings
) -> SoftActorCritic:
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(seed)
        soft = SoftActorCritic(
            Discrete(4), action, condition=condition, **{"hidden": 8, "actor_gain": 1.0} | settings
        )
        for p in soft.target.parameters():
            p.data += 0.1 * torch.randn_like(p)
    return soft


def inputs(n: int = 6, condition: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    rng = Rows.of(0, torch.arange(n))
    return torch.eye(4)[rng.at("s").integers(4)], rng.at("c").normal(condition)


def test_an_ensemble_is_its_members():
    with torch.random.fork_rng(devices=[]):
        nets = Ensemble((3, 5, 4, 2), count=2)
        x = torch.randn(6, 7, 3)
    found = nets(x)
    for i in range(2):
        h = x
        for layer, (weight, bias) in enumerate(zip(nets.weights, nets.biases, strict=True)):
            h = h @ weight[i] + bias[i]
            h = h.relu() if layer < 2 else h
        torch.testing.assert_close(found[i], h)
    assert not torch.allclose(found[0], found[1])


@torch.no_grad()
def test_discrete_soft_value_is_the_sum_over_actions():
    soft, (obs, condition) = made(temperature=0.3), inputs()
    noise = soft.action_noise(Rows.of(1, torch.arange(6)))
    assert noise.shape == (6, 0)
    value, entropy = soft.soft_value(soft.critic, obs, condition, noise)
    p = soft.policy(obs, condition).softmax(-1)
    for i in range(len(obs)):
        q = soft.critic(torch.cat([obs[i : i + 1], condition[i : i + 1]], -1))[:, 0]
        want = sum(p[i, a] * (min(q[0, a], q[1, a]) - 0.3 * math.log(p[i, a])) for a in range(3))
        torch.testing.assert_close(value[i], want)
        torch.testing.assert_close(entropy[i], -(p[i] * p[i].log()).sum())


def test_continuous_soft_value_is_the_least_critic_and_an_unbiased_entropy():
    soft, (obs, condition) = made(BOX), inputs(1)
    n = 20_000
    noise = soft.action_noise(Rows.of(1, torch.arange(n)))
    assert torch.equal(noise, Rows.of(1, torch.arange(n)).normal(2))
    obs, condition = obs.expand(n, -1), condition.expand(n, -1)
    soft.log_temperature.data.fill_(-math.inf)
    value, entropy = soft.soft_value(soft.critic, obs, condition, noise)
    out = soft.policy(obs, condition)
    action = soft.actions.draw(out, noise)[0]
    low, high = torch.tensor(BOX.low), torch.tensor(BOX.high)
    scaled = 2 * (action - low) / (high - low) - 1
    torch.testing.assert_close(
        value, soft.critic(torch.cat([obs, condition, scaled], -1))[..., 0].amin(0)
    )
    exact = (
        soft.actions.log_prob_and_entropy(out, action)[1][0] - math.log(0.2) - math.log(4.0)
    )  # relative to [-1, 1]
    assert (entropy.mean() - exact).abs() < 4 * entropy.std() / n**0.5
    soft.log_temperature.data.fill_(math.log(0.5))
    paid, _ = soft.soft_value(soft.critic, obs, condition, noise)
    torch.testing.assert_close(paid, value + 0.5 * entropy)


@pytest.mark.parametrize("action", [Discrete(3), BOX])
def test_terminations_cut_and_time_outs_do_not(action):
    """A time-out is a transition that did not terminate: its target holds the target critics' value of what follows."""
    soft, (obs, condition) = made(action, temperature=0.2), inputs(2)
    noise = soft.action_noise(Rows.of(1, torch.arange(2)))
    reward = torch.tensor([1.0, 2.0])
    end, own_reward = torch.tensor([0.0, 1.0]), torch.full((2,), 100.0)  # critics ignore this one
    batch = Transitions(obs, torch.zeros(2, 3), own_reward, obs.flip(0), end, reward)
    target = soft.targets(batch, condition, noise, 0.9)
    value, _ = soft.soft_value(soft.target, obs.flip(0), condition, noise)
    torch.testing.assert_close(target, torch.stack([1 + 0.9 * value[0], reward[1]]).detach())
    assert not target.requires_grad


@pytest.mark.parametrize("action", [Discrete(3), BOX])
def test_critic_loss_is_the_sum_of_both_squared_errors(action):
    soft, (obs, condition) = made(action), inputs()
    done = (
        torch.eye(3)[:2].repeat(3, 1)
        if isinstance(action, Discrete)
        else torch.linspace(-1, 1, 12).view(6, 2)
    )
    target = torch.linspace(-1, 1, 6)
    batch = Transitions(obs, done, target, obs, torch.zeros(6), target)
    condition = condition.requires_grad_()
    loss = soft.critic_loss(batch, condition, target)
    for i in range(6):
        seen = torch.cat([obs[i], condition[i]])[None]
        if isinstance(action, Discrete):
            q = soft.critic(seen)[:, 0, i % 2]
        else:
            q = soft.critic(torch.cat([seen, done[i : i + 1]], -1))[:, 0, 0]
        torch.testing.assert_close(loss[i], ((q - target[i]) ** 2).sum())
    loss.sum().backward()
    assert (condition.grad != 0).all(1).all()
    assert all(p.grad is None for part in (soft.actor, soft.target) for p in part.parameters())


def test_the_temperature_falls_where_the_entropy_is_above_its_aim():
    soft = made(temperature=0.5)
    entropy = torch.tensor([1.0, 0.2, 1.4], requires_grad=True)
    soft.temperature_loss(entropy, 0.7).sum().backward()
    torch.testing.assert_close(soft.log_temperature.grad, torch.tensor([0.5]))
    assert entropy.grad is None
    torch.testing.assert_close(soft.temperature(), torch.tensor(0.5))
    assert not soft.temperature().requires_grad


def test_targets_follow_by_a_share():
    soft = made()
    before = [p.clone() for p in soft.target.parameters()]
    soft.follow(0.25)
    for old, new, critic in zip(
        before, soft.target.parameters(), soft.critic.parameters(), strict=True
    ):
        torch.testing.assert_close(new, 0.75 * old + 0.25 * critic)


def test_target_entropies():
    assert target_entropy(Discrete(5), share=0.5, per_side=-1.0) == pytest.approx(0.5 * math.log(5))
    assert target_entropy(BOX, share=0.5, per_side=-1.5) == -3.0


def test_comes_to_the_fixed_point_of_soft_q_iteration():
    """Linear in one-hot states, the networks are tables, and the losses lead to the soft optimum.

    Q(s, a) = r + gamma (not ended) alpha log sum_a' exp(Q(s', a') / alpha).
    """
    arrival = torch.tensor([[1, 2], [2, 0], [3, 1], [3, 3]])
    reward = torch.tensor([[0.0, 0.3], [1.0, -0.5], [0.2, 0.0], [0.0, 0.7]])
    ended = torch.tensor([[0.0, 0.0], [0.0, 1.0], [0.0, 0.0], [1.0, 0.0]])
    gamma, alpha = 0.8, torch.tensor(0.4)
    q = torch.zeros(4, 2)
    for _ in range(200):
        q = reward + gamma * (1 - ended) * (alpha * (q / alpha).logsumexp(-1))[arrival]
    soft = made(Discrete(2), condition=0, layers=0, temperature=0.4)
    state, action = torch.arange(4).repeat_interleave(2), torch.arange(2).repeat(4)
    eye, none = torch.eye(4), torch.zeros(8, 0)
    batch = Transitions(
        obs=eye[state],
        action=torch.eye(2)[action],
        reward=reward.view(-1),
        next_obs=eye[arrival.view(-1)],
        terminated=ended.view(-1),
        critic_reward=reward.view(-1),
    )
    critics, actors = list(soft.critic.parameters()), list(soft.actor.parameters())
    optimizers = [torch.optim.Adam(group, lr=0.05) for group in (critics, actors)]
    for _ in range(600):
        target = soft.targets(batch, none, none, gamma)
        losses = (
            soft.critic_loss(batch, none, target),
            -soft.soft_value(soft.critic, batch.obs, none, none)[0],
        )
        for loss, optimizer, group in zip(losses, optimizers, (critics, actors), strict=True):
            optimizer.zero_grad()
            loss.mean().backward(inputs=group)
            optimizer.step()
        soft.follow(0.2)
    for found in soft.critic(torch.cat([eye, none[:4]], -1)):
        torch.testing.assert_close(found, q, atol=5e-3, rtol=0)
    found = soft.policy(eye, none[:4]).softmax(-1)
    torch.testing.assert_close(found, (q / alpha).softmax(-1), atol=5e-3, rtol=0)
