"""MAML (Finn et al. 2017, arXiv 1703.03400) on adapters alone: meta-trained initial values for low-rank fine-tuning.

    phi_t = phi, and K times phi_t <- phi_t + alpha grad J_t(theta, phi_t), on every task t
    phi <- phi + eta grad sum_t J_t(theta, phi_t), of phi_t before the first step and after each

theta is a transformer policy, pretrained on single episodes for all tasks (``llm_adapt/multi_task.py``) with the first
part of the budget, and fixed from then on; phi are its adapters (``llm_adapt/low_rank.py``). The meta-gradient is the
gradient *through* the inner steps. The method stands between ``rl_algos/maml.py``, which adapts all weights from
meta-trained values, and ``lora_reward_mt``, which adapts adapters from zero. Deviations from the paper:
 1. Only adapters are adapted, and only their initial values are meta-trained.
 2. Inner steps are differentiated by ``lvc`` (``bridge/maths/surrogates.py``), as in ``rl_algos/maml.py``.
 3. The outer step is PPO's clipped surrogate for some epochs, with Adam. Its objective is the mean over all stages of
    adaptation, as a trial's return is over its episodes, and has an entropy bonus.
 4. Advantages are generalised and standardised, within each task for inner steps, over the meta-batch for outer ones.
 5. At test an inner step is on all episodes so far (``bridge/test_time/agent.py``), in training on those since the
    last.

Shape letters: N tasks of a meta-batch, E episodes of a task between steps, H steps.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from bridge import memory as tree
from bridge import spaces
from bridge.config import Count, CountOrZero, Positive, Share, Width
from bridge.errors import UserError
from bridge.maths.baselines import episode_advantages, standardised
from bridge.maths.optimizers import sgd
from bridge.maths.surrogates import clipped_surrogate
from bridge.noise import TrialNoise
from bridge.protocol import Clues, Trial
from bridge.rng import Rows
from bridge.tasks.base import Tasks
from bridge.test_time.agent import FineTuned, card_of
from bridge.test_time.objective import mean_gain
from bridge.test_time.settings import GradientSteps
from bridge.test_time.trial_buffer import TrialBuffer
from bridge.training.learner import CheckpointedLearner, descend_if_finite, set_learning_rate
from bridge.training.rollouts import play_side_by_side, task_numbers
from bridge.training.search_space import LogUniform, Space
from llm_adapt import multi_task
from llm_adapt.low_rank import Adapters, PretrainedLora, batched
from llm_adapt.multi_task import MtLearner

Steps = Float[Tensor, "N E H"]
"""A number for each step of a meta-batch."""


@dataclass(frozen=True, kw_only=True)
class Config(multi_task.Config, GradientSteps):
    """Pretraining of the base, and meta-training of its adapters."""

    display_name: ClassVar[str] = "LoRA-MAML"

    inner_rule: Literal["adam", "sgd"] = "sgd"
    inner_lr: Positive = 1.0
    """Step size along the gradient of the mean over steps."""
    inner_steps: CountOrZero = 1
    """Inner steps at a time, at test as in training."""
    inner_stages: Count = 2
    """Times that training adapts. The objective is the return before, between and after."""
    pretraining: Share = 0.5
    """Share of the budget that goes to the base."""
    rank: Width = 8
    """r of each adapter."""
    alpha: Count = 16
    """Scale of the low-rank updates, times r."""
    tasks_per_update: Count = 20
    """Tasks of a meta-batch (of each process)."""
    meta_epochs: Count = 2
    """Outer steps on each meta-batch."""
    meta_lr: Positive = 3e-3
    """Learning rate of Adam at the start of meta-training."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.inner_rule != "sgd":
            raise UserError(
                "LoRA-MAML differentiates through plain inner steps. Leave inner_rule out."
            )


SPACE: Space = {
    **multi_task.SPACE,
    "inner_lr": LogUniform(0.1, 10.0),
    "meta_lr": LogUniform(3e-4, 1e-2),
}
"""Search space."""


class Stage(NamedTuple):
    """Episodes of a meta-batch between two adaptations."""

    buffer: TrialBuffer
    behaviour: Steps
    """Log-probability of the action under the policy that took it, in nats; 0 at empty places."""
    advantage: Steps
    """Advantage of the action, in units of reward."""


