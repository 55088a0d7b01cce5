"""Fine-tuning per family: gradient steps on one copy of a policy, with one of two signals.

* ``Demonstrations``: behaviour cloning. The labels are the actions of a history's source, as in
  ``llm_adapt/icl_ad.py``.
* ``Returns``: PPO on whole trials of k tasks of a split, as in ``llm_adapt/icl_rl.py`` with its default settings, and
  with a new critic that is not saved.

A policy whose context is one episode (``llm_adapt/multi_task.py``) is fine-tuned on single episodes by both.

The k tasks are none that evaluations score if the split is a continuum. Of a finite list they are the first k, and
evaluations have to report it.

Shape letters: T steps of a trial, B trials, A actions, k tasks.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from bridge.config import Count, CountOrZero, NonNegative, Seed
from bridge.errors import UserError
from bridge.maths.returns import ReturnScale
from bridge.maths.trial_ppo import PpoTargets, explained_variance, losses
from bridge.noise import TrialNoise
from bridge.rng import Rows
from bridge.tasks.base import TaskFamily
from bridge.training.learner import descend, seeded_init, set_learning_rate
from bridge.training.rollouts import Batch, play_trials
from bridge.training.trial_ppo import Evaluation, targets_of
from bridge.training.workers import Workers
from llm_adapt import data, icl_rl
from llm_adapt.histories import one_episode
from llm_adapt.icl_rl import new_critic, tokens_of
from llm_adapt.imitation import nll_and_accuracy
from llm_adapt.in_context import InContext
from llm_adapt.trainable import Finetuned, Kind, Trainable
from llm_adapt.windows import cut

_FAR = 1 << 40
"""Number of the first task of ``Returns`` on a continuum: evaluations count from 0."""
_PPO = icl_rl.Config()
"""Settings of ``Returns``."""
_MAX_GRAD_NORM = 1.0
_RATES: dict[Kind, float] = {"full": 1e-3, "head": 1e-2, "lora": 1e-2, "ia3": 3e-2, "prompt": 3e-2}
"""Default learning rates: the fewer weights, the larger."""


@dataclass(frozen=True, kw_only=True)
class Config(Trainable):
    """Trained weights, and their gradient steps."""

    display_name: ClassVar[str] = "Fine-tuning"

    steps: CountOrZero = 100
    """Gradient steps."""
    lr: NonNegative = 0.0
    """Learning rate of Adam at the start; it falls linearly to zero. 0: the default of the tuner."""
    batch: Count = 4_096
    """Environment steps of each gradient step, in eight or more whole trials, or in windows of demonstrations."""
    tasks: Count = 16
    """Number of tasks of the split to play on, or all if it has fewer; demonstrations have their own."""
    seed: Seed = 0
    """Of new weights, play and windows."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.lr > (most := torch.finfo(torch.float32).max):
            raise UserError(
                f"{self.display_name} needs lr of at most {most:.2g}, as float32 has; found {self.lr}."
            )

    @property
    def rate(self) -> float:
        """The learning rate at the start."""
        return self.lr or _RATES[self.tuner]


Loss = tuple[Float[Tensor, ""], dict[str, float]]
"""The loss of a gradient step, and metrics."""


