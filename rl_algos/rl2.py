"""RL² (Duan et al. 2016, arXiv 1611.02779; Wang et al. 2016, arXiv 1611.05763): a recurrent policy learns to learn.

    hidden_t = RNN(obs_t, action_{t-1}, reward_{t-1}, end_{t-1}; hidden_{t-1}),    action_t ~ policy(hidden_t)

The hidden state is kept through a trial of several episodes on one task and cleared between trials, so that it has to
represent the task. It is trained by PPO (Schulman et al. 2017) on the return of the whole trial, by the learner in
``bridge/training/trial_ppo.py``.

Deviations from the paper:
 1. PPO with clipped ratios instead of TRPO.
 2. Before the first step action and reward are zero and the end is 1 (the original: a default action).
 3. Advantages are not cut at the ends of episodes (the trial's return is the objective) and are standardised over a
    batch.
 4. The critic shares the recurrence by default, and may be given the task in training (``critic="task"``); the policy
    never is. Advantages are then computed from mean rewards, which have the same expectation and less noise.
 5. The policy may have a layer that reads the observation again (``policy_hidden``), so that the recurrence need not
    look up what is known of *this* state.
 6. The critic predicts returns as standard scores, with a mean for each live step of the trial.
 7. The learning rate falls linearly to zero over the budget, and so does the entropy bonus.
 8. Trials may be cut to fewer episodes in training (``episodes``); the agent is then evaluated on whole ones.

A trial is its live steps (``bridge/training/rollouts.py``), all of which have the same weight
(``bridge/maths/trial_ppo.py``). Hidden states are recomputed from the start of the trial in every epoch: stored ones
would be stale after the first gradient step.

Shape letters: T steps of a trial, B trials, A actions, S state size, F task features, D features of a token.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from bridge import memory as tree
from bridge import spaces
from bridge.config import Bounded, Positive, Width, WidthOrZero
from bridge.idle import Idle
from bridge.protocol import Card, Clues, Decision, Step, Trial
from bridge.rng import Rows
from bridge.tasks.base import TaskFamily
from bridge.test_time.trial_buffer import TrialBuffer
from bridge.training import trial_ppo
from bridge.training.learner import trained_card
from bridge.training.rollouts import Batch
from bridge.training.search_space import LogUniform, Space
from bridge.training.trial_ppo import Evaluation, PpoConfig, TrialPpoLearner
from bridge.transitions import before
from rl_algos.nets import CORES


@dataclass(frozen=True, kw_only=True)
class NetworkConfig(Bounded):
    """Size and kind of the network."""

    core: Literal["gru", "lstm", "linear"] = "gru"
    """The recurrence."""
    hidden: Width = 64
    """Hidden units of the recurrence, and of the critic's layer."""
    policy_hidden: WidthOrZero = 0
    """Units of a layer between the recurrence and the actions, which reads the observation too; 0: no such layer."""


@dataclass(frozen=True, kw_only=True)
class Config(PpoConfig, NetworkConfig):
    """Network and training of RL²."""

    display_name: ClassVar[str] = "RL²"

    lr: Positive = 5e-3
    max_grad_norm: Positive = 5.0


SPACE: Space = {"lr": LogUniform(5e-4, 1e-2), **trial_ppo.SPACE}
"""Search space: neither the size of the network nor the critic's input, which make other methods."""


class Memory(NamedTuple):
    """The state of the recurrence, and what the next token needs of the last step."""

    state: Float[Tensor, "B S"]
    action: Tensor
    reward: Float[Tensor, " B"]
    end: Float[Tensor, " B"]
    """1 if the last step ended its episode, and before the first step."""


class Policy(nn.Module):
    """From a hidden state to distribution parameters, small at first so that play starts out random."""

    def __init__(self, config: NetworkConfig, observation: int, actions: int) -> None:
        super().__init__()
        self.middle = None
        if config.policy_hidden:
            self.middle = nn.Linear(config.hidden + observation, config.policy_hidden)
            nn.init.orthogonal_(self.middle.weight, 2**0.5)
        self.last = nn.Linear(config.policy_hidden or config.hidden, actions)
        nn.init.zeros_(self.last.bias)
        nn.init.orthogonal_(self.last.weight, 0.01)

    def forward(
        self, hidden: Float[Tensor, "*batch H"], obs: Float[Tensor, "*batch O"]
    ) -> Float[Tensor, "*batch A"]:
        if self.middle is not None:
            hidden = self.middle(torch.cat([hidden, obs], -1)).relu()
        return self.last(hidden)


