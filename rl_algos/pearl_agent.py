"""The agent of PEARL (``rl_algos/pearl.py``): its networks, and a posterior over the latent as its memory.

Shape letters: B trials, D size of the latent, A distribution parameters.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from bridge import memory as tree
from bridge import spaces
from bridge.idle import Idle
from bridge.protocol import Card, Clues, Decision, Step, Trial
from bridge.rng import Rows
from bridge.tasks.base import TaskFamily
from bridge.test_time.trial_buffer import TrialBuffer
from bridge.transitions import stacked
from rl_algos.posterior import Encoder, Sums
from rl_algos.soft_actor_critic import SoftActorCritic
from rl_algos.transitions import Transitions, scaled


class Memory(NamedTuple):
    """PEARL's knowledge of its task: sums over all transitions so far, and the latent of this episode."""

    sums: Sums
    z: Float[Tensor, "B D"]


class Network(nn.Module):
    """Encoder, actor and critics.

    Args:
        family: for its spaces.
        latent: D.
        hidden: units of each hidden layer of actor and critics.
        encoder_hidden: units of each hidden layer of the encoder.
        temperature: weight of the entropy at the start.
        actor_gain: scale of the actor's last layer at the start.
    """

    largest: Tensor
    """Size of the largest reward seen in training."""
    largest_judged: Tensor
    """Size of the largest reward that critics have learned from. (Checkpoints have this name as a key.)"""
    variance: Tensor
    """Running variance of the critics' targets."""

    def __init__(
        self,
        family: TaskFamily,
        *,
        latent: int,
        hidden: int,
        encoder_hidden: int,
        temperature: float,
        actor_gain: float,
    ) -> None:
        super().__init__()
        self.observation, self.action, self.latent = family.observation, family.action, latent
        inputs = 2 * spaces.width(self.observation) + spaces.width(self.action) + 1
        self.encoder = Encoder(inputs, latent, encoder_hidden)
        self.soft = SoftActorCritic(
            self.observation,
            self.action,
            condition=latent,
            hidden=hidden,
            temperature=temperature,
            actor_gain=actor_gain,
        )
        self.register_buffer("largest", torch.zeros(()))
        self.register_buffer("largest_judged", torch.zeros(()))
        self.register_buffer("variance", torch.zeros(()))

    def factors(self, rows: Step | TrialBuffer | Transitions) -> Sums:
        """The factor of each transition."""
        seen = (spaces.features(obs, self.observation) for obs in (rows.obs, rows.next_obs))
        action = spaces.features(rows.action, self.action)
        reward = scaled(rows.reward, self.largest)
        return self.encoder(torch.cat([*seen, action, reward[..., None]], -1))

    def features(self, rows: Transitions) -> Transitions:
        """Transitions as inputs of actor and critics."""
        return rows.features(self.observation, self.action, self.largest_judged)

    def act(self, z: Float[Tensor, "*batch D"], obs: Tensor) -> Float[Tensor, "*batch A"]:
        """The parameters of the distribution of the next action."""
        return self.soft.policy(spaces.features(obs, self.observation), z)


class Pearl(Idle, nn.Module):
    """The frozen agent."""

    policy_modules: ClassVar[tuple[str, ...]] = ("soft.actor",)

    def __init__(self, network: Network, card: Card) -> None:
        super().__init__()
        self.network, self.card = network, card
        self.observation, self.action = network.observation, network.action
        self.actions: spaces.Actions = network.soft.actions

    def start(self, clues: Clues, trial: Trial, rng: Rows) -> Memory:
        *sums, z = torch.zeros(4, len(rng), self.network.latent, device=rng.device)
        return Memory(Sums(*sums), z)

    def begin(self, memory: Memory, rng: Rows, *, episode: int) -> Memory:
        """Draw a new latent from the posterior."""
        return memory._replace(z=memory.sums.posterior().draw(rng.normal(self.network.latent)))

    def act(self, memory: Memory, obs: Tensor, rng: Rows, *, explore: bool) -> Decision:
        out = self.network.act(memory.z, obs)
        return self.actions.decide(out, rng if explore else None, self.card.temperature)

    def observe(self, memory: Memory, step: Step, carry: Any = None) -> Memory:
        """Add the step's factor."""
        sums = memory.sums.plus(self.network.factors(step))
        return tree.where(step.live, memory._replace(sums=sums), memory)

    def absorb(self, memory: Memory, steps: list[Step]) -> Memory:
        """Add the factors of many steps, in one pass."""
        played = stacked(steps)
        factors = self.network.factors(played).total(played.live)
        return memory._replace(sums=memory.sums.plus(factors))

    def represent(self, memory: Memory, obs: Tensor) -> Float[Tensor, "B features"]:
        """The posterior's means and log-precisions."""
        posterior = memory.sums.posterior()
        return torch.cat([posterior.mean, posterior.precision.log()], -1)

    def misfit(self, memory: Memory) -> Float[Tensor, " B"]:
        """How far the factors of the transitions disagree about the latent."""
        return memory.sums.disagreement()

    def policy_outputs(self, memory: Memory, buffer: TrialBuffer) -> Float[Tensor, "B E H A"]:
        """The actor's output at every step, at the latent of the last episode."""
        z = memory.z[:, None, None].expand(*buffer.live.shape, -1)
        return self.network.act(z, buffer.obs)
