"""MAML (Finn et al. 2017, arXiv 1703.03400): parameters from which a few policy-gradient steps lead to a good policy.

    theta_t = theta, and K times theta_t <- theta_t + alpha grad J_t(theta_t), on every task t
    theta <- theta + eta grad sum_t J_t(theta_t)

The meta-gradient is the gradient *through* the inner steps. In a trial the agent plays, and takes a step after every
``episodes_per_step`` episodes (``rl_algos/inner_loop.py``). Deviations from the paper:
 1. Inner steps are differentiated by an estimator that keeps the term of the sampling distribution (``lvc``; Rothfuss
    et al. 2019, "ProMP"); the paper's code loses it (``estimator="maml"``). See ``bridge/maths/surrogates.py``.
 2. The outer step is PPO's clipped surrogate for some epochs, with Adam (ProMP, without its penalty on the divergence
    of inner policies); ``outer="trpo"`` is the paper's, ``"pg"`` a plain policy gradient.
 3. Advantages are generalised, and standardised: within each task for inner steps, over the meta-batch for outer ones,
    so that a task with large returns does not take longer inner steps.
 4. ``inner_decay`` shortens each further inner step, in training as in play; the paper halves them after the first, at
    test only.
 5. An entropy bonus on the policies in the objective.
 6. The learning rate falls linearly to zero over the budget, and so does the bonus.
Variants: ``adapted="head"`` is ANIL (Raghu et al. 2020), ``rates="learned"`` is Meta-SGD (Li et al. 2017), and
``outer="reptile"`` moves towards the adapted parameters (Nichol et al. 2018).

Shape letters: N tasks of a meta-batch, E episodes of a task between steps, H steps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from bridge import memory as tree
from bridge.config import Count, CountOrZero, NonNegative, Positive, ReadIf, Width
from bridge.errors import DivergenceError, UserError
from bridge.maths.baselines import standardised
from bridge.maths.surrogates import Estimator, clipped_surrogate
from bridge.noise import TrialNoise
from bridge.training.learner import (
    CheckpointedLearner,
    descend_if_finite,
    set_learning_rate,
    trained_card,
)
from bridge.training.rollouts import task_numbers
from bridge.training.search_space import Choice, LogUniform, Space
from rl_algos import per_task
from rl_algos.inner_loop import GradientAgent, InnerConfig, InnerLoop
from rl_algos.per_task import Episodes
from rl_algos.policies import MlpPolicy
from rl_algos.trust_region import trust_region_step


@dataclass(frozen=True, kw_only=True)
class Config(InnerConfig):
    """Network and training of MAML."""

    read_if: ClassVar[ReadIf] = {
        "epochs": ("outer", ("ppo",)),
        "clip": ("outer", ("ppo",)),
        "max_kl": ("outer", ("trpo",)),
        "lr": ("outer", ("ppo", "pg", "reptile")),
        "max_grad_norm": ("outer", ("ppo", "pg", "reptile")),
        "entropy": ("outer", ("ppo", "trpo", "pg")),
        "score": ("outer", ("ppo", "trpo", "pg")),
        "estimator": ("outer", ("ppo", "trpo", "pg")),
    }
    hidden: Width = 64
    """Units of each of two hidden layers."""
    inner_steps: CountOrZero = 3
    """Inner steps that training differentiates; a trial takes as many as its episodes allow. 0: multi-task PPO."""
    estimator: Estimator = "lvc"
    """Estimator of the second derivatives of inner steps."""
    rates: Literal["fixed", "learned"] = "fixed"
    """Step sizes: all equal, or learned, one for each parameter."""
    outer: Literal["ppo", "trpo", "pg", "reptile"] = "ppo"
    """The outer step."""
    score: Literal["last", "every"] = "last"
    """Objective: the return after the last inner step, or the mean over all stages, the first included."""
    tasks_per_update: CountOrZero = 0
    """Tasks of a meta-batch (of each process); 0: 20, or more if trials are short."""
    epochs: Count = 2
    """Outer steps on each meta-batch (ppo)."""
    lr: Positive = 3e-3
    """Learning rate of Adam at the start (all but trpo)."""
    clip: Positive = 0.3
    """Largest change of a ratio of probabilities before its gradient stops (ppo)."""
    entropy: NonNegative = 0.01
    """Weight of the entropy bonus at the start, in nats, on the policies in the objective (all but reptile)."""
    max_kl: Positive = 0.01
    """Bound on the mean divergence of the adapted policies in an outer step, in nats (trpo)."""
    max_grad_norm: Positive = 1.0
    """Gradients are scaled down to this norm (all but trpo)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.outer == "reptile" and (self.rates == "learned" or not self.inner_steps):
            raise UserError(
                "Reptile moves towards adapted parameters: it needs inner_steps >= 1 and rates=fixed."
            )


SPACE: Space = {
    "inner_lr": LogUniform(0.03, 3.0),
    "inner_decay": Choice((0.5, 0.7, 1.0)),
    "lr": LogUniform(3e-4, 1e-2),
    "gamma": Choice((0.9, 0.95, 0.99, 1.0)),
    "lam": Choice((0.5, 0.9, 1.0)),
    "epochs": Choice((1, 2, 4)),
}
"""Search space."""


