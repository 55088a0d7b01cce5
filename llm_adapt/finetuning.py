"""Fine-tuning per family: some gradient steps on one tuned copy of a policy, by one of two signals.

* ``Demonstrations``: behaviour cloning. What a history's source did in the state come to is made likelier, as
  ``llm_adapt/icl_ad.py`` asks.
* ``Returns``: reward. Whole trials are played on k tasks of a split, and judged and learned from as
  ``llm_adapt/icl_rl.py`` does at its defaults, with a critic that is made new and not kept.

Who forgets with every episode (``llm_adapt/multi_task.py``) is tuned on single episodes by either.

Played tasks are such that no evaluation scores, where a split has tasks without end; where they are a finite list, the
first k of them are, and whoever scores the policy must say so.

Shape letters: T steps of a trial, B trials, A actions, k tasks.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from bridge.errors import DivergenceError, UserError
from bridge.maths.returns import ReturnScale
from bridge.maths.trial_ppo import PpoTargets, explained_variance, losses
from bridge.noise import TrialNoise
from bridge.rng import Rows
from bridge.tasks.base import TaskFamily
from bridge.training.learner import seeded_init
from bridge.training.rollouts import Batch, play_trials
from bridge.training.trial_ppo import Evaluation, targets_of
from llm_adapt import data, icl_rl
from llm_adapt.histories import one_episode
from llm_adapt.icl_rl import new_critic, tokens_of
from llm_adapt.imitation import nll_and_accuracy
from llm_adapt.in_context import InContext
from llm_adapt.trainable import Finetuned, Kind, Trainable
from llm_adapt.windows import cut

_FAR = 1 << 40
"""The first task that is tuned on, where tasks have no end: evaluations count from 0."""
_PPO = icl_rl.Config()
"""The objective of ``Returns``."""
_MAX_GRAD_NORM = 1.0
_RATES: dict[Kind, float] = {"full": 1e-3, "head": 1e-2, "lora": 1e-2, "ia3": 3e-2, "prompt": 3e-2}
"""What little is trained may take long steps."""


@dataclass(frozen=True, kw_only=True)
class Config(Trainable):
    """What is trained, and how far."""

    display_name: ClassVar[str] = "Fine-tuning"

    steps: int = 100
    """Gradient steps."""
    lr: float = 0.0
    """Learning rate of Adam at first; it falls linearly to zero. 0: as suits the tuner."""
    batch: int = 4_096
    """Environment steps that each gradient step learns from: of whole trials, of which there are eight or more, or of
    windows of demonstrations."""
    tasks: int = 16
    """How many tasks of the split are played, or all where it has fewer; demonstrations have their own."""
    seed: int = 0
    """Of new weights, play and windows."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_numbers("1 or more", "batch", "tasks")
        self.check_numbers("0 or more", "steps", "lr", "seed")
        if self.lr > (most := torch.finfo(torch.float32).max):
            raise UserError(
                f"{self.display_name} needs lr of at most {most:.2g}, as float32 has; found {self.lr}."
            )

    @property
    def rate(self) -> float:
        """The learning rate at first."""
        return self.lr or _RATES[self.tuner]


@runtime_checkable
class Signal(Protocol):
    """What gradient steps are taken on."""

    env_steps: int
    """Environment steps paid for so far."""
    learned: list[nn.Parameter]
    """What is trained beside the policy, and not kept."""

    def loss(self, step: int, left: float) -> tuple[Float[Tensor, ""], dict[str, float]]:
        """Of gradient step number ``step``, with metrics; ``left``: the share of the tuning that is to come."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """All that the steps to come depend on, besides the policy."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` gave."""
        ...


class Tuning:
    """Gradient steps on a policy, in place. Its state can be saved between any two steps: all noise is counted."""

    def __init__(self, tuned: Finetuned, signal: Signal, config: Config) -> None:
        self.tuned, self.signal, self.config = tuned, signal, config
        self.learned = [*tuned.learned.values(), *signal.learned]
        self.optimizer = torch.optim.Adam(self.learned, lr=config.rate)
        self.grad_steps = 0
        """Gradient steps so far."""

    def steps(self) -> Generator[dict[str, float | int]]:
        """Take all gradient steps that are left; a line of metrics after each.

        Raises:
            DivergenceError: the loss or its gradient is no longer a number.
        """
        while self.grad_steps < self.config.steps:
            yield self._step()

    def _step(self) -> dict[str, float | int]:
        left = 1 - self.grad_steps / self.config.steps
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.rate * left
        loss, metrics = self.signal.loss(self.grad_steps, left)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.learned, _MAX_GRAD_NORM)
        if not math.isfinite(loss.item() + norm.item()):
            raise DivergenceError(
                f"after {self.grad_steps} gradient steps the loss or its gradient is no longer a number."
            )
        self.optimizer.step()
        self.grad_steps += 1
        return {
            "grad_steps": self.grad_steps,
            "env_steps": self.signal.env_steps,
            "loss": loss.item(),
            **metrics,
        }

    def state_dict(self) -> dict[str, Any]:
        """All that a restart needs, bit for bit."""
        return {
            "learned": {name: weights.detach() for name, weights in self.tuned.learned.items()},
            "signal": self.signal.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "grad_steps": self.grad_steps,
        }

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` gave."""
        for name, weights in self.tuned.learned.items():
            weights.copy_(state["learned"][name])
        self.signal.load_state_dict(state["signal"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.grad_steps = state["grad_steps"]


class Demonstrations:
    """Imitate histories, in windows."""

    def __init__(
        self, agent: InContext, family: TaskFamily, shown: data.Stored, config: Config
    ) -> None:
        self.agent, self.policy, self.family, self.histories = (
            agent,
            agent.policy,
            family,
            shown.rows,
        )
        lengths, self.seed = shown.rows["length"], config.seed
        read = family.trial(shown.split).horizon if agent.reads == "episode" else max(lengths)
        self.env_steps, self.width = (
            sum(lengths),
            min(self.policy.config.window, max(lengths), read),
        )
        self.count = max(1, config.batch // self.width)
        self.learned: list[nn.Parameter] = []

    def loss(self, step: int, left: float) -> tuple[Float[Tensor, ""], dict[str, float]]:
        """The mean negative log-likelihood in nats, of a window of each of some histories."""
        noise = Rows.of(f"finetune/demos/{self.seed}", step * self.count + torch.arange(self.count))
        row = (noise.at("row").uniform().double() * len(self.histories)).long().tolist()
        found = data.read(self.histories, row, self.family)
        if self.agent.reads == "episode":
            found = one_episode(found, noise.at("episode"))
        asked, did = found.steps.obs, found.steps.action
        windows = cut(found, asked, did, self.width, self.policy.layout, noise.at("first"))
        out = self.policy(windows.tokens).out.float()
        nats, hits = nll_and_accuracy(self.policy.actions, out, windows.label, windows.inside)
        return nats, {"hits": hits.item()}

    def state_dict(self) -> dict[str, Any]:
        """Nothing: a step's windows are named by its number."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing to restore."""


class Returns:
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

    def loss(self, step: int, left: float) -> tuple[Float[Tensor, ""], dict[str, float]]:
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
    """Which tasks of a split are tuned on."""
    size = family.support(split)
    return torch.arange(min(count, size)) if size is not None else _FAR + torch.arange(count)
