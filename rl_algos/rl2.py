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

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from bridge import memory as tree
from bridge import spaces
from bridge.config import Bounded, Width
from bridge.maths.returns import ReturnScale
from bridge.maths.trial_ppo import Losses, PpoTargets, losses, ppo_targets
from bridge.noise import TrialNoise
from bridge.protocol import Card, Clues, Decision, Step, Trial
from bridge.rng import Rows
from bridge.tasks.base import Box, Discrete, TaskFamily
from bridge.test_time.trial_buffer import TrialBuffer
from bridge.training.learner import CheckpointedLearner, seeded_init
from bridge.training.rollouts import Batch, play_trials, task_features
from bridge.training.search_space import Choice, LogUniform, Space
from bridge.training.workers import Workers
from rl_algos.nets import CORES


@dataclass(frozen=True, kw_only=True)
class Config(Bounded):
    """How RL² is built and trained."""

    display_name: ClassVar[str] = "RL²"

    core: Literal["gru", "lstm", "linear"] = "gru"
    """The recurrence."""
    hidden: Width = 64
    """Hidden units of the recurrence, and of the critic's layer."""
    policy_hidden: Width = 0
    """Units of a layer between the recurrence and the actions, which sees the observation too; 0: no such layer."""
    critic: Literal["history", "task"] = "history"
    """What the critic sees: the hidden state alone, or the task too (in training only): its parameters, and the mean of
    each reward in place of the reward."""
    episodes: int = 0
    """Train on trials cut to at most so many episodes; 0: whole ones."""
    steps_per_update: int = 10_000
    """Environment steps between updates, in whole trials, of which there is at least one a minibatch and process; fewer
    where episodes end early."""
    epochs: int = 4
    """Passes over each batch."""
    minibatches: int = 8
    """Parts that a batch of trials is cut into."""
    lr: float = 5e-3
    """Learning rate of Adam at the start."""
    clip: float = 0.2
    """How far a probability ratio may move before its gradient stops."""
    gamma: float = 1.0
    """Discount a step."""
    lam: float = 0.5
    """Trace of the generalised advantage."""
    entropy: float = 0.01
    """Weight of the entropy bonus at the start, in nats."""
    value_weight: float = 0.5
    """Weight of the critic's loss."""
    max_grad_norm: float = 5.0
    """Gradients are scaled down to this norm."""

    def __post_init__(self) -> None:
        self.check_numbers("1 or more", "hidden", "steps_per_update", "epochs", "minibatches")
        self.check_numbers("0 or more", "policy_hidden", "episodes", "entropy", "value_weight")
        self.check_numbers("above 0", "lr", "clip", "max_grad_norm")
        self.check_numbers("from 0 to 1", "gamma", "lam")


SPACE: Space = {
    "lr": LogUniform(5e-4, 1e-2),
    "gamma": Choice((0.95, 0.97, 0.99, 1.0)),
    "lam": Choice((0.3, 0.5, 0.8, 0.95)),
    "entropy": LogUniform(1e-3, 0.1),
    "steps_per_update": Choice((5_000, 10_000, 20_000, 40_000)),
    "minibatches": Choice((4, 8, 16)),
}
"""What is tuned: not the size of the network nor what the critic sees, which are other methods."""


class Memory(NamedTuple):
    """Everything RL² knows of its task: the state of its recurrence and the last step."""

    state: Float[Tensor, "B S"]
    action: Tensor
    reward: Float[Tensor, " B"]
    end: Float[Tensor, " B"]


class Policy(nn.Module):
    """Hidden state to what an action distribution is made of, small at first so that play starts out random."""

    def __init__(self, config: Config, observation: int, actions: int) -> None:
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
        self, family: TaskFamily, config: Config, span: int, task_features: int = 0
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


