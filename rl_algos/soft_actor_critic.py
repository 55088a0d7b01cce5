"""Soft actor-critic (Haarnoja et al. 2018, arXiv 1812.05905) with a condition as a further input, such as a latent.

    target    y = r + gamma (1 - terminated) V'(s', c),    V(s, c) = E_a[min_i Q_i(s, a, c)] + alpha H(pi(. | s, c))
    critics   (Q_i(s, a, c) - y)^2
    actor     alpha E_a[log pi(a | s, c)] - E_a[min_i Q_i(s, a, c)]

V' is computed by target networks that follow the critics slowly. The expectation over continuous actions is one sample,
through which gradients flow; over discrete ones it is a sum (Christodoulou 2019, arXiv 1910.07207). The temperature
alpha is learned so that the entropy reaches a target.

Losses are not reduced, one number a transition: methods average them in different ways. Methods also decide which
networks a loss trains: a loss that must not reach the condition is given a detached one.

Only ``terminated`` cuts the value of the next state; a time-out does not.

Shape letters: O observation features, F action features, C size of the condition, A outputs of the actor, D dimensions
of a continuous action, N rows.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from bridge import spaces
from bridge.rng import Rows
from bridge.tasks.base import Discrete, Space
from rl_algos.transitions import Transitions


class Ensemble(nn.Module):
    """Several networks of one shape, computed together.

    Args:
        sizes: of inputs, hidden layers and outputs.
        count: number of networks.
        last_gain: gain of the last layer's orthogonal weights; that of the others is the square root of two.
    """

    rows_at: ClassVar[int] = 1
    """Dimension of the output that corresponds to the rows of the input."""

    def __init__(self, sizes: tuple[int, ...], *, count: int = 1, last_gain: float = 1.0) -> None:
        super().__init__()
        gains = [2**0.5] * (len(sizes) - 2) + [last_gain]
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for (inputs, outputs), gain in zip(pairwise(sizes), gains, strict=True):
            weight = torch.stack(
                [nn.init.orthogonal_(torch.empty(inputs, outputs), gain) for _ in range(count)]
            )
            self.weights.append(nn.Parameter(weight))
            self.biases.append(nn.Parameter(torch.zeros(count, 1, outputs)))

    def forward(self, x: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "count *batch outputs"]:
        out = x.reshape(-1, x.shape[-1]).expand(len(self.weights[0]), -1, -1)
        last = len(self.weights) - 1
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            out = torch.baddbmm(bias, out, weight)
            if i < last:
                out = out.relu()
        return out.view(len(out), *x.shape[:-1], out.shape[-1])


class SoftActorCritic(nn.Module):
    """Actor, twin critics, their targets and a temperature.

    Args:
        observation: the space of observations.
        action: the space of actions.
        condition: C, size of the condition beside the observation (0: none).
        hidden: units of each hidden layer.
        layers: hidden layers of each network.
        temperature: its value at the start.
        actor_gain: gain of the actor's last layer. The larger, the more its initial means differ between conditions.
    """

    def __init__(
        self,
        observation: Space,
        action: Space,
        *,
        condition: int = 0,
        hidden: int = 128,
        layers: int = 2,
        temperature: float = 0.1,
        actor_gain: float = 0.01,
    ) -> None:
        super().__init__()
        self.actions = spaces.soft_actions(action)
        self.discrete = isinstance(action, Discrete)
        self.noise_width = 0 if isinstance(action, Discrete) else len(action.low)
        """D; 0 if actions are discrete."""
        inputs = spaces.width(observation) + condition
        between = (hidden,) * layers
        if self.discrete:
            critic_sizes = (inputs, *between, spaces.width(action))
        else:
            critic_sizes = (inputs + spaces.width(action), *between, 1)
        self.actor = Ensemble((inputs, *between, self.actions.outputs), last_gain=actor_gain)
        self.critic = Ensemble(critic_sizes, count=2)
        self.target = Ensemble(critic_sizes, count=2).requires_grad_(False)
        self.target.load_state_dict(self.critic.state_dict())
        self.log_temperature = nn.Parameter(torch.tensor([math.log(temperature)]))

    def policy(
        self, obs: Float[Tensor, "*batch O"], condition: Float[Tensor, "*batch C"]
    ) -> Float[Tensor, "*batch A"]:
        """The parameters of the distribution of actions."""
        return self.actor(torch.cat([obs, condition], -1))[0]

    def temperature(self) -> Float[Tensor, ""]:
        """alpha, without gradient."""
        return self.log_temperature.detach().exp()[0]

    def action_noise(self, rng: Rows, *shape: int) -> Float[Tensor, "B *shape D"]:
        """Standard normal noise from which continuous actions are made; D is 0 if actions are discrete."""
        return rng.normal(*shape, self.noise_width)

    def soft_value(
        self,
        critic: Ensemble,
        obs: Float[Tensor, "*batch O"],
        condition: Float[Tensor, "*batch C"],
        noise: Float[Tensor, "*batch D"],
    ) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
        """E_a[min_i Q_i] + alpha H and the entropy H, both estimated by one sample if actions are continuous.

        The entropy is in nats; that of continuous actions is relative to the box [-1, 1]. Gradients flow into the
        actor, the critic and the condition: step the actor's optimiser alone (``backward(inputs=...)``). ``noise`` is
        ``action_noise``.
        """
        out, alpha = self.policy(obs, condition), self.temperature()
        if isinstance(self.actions, spaces.Categorical):
            log_p = out.log_softmax(-1)
            p = log_p.exp()
            q = critic(torch.cat([obs, condition], -1)).amin(0)
            entropy = -(p * log_p).sum(-1)
            return (p * q).sum(-1) + alpha * entropy, entropy
        action, log_p = self.actions.draw(out, noise)
        features = spaces.features(action, self.actions.space)
        q = critic(torch.cat([obs, condition, features], -1)).squeeze(-1).amin(0)
        entropy = -log_p - self.actions.log_half_sides
        return q + alpha * entropy, entropy

    @torch.no_grad()
    def targets(
        self,
        batch: Transitions,
        condition: Float[Tensor, "*batch C"],
        noise: Float[Tensor, "*batch D"],
        gamma: float,
        mean: float | Float[Tensor, ""] = 0.0,
        scale: float | Float[Tensor, ""] = 1.0,
    ) -> Float[Tensor, "*batch"]:
        """y, the critics' targets, in units of ``batch.critic_reward``.

        Values are ``mean`` plus ``scale`` times what networks and temperature say.
        """
        value, _ = self.soft_value(self.target, batch.next_obs, condition, noise)
        value = mean + scale * value
        return batch.critic_reward + gamma * (1 - batch.terminated) * value

    def critic_loss(
        self,
        batch: Transitions,
        condition: Float[Tensor, "*batch C"],
        target: Float[Tensor, "*batch"],
    ) -> Float[Tensor, "*batch"]:
        """Squared errors, summed over the two critics; gradients reach the critics and the condition."""
        if self.discrete:
            q = (self.critic(torch.cat([batch.obs, condition], -1)) * batch.action).sum(-1)
        else:
            q = self.critic(torch.cat([batch.obs, condition, batch.action], -1)).squeeze(-1)
        return (q - target).square().sum(0)

    def temperature_loss(
        self, entropy: Float[Tensor, "*batch"], target: float
    ) -> Float[Tensor, "*batch"]:
        """A loss that decreases the temperature if the entropy is above its target, and increases it if below.

        The entropy is a constant in it.
        """
        return self.log_temperature[0] * (entropy.detach() - target)

    @torch.no_grad()
    def follow(self, share: float) -> None:
        """Move the targets ``share`` of the way to the critics."""
        for target, critic in zip(self.target.parameters(), self.critic.parameters(), strict=True):
            target.lerp_(critic, share)


def target_entropy(space: Space, *, share: float, per_side: float) -> float:
    """Target of the entropy: ``share`` of log A if actions are discrete, else ``per_side`` nats a dimension."""
    return share * math.log(space.n) if isinstance(space, Discrete) else per_side * len(space.low)