class Signal(ABC):
    """The loss of fine-tuning, with its data."""

    env_steps: int
    """Environment steps paid for so far."""
    learned: Sequence[nn.Parameter] = ()
    """Weights that are trained beside the policy's, and not saved."""

    @abstractmethod
    def loss(self, step: int, left: float) -> Loss:
        """The loss of a gradient step, and metrics.

        Args:
            step: number of the gradient step.
            left: share of the gradient steps that are left.
        """

    def state_dict(self) -> dict[str, Any]:
        """Everything that later steps depend on, besides the policy and the number of the step."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:  # noqa: B027 - there may be nothing to restore
        """Restore a ``state_dict``."""


class Tuning:
    """Gradient steps on a policy, in place. Its state can be saved after every step: all noise is named by counters."""

    def __init__(self, tuned: Finetuned, signal: Signal, config: Config) -> None:
        self.tuned, self.signal, self.config = tuned, signal, config
        self.learned = [*tuned.learned.values(), *signal.learned]
        self.optimizer = torch.optim.Adam(self.learned, lr=config.rate)
        self.grad_steps = 0
        """Gradient steps so far."""

    def steps(self) -> Generator[dict[str, float | int]]:
        """Take all gradient steps that are left; yields metrics after each.

        Raises:
            DivergenceError: as ``descend``.
        """
        while self.grad_steps < self.config.steps:
            left = 1 - self.grad_steps / self.config.steps
            set_learning_rate(self.optimizer, self.config.rate * left)
            loss, metrics = self.signal.loss(self.grad_steps, left)
            descend(loss, self.optimizer, self.learned, _MAX_GRAD_NORM, Workers())
            self.grad_steps += 1
            yield {
                "grad_steps": self.grad_steps,
                "env_steps": self.signal.env_steps,
                "loss": loss.item(),
                **metrics,
            }

    def state_dict(self) -> dict[str, Any]:
        """Everything that a bitwise equal restart needs."""
        return {
            "learned": {name: weights.detach() for name, weights in self.tuned.learned.items()},
            "signal": self.signal.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "grad_steps": self.grad_steps,
        }

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a ``state_dict``."""
        for name, weights in self.tuned.learned.items():
            weights.copy_(state["learned"][name])
        self.signal.load_state_dict(state["signal"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.grad_steps = state["grad_steps"]


class Demonstrations(Signal):
    """Behaviour cloning of histories, in windows."""

    def __init__(
        self, agent: InContext, family: TaskFamily, demos: data.SavedHistories, config: Config
    ) -> None:
        self.agent, self.policy, self.seed = agent, agent.policy, config.seed
        self.histories = demos.rows
        lengths = demos.rows["length"]
        self.env_steps = sum(lengths)
        longest = max(lengths)
        if agent.reads == "episode":
            longest = min(longest, family.trial(demos.split).horizon)
        self.width = min(self.policy.config.window, longest)
        """Steps of a window."""
        self.count = max(1, config.batch // self.width)
        """Windows of a gradient step."""

    def loss(self, step: int, left: float) -> Loss:
        """The mean negative log-likelihood in nats, on a window of each of some histories."""
        noise = Rows.of(f"finetune/demos/{self.seed}", step * self.count + torch.arange(self.count))
        histories = data.drawn(self.histories, noise)
        if self.agent.reads == "episode":
            histories = one_episode(histories, noise.at("episode"))
        state, label = histories.steps.obs, histories.steps.action
        windows = cut(histories, state, label, self.width, self.policy.layout, noise.at("first"))
        nll, accuracy = nll_and_accuracy(self.policy, *windows)
        return nll, {"hits": accuracy.item()}


class Returns(Signal):
    """PPO on whole trials of k tasks of a split, with a new critic."""

    def __init__(self, agent: InContext, family: TaskFamily, split: str, config: Config) -> None:
        self.agent, self.policy, self.family, self.split = agent, agent.policy, family, split
        self.trial = agent.past(family.trial(split))
        self.numbers = tuned_tasks(family, split, config.tasks)
        steps = self.trial.episodes * self.trial.horizon
        self.trials = max(_PPO.minibatches, config.batch // steps)
        self.played, self.env_steps, self.seed = 0, 0, config.seed
        self.scale = ReturnScale(steps)
        with seeded_init(config.seed):
            self.critic = new_critic(self.policy)
        self.learned = list(self.critic.parameters())

    def loss(self, step: int, left: float) -> Loss:
        """PPO's loss on a batch of trials. A new batch is played every ``icl_rl.Config.epochs`` gradient steps."""
        if step % _PPO.epochs == 0:
            self._play()
        evaluation = self._evaluate(self.batch)
        found = losses(*evaluation, self.targets, clip=_PPO.clip)
        loss = found.total(value_weight=_PPO.value_weight, bonus=left * _PPO.entropy)
        return loss, {
            "trial_return": self.batch.reward.sum(0).mean().item(),
            "entropy": found.entropy.item(),
            "approx_kl": found.approx_kl.item(),
            "explained_variance": explained_variance(evaluation.score, self.targets),
        }

    @torch.no_grad()
    def _play(self) -> None:
        """Play a batch of trials by the current policy, on the k tasks in turn, and compute its targets."""
        row = self.played + torch.arange(self.trials)
        tasks = self.family.sample(self.split, self.numbers[row % len(self.numbers)])
        noise = TrialNoise.of(f"finetune/play/{self.seed}", row)
        self.batch = play_trials(
            self.agent, self.family, self.trial, noise, means=False, tasks=tasks
        )
        steps = int(self.batch.live.sum())
        self.played += self.trials
        self.env_steps += steps
        before = self._evaluate(self.batch)
        length = steps / self.trials
        self.targets = targets_of(self.batch, before, self.scale, _PPO, length=length)

    def _evaluate(self, batch: Batch) -> Evaluation:
        hidden = self.policy.hidden(tokens_of(batch, self.policy.layout)).transpose(0, 1)
        out, score = self.policy.actor(hidden), self.critic(hidden.float()).squeeze(-1)
        log_prob, entropy = self.policy.actions.log_prob_and_entropy(out.float(), batch.action)
        return Evaluation(log_prob, entropy, score)

    def state_dict(self) -> dict[str, Any]:
        """The critic, and the batch that the next gradient steps may still use."""
        state = {
            "played": self.played,
            "env_steps": self.env_steps,
            "critic": self.critic.state_dict(),
            "scale": self.scale.state_dict(),
        }
        if self.played:
            live = self.batch.live.clone()  # a tensor is saved under one name only
            state |= {"batch": self.batch, "targets": self.targets._replace(live=live)}
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a ``state_dict``."""
        self.played, self.env_steps = state["played"], state["env_steps"]
        self.critic.load_state_dict(state["critic"])
        self.scale.load_state_dict(state["scale"])
        if self.played:
            self.batch, self.targets = Batch(*state["batch"]), PpoTargets(*state["targets"])


def tuned_tasks(family: TaskFamily, split: str, count: int) -> Int[Tensor, " k"]:
    """The numbers of the tasks of a split that ``Returns`` plays on."""
    size = family.support(split)
    return torch.arange(min(count, size)) if size is not None else _FAR + torch.arange(count)