class Rl2Learner(CheckpointedLearner):
    """PPO on trials."""

    checkpointed = ("network", "scale", "optimizer")

    def __init__(
        self, family: TaskFamily, config: Config, *, seed: int, workers: Workers | None = None
    ) -> None:
        self.family, self.config, self.seed, self.workers = (
            family,
            config,
            seed,
            workers or Workers(),
        )
        whole = family.trial("train")
        self.trial = Trial(min(config.episodes or whole.episodes, whole.episodes), whole.horizon)
        span = self.trial.episodes * self.trial.horizon
        trials = config.steps_per_update // span
        self.trials = max(config.minibatches, trials // self.workers.count)  # of each worker
        features = (
            task_features(family.sample("train", torch.arange(1))).shape[1]
            if config.critic == "task"
            else 0
        )
        self.scale = ReturnScale(span).to(self.workers.device)
        with seeded_init(seed):
            self.network = Network(family, config, span, features).to(self.workers.device)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=config.lr, eps=1e-5)

    def update(self, spent: float = 0.0) -> Mapping[str, float]:
        """Play a batch of trials, then take ``epochs`` passes of clipped policy gradient over it."""
        config, left = self.config, max(0.0, 1 - spent)
        batch, _ = self._play()
        own = Rows.of(f"learn/rl2/{self.seed}", self.workers.rows(self.updates, self.trials))
        played = self.workers.total(batch.live.sum())
        targets = self._targets(batch, played / (self.trials * self.workers.count))
        for group in self.optimizer.param_groups:
            group["lr"] = config.lr * left
        bonus, sums = config.entropy * left, dict.fromkeys(Losses._fields, 0.0)
        for epoch in range(config.epochs):
            order = own.at("order", epoch).uniform().argsort()
            for rows in order.tensor_split(config.minibatches):
                part = batch.columns(rows)
                out, score = self._evaluate(part)
                log_prob, entropy = self.network.actions.log_prob_and_entropy(out, part.action)
                found = losses(log_prob, entropy, score, targets.columns(rows), clip=config.clip)
                loss = (
                    found.loss_policy
                    + config.value_weight * found.loss_value
                    - bonus * found.entropy
                )
                self.optimizer.zero_grad(set_to_none=True)
                loss.backward()
                self.workers.average_gradients(self.network.parameters())
                nn.utils.clip_grad_norm_(self.network.parameters(), config.max_grad_norm)
                self.optimizer.step()
                self.grad_steps += 1
                for name, number in found._asdict().items():
                    sums[name] += number.item()
        self.updates += 1
        self.env_steps += played
        steps = config.epochs * config.minibatches
        return {"trial_return": batch.reward.sum(0).mean().item()} | {
            key: total / steps for key, total in sums.items()
        }

    def _play(self) -> tuple[Batch, TrialNoise]:
        """A batch of trials, played by the agent itself, so that training and evaluation cannot differ; its noise."""
        noise = TrialNoise.of(
            f"train/rl2/{self.seed}", self.workers.rows(self.updates, self.trials)
        )
        return play_trials(
            self.agent(), self.family, self.trial, noise, means=self.config.critic == "task"
        ), noise

    @torch.no_grad()
    def _targets(self, batch: Batch, length: float) -> PpoTargets:
        """What the epochs hold fixed; ``length``: live steps of a trial, on average over all workers."""
        config, average = self.config, self.workers.mean
        self.scale.update(batch.critic_reward, batch.live, gamma=config.gamma, average=average)
        out, score = self._evaluate(batch)
        behaviour, _ = self.network.actions.log_prob_and_entropy(out, batch.action)
        return ppo_targets(
            behaviour,
            score,
            batch.critic_reward,
            batch.live,
            self.scale,
            length=length,
            gamma=config.gamma,
            lam=config.lam,
            average=average,
        )

    def _evaluate(self, batch: Batch) -> tuple[Tensor, Float[Tensor, "T B"]]:
        """The policy's output and the critic's standard score before every step.

        Hidden states are recomputed from the trial's start, in float32 whatever the precision of the rest: errors of a
        recurrence add up.
        """
        start = self.agent().start(
            Clues(), self.trial, Rows(torch.zeros_like(batch.reward[0], dtype=torch.int64))
        )
        hidden = self.network.core.unroll(
            self.network.token(batch.obs, *batch.before(*start[1:])), start.state
        )
        seen = [hidden]
        if self.config.critic == "task":
            seen.append(batch.task.expand(len(hidden), -1, -1))
        with self.workers.autocast():
            out, score = (
                self.network.act(hidden, batch.obs),
                self.network.value(torch.cat(seen, -1)).squeeze(-1),
            )
        return out.float(), score.float()

    def agent(self) -> Rl2:
        """The policy as trained so far (it shares the learner's weights; copy it to keep it)."""
        count = sum(p.numel() for p in self.network.parameters())
        supervision = "reward" if self.config.critic == "history" else "reward, task in critic"
        card = Card(
            method="rl2",
            supervision=supervision,
            selection_rule="last",
            params_total=count,
            params_trained=count,
        )
        return Rl2(self.network, card)
