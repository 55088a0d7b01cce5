"""RL² (Duan et al. 2016, arXiv 1611.02779; Wang et al. 2016, arXiv 1611.05763): a recurrent policy learns to learn.

    hidden_t = RNN(obs_t, action_{t-1}, reward_{t-1}, end_{t-1}; hidden_{t-1}),    action_t ~ policy(hidden_t)

The hidden state lives through a trial of several episodes on one task and is cleared between trials, so that it must
come to hold which task this is. Trained by PPO (Schulman et al. 2017) on the return of the whole trial.

Deviations from the paper:
 1. PPO with clipped ratios instead of TRPO.
 2. Action, reward and end before the first step are all zero but the end, which is 1 (the original: a default action).
 3. Advantages are not cut at the ends of episodes (the trial's return is the objective) and are standardised over a
 batch.
 4. The critic shares the recurrence by default, and may be told the task in training (``critic="task"``); the policy
 never. Advantages are then computed from mean rewards, which have the same expectation and less noise.
 5. The policy may have a layer that sees the observation again (``policy_hidden``): looking up what is known of *this*
 state is then no longer the recurrence's work.
 6. The critic predicts returns as standard scores, with a mean for each live step of the trial.
 7. The learning rate falls linearly to zero over the budget, and so does the entropy bonus.
 8. Trials may be cut to fewer episodes in training (``episodes``); the agent is then played on whole ones.

A trial is its live steps (``bridge/training/rollouts.py``), all of which weigh the same
(``bridge/maths/trial_ppo.py``). Hidden states are recomputed from the start of the trial in every epoch: stored ones
would be stale after the first step.

Shape letters: T steps of a trial, B trials, A actions, S state size, F task features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from bridge import memory as tree
from bridge import spaces
from bridge.config import Bounded, Width
from bridge.protocol import Card, Clues, Decision, Step, Trial
from bridge.rng import Rows
from bridge.tasks.base import Box, Discrete, TaskFamily
from bridge.test_time.trial_buffer import TrialBuffer
from bridge.training import trial_ppo
from bridge.training.learner import trained_card
from bridge.training.rollouts import Batch
from bridge.training.search_space import LogUniform, Space
from bridge.training.trial_ppo import Evaluation, PpoConfig, TrialPpoLearner
from rl_algos.nets import CORES


@dataclass(frozen=True, kw_only=True)
class NetworkConfig(Bounded):
    """Size and kind of the network."""

    core: Literal["gru", "lstm", "linear"] = "gru"
    """The recurrence."""
    hidden: Width = 64
    """Hidden units of the recurrence, and of the critic's layer."""
    policy_hidden: Width = 0
    """Units of a layer between the recurrence and the actions, which reads the observation too; 0: no such layer."""


@dataclass(frozen=True, kw_only=True)
class Config(PpoConfig, NetworkConfig):
    """Network and training of RL²."""

    display_name: ClassVar[str] = "RL²"

    lr: float = 5e-3
    max_grad_norm: float = 5.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_numbers("1 or more", "hidden")
        self.check_numbers("0 or more", "policy_hidden")


SPACE: Space = {"lr": LogUniform(5e-4, 1e-2), **trial_ppo.SPACE}
"""Search space: neither the size of the network nor the critic's input, which make other methods."""


class Memory(NamedTuple):
    """Everything RL² knows of its task: the state of its recurrence and the last step."""

    state: Float[Tensor, "B S"]
    action: Tensor
    reward: Float[Tensor, " B"]
    end: Float[Tensor, " B"]


class Policy(nn.Module):
    """Hidden state to what an action distribution is made of, small at first so that play starts out random."""

    def __init__(self, config: NetworkConfig, observation: int, actions: int) -> None:
        super().__init__()
        self.middle = (
            nn.Linear(config.hidden + observation, config.policy_hidden)
            if config.policy_hidden
            else None
        )
        if self.middle:
            nn.init.orthogonal_(self.middle.weight, 2**0.5)
        self.last = nn.Linear(config.policy_hidden or config.hidden, actions)
        nn.init.zeros_(self.last.bias)
        nn.init.orthogonal_(self.last.weight, 0.01)

    def forward(
        self, hidden: Float[Tensor, "*batch H"], obs: Float[Tensor, "*batch O"]
    ) -> Float[Tensor, "*batch A"]:
        return self.last(
            self.middle(torch.cat([hidden, obs], -1)).relu() if self.middle else hidden
        )


class Network(nn.Module):
    """Token in, action distribution and value out."""

    def __init__(
        self, family: TaskFamily, config: NetworkConfig, span: int, task_features: int = 0
    ) -> None:
        super().__init__()
        self.observation, self.space = family.observation, family.action
        self.actions = spaces.actions(self.space)
        inputs = spaces.width(self.observation) + spaces.width(self.space) + 2
        self.core = CORES[config.core](inputs, config.hidden, span)
        self.policy = Policy(config, spaces.width(self.observation), self.actions.outputs)
        critic_inputs = config.hidden + task_features
        self.value = nn.Sequential(
            nn.Linear(critic_inputs, config.hidden), nn.ReLU(), nn.Linear(config.hidden, 1)
        )

    def token(
        self, obs: Tensor, action: Tensor, reward: Tensor, end: Tensor
    ) -> Float[Tensor, "*batch D"]:
        """What the recurrence reads: this observation with the last action, reward and end."""
        seen, done = spaces.features(obs, self.observation), spaces.features(action, self.space)
        return torch.cat([seen, done, reward[..., None], end[..., None]], -1)

    def act(self, hidden: Float[Tensor, "*batch H"], obs: Tensor) -> Float[Tensor, "*batch A"]:
        """What the distribution of the next action is made of, at a hidden state that has read this observation."""
        return self.policy(hidden, spaces.features(obs, self.observation))