class LoraMamlLearner(CheckpointedLearner):
    """Trains a base, then meta-batches of tasks, each played, adapted to, and played again."""

    checkpointed = ("base", "start", "optimizer")
    playing = ("base", "start")
    config: Config

    def _build(self) -> None:
        config, seed = self.config, self.seed
        self.base = MtLearner(self.family, config, seed=seed, workers=self.workers)
        policy = self.base.policy
        self.low_rank = batched(policy, rank=config.rank, alpha=config.alpha)
        first = self.low_rank.new(policy, Rows.of(f"start/lora_maml/{seed}", torch.arange(1)))
        self.start = nn.ParameterDict(
            {
                f"{side}/{name}".replace(".", "/"): x
                for side, own in first._asdict().items()
                for name, x in own.items()
            }
        ).to(self.workers.device)
        """Initial values of the adapters, phi."""
        self.learned = list(self.start.parameters())
        self.optimizer = torch.optim.Adam(self.learned, lr=config.meta_lr, eps=1e-5)

    def update(self, spent: float = 0.0) -> Mapping[str, float]:
        """One update of the base; once that has had its share of the budget, one of the adapters' initial values."""
        share = self.config.pretraining
        if spent < share:
            return self._train_base(spent / share)
        left = min(1.0, max(0.0, 1 - spent) / max(1e-9, 1 - share))
        stages = self._play()
        set_learning_rate(self.optimizer, self.config.meta_lr * left)
        for _ in range(self.config.meta_epochs):
            with sdpa_kernel(SDPBackend.MATH):  # the other kernels have no second derivatives
                loss = -self._after_adapting(stages, self.config.entropy * left)
                max_norm = self.config.max_grad_norm
                descend_if_finite(loss, self.optimizer, self.learned, max_norm, self.workers)
            self.grad_steps += 1
        self.updates += 1
        returns = {
            f"return_{k}": stage.buffer.reward.sum(-1).mean().item()
            for k, stage in enumerate(stages)
        }
        return {"stage": 1.0, "loss": loss.item(), **returns}

    def _train_base(self, spent: float) -> Mapping[str, float]:
        """One update of the base; ``spent``: the share of its own budget."""
        env_steps, grad_steps = self.base.env_steps, self.base.grad_steps
        metrics = self.base.update(spent)
        self.env_steps += self.base.env_steps - env_steps
        self.grad_steps += self.base.grad_steps - grad_steps
        self.updates += 1
        return {"stage": 0.0, **metrics}

    def _play(self) -> list[Stage]:
        """Episodes of a meta-batch before any adaptation and after each."""
        config = self.config
        rows = self.workers.rows(self.updates, config.tasks_per_update)
        noise = TrialNoise.of(f"train/lora_maml/{self.seed}", rows)
        tasks = self.family.sample("train", task_numbers(noise))
        initial = self._initial().new(self.base.policy, noise.agent.at("own"))
        adapters, stages = tree.detached(initial), []
        for k in range(config.inner_stages + 1):
            stages.append(self._episodes(adapters, tasks, noise.at("stage", k)))
            if k < config.inner_stages:
                adapters = tree.detached(self._adapted(adapters, stages[-1]))
        self.env_steps += self.workers.total(
            torch.stack([stage.buffer.live.sum() for stage in stages]).sum()
        )
        return stages

    @torch.no_grad()
    def _episodes(self, adapters: Adapters, tasks: Tasks, noise: TrialNoise) -> Stage:
        """Play episodes on each task, all side by side, and compute their advantages."""
        config, agent, family = self.config, self.base.agent(), self.family
        episodes = config.interval(family.trial("train"))
        with self.low_rank.on(agent.policy, adapters):
            buffer = play_side_by_side(agent, family, tasks, noise, episodes)
        advantage = episode_advantages(
            buffer.reward,
            spaces.features(buffer.obs, agent.observation),
            buffer.live,
            gamma=config.inner_gamma,
            lam=config.inner_lam,
            baseline=config.inner_baseline,
        )
        return Stage(buffer, self._log_prob_and_entropy(adapters, buffer)[0], advantage)

    def _log_prob_and_entropy(self, adapters: Adapters, buffer: TrialBuffer) -> tuple[Steps, Steps]:
        """Log-probabilities of the actions and entropies of the policy with these adapters, in nats; 0 if empty."""
        agent = self.base.agent()
        memory = agent.start(Clues(), Trial(1, 1), Rows.without_draws(buffer.live))
        with self.low_rank.on(agent.policy, adapters):
            out = agent.policy_outputs(memory, buffer)
        log_prob, entropy = agent.actions.log_prob_and_entropy(out, buffer.action)
        return torch.where(buffer.live, log_prob, 0.0), torch.where(buffer.live, entropy, 0.0)

    @torch.enable_grad()
    def _adapted(self, adapters: Adapters, stage: Stage) -> Adapters:
        """The adapters after the inner steps of a stage, as a function of the adapters before."""
        config, buffer = self.config, stage.buffer
        weight = standardised(stage.advantage, buffer.live, (1, 2))
        for _ in range(config.inner_steps):
            leaves = [x if x.requires_grad else x.requires_grad_() for x in tree.leaves(adapters)]
            log_prob, _ = self._log_prob_and_entropy(adapters, buffer)
            gain = mean_gain(log_prob, stage.behaviour, weight, buffer.live, config.inner_clip)
            gradients = torch.autograd.grad(-gain.sum(), leaves, create_graph=True)
            adapters, _ = sgd(adapters, gradients, lr=config.inner_lr, max_norm=config.inner_norm)
        return adapters

    def _after_adapting(self, stages: list[Stage], bonus: float) -> Float[Tensor, ""]:
        """The objective: the mean surrogate of all stages, as a function of the adapters' initial values."""
        adapters = self._initial().new(self.base.policy, Rows.without_draws(stages[0].buffer.live))
        gains = []
        for k, stage in enumerate(stages):
            live = stage.buffer.live
            log_prob, entropy = self._log_prob_and_entropy(adapters, stage.buffer)
            advantage = standardised(stage.advantage, live, (0, 1, 2))
            gain = clipped_surrogate(log_prob, stage.behaviour, advantage, self.config.clip)
            gains.append((gain + bonus * entropy).sum() / live.sum())
            if k < self.config.inner_stages:
                adapters = self._adapted(adapters, stage)
        return torch.stack(gains).mean()

    def _initial(self) -> PretrainedLora:
        """The adapters with their present initial values."""
        sides: dict[str, dict[str, Tensor]] = {side: {} for side in Adapters._fields}
        for key, x in self.start.items():
            side, _, name = key.partition("/")
            sides[side][name.replace("/", ".")] = x
        return PretrainedLora(self.low_rank, Adapters(**sides))

    def agent(self) -> FineTuned:
        """The base, and adapters that start from the meta-trained values."""
        agent = self.base.agent()
        initial = PretrainedLora(self.low_rank, tree.detached(self._initial().start))
        card = card_of(agent, initial, "lora_maml")
        total = card.params_total + card.params_trained
        card = dataclasses.replace(card, method="lora_maml", params_total=total)
        return FineTuned(agent, initial, self.config, card)