class MamlLearner(CheckpointedLearner):
    """Meta-batches of tasks, each played, adapted to, and played again."""

    checkpointed = ("inner", "optimizer")
    playing = ("inner",)
    config: Config

    def _build(self) -> None:
        family, config = self.family, self.config
        self.trial = family.trial("train")
        self.tasks = per_task.enough_tasks(
            config.tasks_per_update, self.trial.episodes * self.trial.horizon
        )
        policy = MlpPolicy(family.observation, family.action, config.hidden)
        self.inner = InnerLoop(policy, config).to(self.workers.device)
        self.inner.rates.requires_grad_(config.rates == "learned")
        self.learned = [p for p in self.inner.parameters() if p.requires_grad]
        self.optimizer = torch.optim.Adam(self.learned, lr=config.lr, eps=1e-5)

    def update(self, spent: float = 0.0) -> Mapping[str, float]:
        """Play a meta-batch at every stage of adaptation, then improve the parameters before adaptation."""
        config, left = self.config, max(0.0, 1 - spent)
        stages, metrics = self._play()
        bonus = config.entropy * left
        set_learning_rate(self.optimizer, config.lr * left)
        if config.outer == "trpo":
            metrics["step_share"] = trust_region_step(
                self.learned,
                lambda: self._after_adapting(stages, bonus),
                config.max_kl,
                self.workers.mean,
            )
            self.grad_steps += 1
        elif config.outer == "reptile":
            metrics["skipped"] = self._descend(self._distance(stages))
        else:
            epochs = config.epochs if config.outer == "ppo" else 1
            losses = (-self._after_adapting(stages, bonus)[0] for _ in range(epochs))
            metrics["skipped"] = sum(self._descend(loss) for loss in losses) / epochs
        self.updates += 1
        return metrics

    def _play(self) -> tuple[list[Episodes], dict[str, float]]:
        """Episodes of a meta-batch before any inner step and after each, with their advantages.

        Tasks that refused an inner step are left out.

        Raises:
            DivergenceError: every task did.
        """
        config = self.config
        rows = self.workers.rows(self.updates, self.tasks)
        noise = TrialNoise.of(f"train/maml/{self.seed}", rows)
        tasks = self.family.sample("train", task_numbers(noise))
        params, kept = self.inner.start(self.tasks), torch.ones_like(tasks.index, dtype=torch.bool)
        stages = []
        for k in range(config.inner_steps + (config.outer != "reptile")):
            episodes = per_task.roll_out(
                self.inner.policy,
                params,
                self.family,
                tasks,
                noise.at("stage", k),
                config.episodes(self.trial),
            )
            stages.append(self.inner.with_advantages(episodes))
            if k < config.inner_steps:
                with torch.no_grad():
                    params, taken = self.inner.step(params, stages[-1], "fomaml", k)
                kept &= taken
        self.env_steps += self.workers.total(
            torch.stack([stage.live.sum() for stage in stages]).sum()
        )
        if not kept.any():
            raise DivergenceError(
                "Every inner step of a meta-batch was refused. Lower inner_lr, or raise max_step."
            )
        metrics = {
            f"return_{k}": stage.reward.sum(-1).mean().item() for k, stage in enumerate(stages)
        }
        metrics["refused"] = 1 - kept.float().mean().item()
        return tree.select(stages, kept.nonzero().squeeze(-1)), metrics

    def _after_adapting(
        self, stages: list[Episodes], bonus: float
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """The objective, and the mean divergence of its policies from those that played, in nats.

        The divergence of each step is r - 1 - log r with r the ratio of probabilities: never negative, unbiased, and
        its second derivative is the Fisher matrix.
        """
        config, params = self.config, self.inner.start(len(stages[0].reward))
        clip = config.clip if config.outer == "ppo" else math.inf
        gains, divergences = [], []
        for k, stage in enumerate(stages):
            if k == config.inner_steps or config.score == "every":
                log_prob, entropy = per_task.log_prob_and_entropy(self.inner.policy, params, stage)
                advantage = standardised(stage.advantage, stage.live, (0, 1, 2))
                gain = clipped_surrogate(log_prob, stage.behaviour, advantage, clip)
                gain = gain + bonus * entropy
                log_ratio = log_prob - stage.behaviour
                divergence = log_ratio.exp() - 1 - log_ratio
                steps = stage.live.sum()
                gains.append(gain.sum() / steps)
                divergences.append(divergence.sum() / steps)
            if k < config.inner_steps:
                params, _ = self.inner.step(params, stage, config.estimator, k)
        return torch.stack(gains).mean(), torch.stack(divergences).mean()

    def _distance(self, stages: list[Episodes]) -> Float[Tensor, ""]:
        """Half the squared distance to the adapted parameters, which are constants: its gradient is Reptile's."""
        start = params = self.inner.start(len(stages[0].reward))
        with torch.no_grad():
            for k, stage in enumerate(stages):
                params, _ = self.inner.step(params, stage, "fomaml", k)
        squares = [(start[n] - p).square().flatten(1).sum(1).mean() for n, p in params.items()]
        return torch.stack(squares).sum() / 2

    def _descend(self, loss: Float[Tensor, ""]) -> bool:
        """One step of Adam; returns True if it was skipped, because the gradient is not finite."""
        max_norm = self.config.max_grad_norm
        norm = descend_if_finite(loss, self.optimizer, self.learned, max_norm, self.workers)
        taken = bool(norm.isfinite())
        self.grad_steps += taken
        return not taken

    def agent(self) -> GradientAgent:
        """The policy as trained so far (it shares the learner's weights; copy it to keep it)."""
        return GradientAgent(self.inner, trained_card("maml", self.learned))
