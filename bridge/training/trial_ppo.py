"""PPO (Schulman et al. 2017) on whole trials, for any policy that reads its trial: one configuration, one learner.

A batch of trials is played by the agent itself (``bridge/training/rollouts.py``). Each epoch recomputes the policy and
the critic from the start of every trial, a minibatch of trials at a time (``bridge/maths/trial_ppo.py``).

Shape letters: T steps of the longest trial, B trials, H size of a hidden state, C inputs of the critic.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from bridge.config import Bounded, Count, CountOrZero, NonNegative, Positive, Share
from bridge.errors import UserError
from bridge.maths.returns import ReturnScale
from bridge.maths.trial_ppo import PpoTargets, explained_variance, losses, ppo_targets
from bridge.noise import TrialNoise
from bridge.protocol import Agent, Trial
from bridge.rng import Rows
from bridge.training.learner import (
    CheckpointedLearner,
    descend,
    mean_metrics,
    set_learning_rate,
    share_of_rate,
)
from bridge.training.level_replay import LevelReplay
from bridge.training.rollouts import Batch, play_trials, task_features, task_numbers
from bridge.training.search_space import Choice, LogUniform, Space


@dataclass(frozen=True, kw_only=True)
class PpoConfig(Bounded):
    """Trials, minibatches and losses of PPO."""

    critic: Literal["history", "task"] = "history"
    """Input of the critic: what the policy has read, or the task too (in training only): its parameters, and the mean
    of each reward in place of the reward."""
    episodes: CountOrZero = 0
    """Train on trials cut to at most so many episodes; 0: whole ones."""
    steps_per_update: Count = 10_000
    """Environment steps between updates, in whole trials, of which there is at least one a minibatch and process; fewer
    if episodes end early."""
    epochs: Count = 4
    """Passes over each batch."""
    minibatches: Count = 8
    """Parts that a batch of trials is cut into."""
    lr: Positive = 1e-3
    """Highest learning rate of Adam; it falls linearly to zero over the budget."""
    warm_up: ClassVar[float] = 0.0
    """Share of the budget in which the learning rate rises to its highest; some methods make it a field."""
    clip: Positive = 0.2
    """Largest change of a ratio of probabilities before its gradient stops."""
    gamma: Share = 1.0
    """Discount a step."""
    lam: Share = 0.5
    """Trace of the generalised advantage."""
    entropy: NonNegative = 0.01
    """Weight of the entropy bonus at the start, in nats; it falls linearly to zero over the budget."""
    value_weight: NonNegative = 0.5
    """Weight of the critic's loss."""
    max_grad_norm: Positive = 1.0
    """Gradients are scaled down to this norm."""
    replay: Share = 0.0
    """Share of trials on training tasks that were played before, by prioritised level replay; 0: none."""

    @property
    def supervision(self) -> str:
        """Input of training, as in ``Card.supervision``."""
        return "reward" if self.critic == "history" else "reward, task in critic"


SPACE: Space = {
    "gamma": Choice((0.95, 0.97, 0.99, 1.0)),
    "lam": Choice((0.3, 0.5, 0.8, 0.95)),
    "entropy": LogUniform(1e-3, 0.1),
    "steps_per_update": Choice((5_000, 10_000, 20_000, 40_000)),
    "minibatches": Choice((4, 8, 16)),
}
"""Search space of what all methods share; each adds its learning rates."""


class Evaluation(NamedTuple):
    """Policy and critic at every step of some trials."""

    log_prob: Float[Tensor, "T B"]
    """Log-probability of the action taken, in nats."""
    entropy: Float[Tensor, "T B"]
    """Entropy of the policy, in nats."""
    score: Float[Tensor, "T B"]
    """The critic's output before the step, as a standard score."""


def targets_of(
    batch: Batch,
    before: Evaluation,
    scale: ReturnScale,
    config: PpoConfig,
    *,
    length: float,
    average: Callable[[Tensor], Tensor] = lambda mine: mine,
) -> PpoTargets:
    """Update the statistics of returns with a batch, then compute the batch's targets and advantages.

    Args:
        batch: whole trials.
        before: the evaluation of these trials before the update.
        scale: statistics of returns, changed in place.
        config: discount and trace.
        length: mean number of live steps a trial, over all processes.
        average: mean of a tensor over the processes.
    """
    scale.update(batch.critic_reward, batch.live, gamma=config.gamma, average=average)
    return ppo_targets(
        before.log_prob,
        before.score,
        batch.critic_reward,
        batch.live,
        scale,
        length=length,
        gamma=config.gamma,
        lam=config.lam,
        average=average,
    )