class Rl2(nn.Module):
    """The frozen agent."""

    policy_modules: ClassVar[tuple[str, ...]] = ("core", "policy")

    def __init__(self, network: Network, card: Card) -> None:
        super().__init__()
        self.network, self.card = network, card

    def start(self, clues: Clues, trial: Trial, rng: Rows) -> Memory:
        zeros = torch.zeros(len(rng), device=rng.device)
        state = torch.zeros(len(rng), self.network.core.state_size, device=rng.device)
        return Memory(
            state, spaces.nothing_yet(self.network.space, rng), zeros, torch.ones_like(zeros)
        )

    def begin(self, memory: Memory, rng: Rows, *, episode: int) -> Memory:
        return memory

    def act(self, memory: Memory, obs: Tensor, rng: Rows, *, explore: bool) -> Decision:
        state = self._read(memory, obs)
        out = self.network.act(state[:, : self.network.core.output_size], obs)
        return self.network.actions.decide(
            out, rng if explore else None, self.card.temperature
        )._replace(carry=state)

    def observe(self, memory: Memory, step: Step, carry: Any = None) -> Memory:
        state = self._read(memory, step.obs) if carry is None else carry
        end = (step.terminated | step.truncated).to(step.reward.dtype)
        return tree.where(step.live, Memory(state, step.action, step.reward, end), memory)

    def adapt(self, memory: Memory, rng: Rows, *, episode: int, last: bool) -> Memory:
        return memory

    @property
    def observation(self) -> Discrete | Box:
        """The space of observations."""
        return self.network.observation

    @property
    def action(self) -> Discrete | Box:
        """The space of actions."""
        return self.network.space

    @property
    def actions(self) -> spaces.Actions:
        """The distributions of actions."""
        return self.network.actions

    def policy_outputs(self, memory: Memory, lived: TrialBuffer) -> Float[Tensor, "B E H A"]:
        """The policy's output at every step of a trial, read from its start, a step at a time; differentiable."""
        steps, network = lived.packed(), self.network
        nothing = self.start(
            Clues(), Trial(1, 1), Rows(torch.zeros_like(memory.reward, dtype=torch.int64))
        )
        end, state = (steps.terminated | steps.truncated).to(steps.reward.dtype), nothing.state
        own, first = (steps.action, steps.reward, end), nothing[1:]
        before = (
            torch.cat([start[:, None], rows[:, :-1]], 1)
            for start, rows in zip(first, own, strict=True)
        )
        said = []
        for token, obs in zip(
            network.token(steps.obs, *before).unbind(1), steps.obs.unbind(1), strict=True
        ):
            state = network.core.step(token, state)
            said.append(network.act(state[:, : network.core.output_size], obs))
        return lived.unpacked(torch.stack(said, 1))

    def _read(self, memory: Memory, obs: Tensor) -> Float[Tensor, "B S"]:
        token = self.network.token(obs, memory.action, memory.reward, memory.end)
        return self.network.core.step(token, memory.state)


class Rl2Learner(TrialPpoLearner):
    """PPO on trials."""

    checkpointed = ("network", "scale", "optimizer")
    noise_name = "rl2"
    config: Config

    def _build(self, task_features: int) -> list[nn.Parameter]:
        steps = self.trial.episodes * self.trial.horizon
        self.network = Network(self.family, self.config, steps, task_features)
        self.network.to(self.workers.device)
        return list(self.network.parameters())

    def _evaluate(self, batch: Batch) -> Evaluation:
        """Hidden states are recomputed in float32 whatever the precision of the rest: errors of a recurrence add up."""
        nobody = Rows(torch.zeros_like(batch.reward[0], dtype=torch.int64))
        start = self.agent().start(Clues(), self.trial, nobody)
        tokens = self.network.token(batch.obs, *batch.before(*start[1:]))
        hidden = self.network.core.unroll(tokens, start.state)
        critic_input = [hidden]
        if self.config.critic == "task":
            critic_input.append(batch.task.expand(len(hidden), -1, -1))
        with self.workers.autocast():
            out = self.network.act(hidden, batch.obs)
            score = self.network.value(torch.cat(critic_input, -1)).squeeze(-1)
        log_prob, entropy = self.network.actions.log_prob_and_entropy(out.float(), batch.action)
        return Evaluation(log_prob, entropy, score.float())

    def agent(self) -> Rl2:
        card = trained_card("rl2", self.learned, supervision=self.config.supervision)
        return Rl2(self.network, card)
