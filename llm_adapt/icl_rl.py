"""In-context RL from online trials: RL²'s objective with attention in place of recurrence.

Duan et al. 2016 (arXiv 1611.02779) with the memory of Mishra et al. 2018 (arXiv 1707.03141) and Melo 2022 (arXiv
2206.06614): the policy reads its own trial, a token a step, and is trained by PPO on the return of the whole trial. It
is the mirror of ``rl_algos/rl2.py``: same trials, same judgement, same losses (``bridge/training/rollouts.py``,
``bridge/maths/trial_ppo.py``), so that what differs is how the past is kept.

Deviations from these papers:
 1. A plain causal decoder, with no convolutions between its attention and no memory of segments.
 2. PPO with clipped ratios on the trial's return; standardised advantages; the critic's targets are standard scores.
 3. A token tells the whole last transition (``llm_adapt/tokens.py``), of which RL² reads action, reward and end.
 4. The critic shares the decoder by default, and may be told the task in training (``critic="task"``), the policy not.
 5. The learning rate rises at first and then falls linearly to zero over the budget, as the entropy bonus does.
 6. Trials may be cut to fewer episodes in training (``episodes``); the agent is then played on whole ones.

Shape letters: T steps of a trial, B trials, A actions, F task features, D features of a token.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from bridge.config import Depth
from bridge.maths.returns import ReturnScale
from bridge.maths.trial_ppo import Losses, PpoTargets, losses, ppo_targets
from bridge.noise import TrialNoise
from bridge.protocol import Card, Trial
from bridge.rng import Rows
from bridge.tasks.base import TaskFamily
from bridge.training.learner import CheckpointedLearner, seeded_init
from bridge.training.rollouts import Batch, play_trials, task_features
from bridge.training.search_space import Choice, LogUniform, Space
from bridge.training.workers import Workers
from llm_adapt.in_context import InContext
from llm_adapt.policy import Decoder
from llm_adapt.tokens import Layout, Transition


@dataclass(frozen=True, kw_only=True)
class Config(Decoder):
    """How the policy is built and trained."""

    display_name: ClassVar[str] = "In-context RL"

    layers: Depth = 2
    window: int = 1024
    critic: Literal["history", "task"] = "history"
    """What the critic sees: what the policy has read, or the task too (in training only): its parameters, and the mean
    of each reward in place of the reward."""
    episodes: int = 0
    """Train on trials cut to at most so many episodes; 0: whole ones."""
    steps_per_update: int = 10_000
    """Environment steps between updates, in whole trials, of which there is at least one a minibatch and process; fewer
    where episodes end early."""
    epochs: int = 4
    """Passes over each batch."""
    minibatches: int = 8
    """Parts that a batch of trials is cut into."""
    lr: float = 1e-3
    """Learning rate of Adam at its highest."""
    warm_up: float = 0.02
    """Share of the budget in which it rises to that."""
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
    max_grad_norm: float = 1.0
    """Gradients are scaled down to this norm."""

    def __post_init__(self) -> None:
        self.check_numbers("1 or more", "steps_per_update", "epochs", "minibatches")
        self.check_numbers("0 or more", "episodes", "entropy", "value_weight")
        self.check_numbers("above 0", "lr", "clip", "max_grad_norm")
        self.check_numbers("from 0 to 1", "gamma", "lam", "warm_up")


SPACE: Space = {
    "lr": LogUniform(3e-4, 3e-3),
    "gamma": Choice((0.95, 0.97, 0.99, 1.0)),
    "lam": Choice((0.3, 0.5, 0.8, 0.95)),
    "entropy": LogUniform(1e-3, 0.1),
    "steps_per_update": Choice((5_000, 10_000, 20_000, 40_000)),
    "minibatches": Choice((4, 8, 16)),
}
"""What is tuned: not the decoder nor what the critic sees, which are other methods."""


class IclRlLearner(CheckpointedLearner):
    """PPO on trials, as RL²'s learner."""

    checkpointed = ("policy", "critic", "scale", "optimizer")

    def __init__(
        self, family: TaskFamily, config: Config, *, seed: int, workers: Workers | None = None
    ) -> None:
        self.family, self.config, self.seed, self.workers = (
            family,
            config,
            seed,
            workers or Workers(),
        )
        whole, device = family.trial("train"), self.workers.device
        self.trial = Trial(min(config.episodes or whole.episodes, whole.episodes), whole.horizon)
        span = self.trial.episodes * self.trial.horizon
        trials = config.steps_per_update // span
        self.trials = max(config.minibatches, trials // self.workers.count)  # of each worker
        features = (
            task_features(family.sample("train", torch.arange(1))).shape[1]
            if config.critic == "task"
            else 0
        )
        self.scale = ReturnScale(span).to(device)
        with seeded_init(seed):
            self.policy = config.policy(family).to(device)
            width = self.policy.config.backbone_config.hidden_size
            self.critic = nn.Sequential(
                nn.Linear(width + features, width), nn.ReLU(), nn.Linear(width, 1)
            ).to(device)
        self.learned = [*self.policy.parameters(), *self.critic.parameters()]
        self.optimizer = torch.optim.Adam(self.learned, lr=config.lr, eps=1e-5)

    def update(self, spent: float = 0.0) -> Mapping[str, float]:
        """Play a batch of trials, then take ``epochs`` passes of clipped policy gradient over it."""
        config, left = self.config, max(0.0, 1 - spent)
        batch, _ = self._play()
        own = Rows.of(f"learn/icl_rl/{self.seed}", self.workers.rows(self.updates, self.trials))
        played = self.workers.total(batch.live.sum())
        targets = self._targets(batch, played / (self.trials * self.workers.count))
        for group in self.optimizer.param_groups:
            group["lr"] = config.lr * min(
                left, (spent + 1e-3) / config.warm_up if config.warm_up else left
            )
        bonus, sums = config.entropy * left, dict.fromkeys(Losses._fields, 0.0)
        for epoch in range(config.epochs):
            order = own.at("order", epoch).uniform().argsort()
            for rows in order.tensor_split(config.minibatches):
                part = batch.columns(rows)
                out, score = self._evaluate(part)
                log_prob, entropy = self.policy.actions.log_prob_and_entropy(out, part.action)
                found = losses(log_prob, entropy, score, targets.columns(rows), clip=config.clip)
                loss = (
                    found.loss_policy
                    + config.value_weight * found.loss_value
                    - bonus * found.entropy
                )
                self.optimizer.zero_grad(set_to_none=True)
                loss.backward()
                self.workers.average_gradients(self.learned)
                nn.utils.clip_grad_norm_(self.learned, config.max_grad_norm)
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
            f"train/icl_rl/{self.seed}", self.workers.rows(self.updates, self.trials)
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
        behaviour, _ = self.policy.actions.log_prob_and_entropy(out, batch.action)
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
        """The policy's output and the critic's standard score before every step, from the trial's start."""
        with self.workers.autocast():
            by_token = self.policy.hidden(tokens_of(batch, self.policy.layout))
            hidden, out = by_token.transpose(0, 1), self.policy.actor(by_token).transpose(0, 1)
            seen = (
                [hidden, batch.task.expand(len(hidden), -1, -1)]
                if self.config.critic == "task"
                else [hidden]
            )
            score = self.critic(torch.cat(seen, -1)).squeeze(-1)
        return out.float(), score.float()

    def agent(self) -> InContext:
        """The policy as trained so far (it shares the learner's weights; copy it to keep it)."""
        count = sum(p.numel() for p in self.policy.parameters())
        supervision = "reward" if self.config.critic == "history" else "reward, task in critic"
        card = Card(
            method="icl_rl",
            supervision=supervision,
            selection_rule="last",
            params_total=count,
            params_trained=count,
        )
        return InContext(self.policy, card)


def tokens_of(batch: Batch, layout: Layout) -> Float[Tensor, "B T D"]:
    """What the policy read in the trials that it played."""
    nothing = Rows(torch.zeros_like(batch.reward[0], dtype=torch.int64))
    steps = Transition(batch.obs, batch.action, batch.reward, batch.next_obs, batch.end)
    by_trial = Transition(*(part.transpose(0, 1) for part in steps))
    return layout.trial(by_trial, layout.nothing_yet(nothing))