class TrialPpoLearner(CheckpointedLearner, ABC):
    """Plays batches of trials and takes PPO's gradient steps on them."""

    noise_name: ClassVar[str]
    """Names all noise of the learner, so that weights depend on it."""

    def _build(self) -> None:
        config: PpoConfig = self.config
        whole = self.family.trial("train")
        self.trial = Trial(min(config.episodes or whole.episodes, whole.episodes), whole.horizon)
        steps = self.trial.episodes * self.trial.horizon
        self.trials = max(
            config.minibatches, config.steps_per_update // steps // self.workers.count
        )
        """Trials that each process plays between updates."""
        self.scale = ReturnScale(steps).to(self.workers.device)
        features = 0
        if config.critic == "task":
            features = task_features(self.family.sample("train", torch.arange(1))).shape[1]
        self.levels = LevelReplay().to(self.workers.device)
        if config.replay:
            self._check_replay()
            self.checkpointed = (*self.checkpointed, "levels")
        self.learned = self._networks(features)
        self.optimizer = torch.optim.Adam(self.learned, lr=config.lr, eps=1e-5)

    def _check_replay(self) -> None:
        """Refuse several processes.

        Raises:
            UserError: there are several.
        """
        if self.workers.count > 1:
            raise UserError(
                f"Each process would keep its own tasks to replay; found {self.workers.count}. Train with replay=0, or "
                "with --processes 1."
            )

    @abstractmethod
    def _networks(self, task_features: int) -> list[nn.Parameter]:
        """Make the networks; returns all parameters that are trained.

        Args:
            task_features: F, numbers that describe a task to the critic; 0: it does not see the task.
        """

    @abstractmethod
    def _evaluate(self, batch: Batch) -> Evaluation:
        """Recompute policy and critic from the start of every trial, differentiably."""

    def _critic_input(self, hidden: Float[Tensor, "T B H"], batch: Batch) -> Float[Tensor, "T B C"]:
        """The input of the critic at every step: the policy's hidden state, and the task if the critic sees it."""
        parts = [hidden]
        if self.config.critic == "task":
            parts.append(batch.task.expand(len(hidden), -1, -1))
        return torch.cat(parts, -1)

    @abstractmethod
    def agent(self) -> Agent:
        """The policy as trained so far (it shares the learner's weights; copy it to keep it)."""

    def update(self, spent: float = 0.0) -> Mapping[str, float]:
        """Play a batch of trials, then take ``epochs`` passes of clipped policy gradient over it.

        Args:
            spent: share of the budget spent so far.

        Returns:
            The mean return of a trial, ``explained_variance`` of the critic before the update, and the means of
            ``Losses`` over all minibatches.
        """
        config, left = self.config, max(0.0, 1 - spent)
        batch = self._play()
        played = self.workers.total(batch.live.sum())
        targets, explained = self._targets(batch, played / (self.trials * self.workers.count))
        if config.replay:
            surprise = (targets.advantage.abs() * targets.live).sum(0) / targets.live.sum(0)
            self.levels.put(self._numbers(), surprise, self.updates)
        set_learning_rate(self.optimizer, config.lr * share_of_rate(spent, config.warm_up))
        noise = Rows.of(
            f"learn/{self.noise_name}/{self.seed}", self.workers.rows(self.updates, self.trials)
        )
        steps = []
        for epoch in range(config.epochs):
            order = noise.at("order", epoch).uniform().argsort()
            for trials in order.tensor_split(config.minibatches):
                evaluation = self._evaluate(batch.columns(trials))
                found = losses(*evaluation, targets.columns(trials), clip=config.clip)
                loss = found.total(value_weight=config.value_weight, bonus=config.entropy * left)
                descend(loss, self.optimizer, self.learned, config.max_grad_norm, self.workers)
                self.grad_steps += 1
                steps.append({name: value.item() for name, value in found._asdict().items()})
        self.updates += 1
        self.env_steps += played
        trial_return = batch.reward.sum(0).mean().item()
        return {
            "trial_return": trial_return,
            **mean_metrics(steps),
            "explained_variance": explained,
        }

    def _play(self) -> Batch:
        """A batch of trials, played by the agent itself, so that training and evaluation cannot differ."""
        tasks = self.family.sample("train", self._numbers())
        means = self.config.critic == "task"
        return play_trials(
            self.agent(), self.family, self.trial, self._noise(), means=means, tasks=tasks
        )

    def _noise(self) -> TrialNoise:
        """The noise of the batch."""
        numbers = self.workers.rows(self.updates, self.trials)
        return TrialNoise.of(f"train/{self.noise_name}/{self.seed}", numbers)

    def _numbers(self) -> Int[Tensor, " B"]:
        """The numbers of the batch's tasks in ``train``: new, or replayed in a share of the trials."""
        noise = self._noise()
        new = task_numbers(noise)
        if not (share := self.config.replay):
            return new
        if size := self.family.support("train"):
            new = new % size
        return self.levels.draw(new, share, self.updates, noise.env.at("replay"))

    @torch.no_grad()
    def _targets(self, batch: Batch, length: float) -> tuple[PpoTargets, float]:
        """The constants of an update, and the explained variance of the critic.

        Args:
            batch: this process's trials.
            length: mean number of live steps a trial, over all processes.
        """
        before, average = self._evaluate(batch), self.workers.mean
        targets = targets_of(batch, before, self.scale, self.config, length=length, average=average)
        return targets, explained_variance(before.score, targets, average)