class Network(nn.Module):
    """From tokens to distribution parameters and values.

    Args:
        family: for its spaces.
        config: kind and sizes.
        span: most steps of a trial.
        task_features: F, numbers that describe the task to the critic; 0: it does not see the task.
    """

    def __init__(
        self, family: TaskFamily, config: NetworkConfig, span: int, task_features: int = 0
    ) -> None:
        super().__init__()
        self.observation, self.action = family.observation, family.action
        self.actions = spaces.actions(self.action)
        inputs = spaces.width(self.observation) + spaces.width(self.action) + 2
        self.core = CORES[config.core](inputs, config.hidden, span)
        self.policy = Policy(config, spaces.width(self.observation), self.actions.outputs)
        critic_inputs = config.hidden + task_features
        self.value = nn.Sequential(
            nn.Linear(critic_inputs, config.hidden), nn.ReLU(), nn.Linear(config.hidden, 1)
        )

    def token(
        self, obs: Tensor, action: Tensor, reward: Tensor, end: Tensor
    ) -> Float[Tensor, "*batch D"]:
        """The input of the recurrence: this observation, and the last action, reward and end."""
        observed = spaces.features(obs, self.observation)
        done = spaces.features(action, self.action)
        return torch.cat([observed, done, reward[..., None], end[..., None]], -1)

    def tokens(
        self, steps: TrialBuffer | Batch, first: Memory, dim: int
    ) -> Float[Tensor, "*batch D"]:
        """The inputs at consecutive steps, which lie along ``dim``; ``first`` is the memory before them all."""
        last = before((steps.action, steps.reward, steps.end), first[1:], dim)
        return self.token(steps.obs, *last)

    def act(self, state: Float[Tensor, "*batch S"], obs: Tensor) -> Float[Tensor, "*batch A"]:
        """The parameters of the distribution of the next action, given a state that has read this observation."""
        hidden = state[..., : self.core.output_size]
        return self.policy(hidden, spaces.features(obs, self.observation))


class Rl2(Idle, nn.Module):
    """The frozen agent."""

    policy_modules: ClassVar[tuple[str, ...]] = ("core", "policy")

    def __init__(self, network: Network, card: Card) -> None:
        super().__init__()
        self.network, self.card = network, card
        self.observation, self.action = network.observation, network.action
        self.actions = network.actions

    def start(self, clues: Clues, trial: Trial, rng: Rows) -> Memory:
        zeros = torch.zeros(len(rng), device=rng.device)
        state = torch.zeros(len(rng), self.network.core.state_size, device=rng.device)
        return Memory(state, spaces.nothing_yet(self.action, rng), zeros, torch.ones_like(zeros))

    def act(self, memory: Memory, obs: Tensor, rng: Rows, *, explore: bool) -> Decision:
        state = self._read(memory, obs)
        out = self.network.act(state, obs)
        decision = self.actions.decide(out, rng if explore else None, self.card.temperature)
        return decision._replace(carry=state)

    def observe(self, memory: Memory, step: Step, carry: Any = None) -> Memory:
        state = self._read(memory, step.obs) if carry is None else carry
        return tree.where(step.live, Memory(state, step.action, step.reward, step.end), memory)

    def represent(self, memory: Memory, obs: Tensor) -> Float[Tensor, "B D"]:
        """The hidden state that has read this observation."""
        return self._read(memory, obs)[..., : self.network.core.output_size]

    def policy_outputs(self, memory: Memory, buffer: TrialBuffer) -> Float[Tensor, "B E H A"]:
        """The policy's output at every step of a trial, recomputed from its start step by step; differentiable."""
        steps, network = buffer.packed(), self.network
        rows = Rows.without_draws(memory.reward)
        first = self.start(Clues(), Trial(1, 1), rows)
        tokens, state, outputs = network.tokens(steps, first, 1), first.state, []
        for token, obs in zip(tokens.unbind(1), steps.obs.unbind(1), strict=True):
            state = network.core.step(token, state)
            outputs.append(network.act(state, obs))
        return buffer.unpacked(torch.stack(outputs, 1))

    def _read(self, memory: Memory, obs: Tensor) -> Float[Tensor, "B S"]:
        """The state after one more token."""
        token = self.network.token(obs, memory.action, memory.reward, memory.end)
        return self.network.core.step(token, memory.state)


class Rl2Learner(TrialPpoLearner):
    """PPO on trials."""

    checkpointed = ("network", "scale", "optimizer")
    playing = ("network",)
    noise_name = "rl2"
    config: Config

    def _networks(self, task_features: int) -> list[nn.Parameter]:
        steps = self.trial.episodes * self.trial.horizon
        self.network = Network(self.family, self.config, steps, task_features)
        self.network.to(self.workers.device)
        return list(self.network.parameters())

    def _evaluate(self, batch: Batch) -> Evaluation:
        """Hidden states are computed in float32 whatever the precision of the rest: errors of a recurrence add up."""
        rows = Rows.without_draws(batch.reward[0])
        start = self.agent().start(Clues(), self.trial, rows)
        tokens = self.network.tokens(batch, start, 0)
        hidden = self.network.core.unroll(tokens, start.state)
        with self.workers.autocast():
            out = self.network.act(hidden, batch.obs)
            score = self.network.value(self._critic_input(hidden, batch)).squeeze(-1)
        log_prob, entropy = self.network.actions.log_prob_and_entropy(out.float(), batch.action)
        return Evaluation(log_prob, entropy, score.float())

    def agent(self) -> Rl2:
        card = trained_card("rl2", self.learned, supervision=self.config.supervision)
        return Rl2(self.network, card)
