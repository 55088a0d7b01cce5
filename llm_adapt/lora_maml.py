"""MAML (Finn et al. 2017, arXiv 1703.03400) on adapters alone: where low-rank fine-tuning in a trial should begin.

    phi_t = phi, and K times phi_t <- phi_t + alpha grad J_t(theta, phi_t), on every task t
    phi <- phi + eta grad sum_t J_t(theta, phi_t), of phi_t before the first step and after each

theta is a transformer policy, pretrained on single episodes for all tasks (``llm_adapt/multi_task.py``) with the first
part of the budget, and fixed from then on; phi are its adapters (``llm_adapt/low_rank.py``). The gradient is that
*through* the inner steps. It is the bridge between ``rl_algos/maml.py``, which moves all weights from a meta-trained
start, and ``lora_reward_mt``, which moves adapters from none. Deviations from the paper:
 1. Only adapters are adapted, and only where they begin is meta-trained.
 2. Inner steps are differentiated with ``lvc`` (``bridge/maths/surrogates.py``), as in ``rl_algos/maml.py``.
 3. The outer step is PPO's clipped surrogate for some epochs, with Adam. Every stage of adaptation counts in it, as
    each of a trial's episodes does, and has an entropy bonus.
 4. Advantages are generalised and standardised, within each task inside, over the meta-batch outside.
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
from bridge.config import Width
from bridge.errors import UserError
from bridge.maths.baselines import standardised
from bridge.maths.optimizers import sgd
from bridge.maths.surrogates import clipped_surrogate
from bridge.noise import TrialNoise
from bridge.play import play_episode
from bridge.protocol import Clues, Step, Trial
from bridge.rng import Rows
from bridge.tasks.base import TaskFamily, Tasks
from bridge.test_time.agent import FineTuned, card_of
from bridge.test_time.objective import advantages, by_trial, mean_gain
from bridge.test_time.settings import GradientSteps
from bridge.test_time.trial_buffer import TrialBuffer
from bridge.training.learner import CheckpointedLearner
from bridge.training.rollouts import task_numbers
from bridge.training.search_space import LogUniform, Space
from bridge.training.workers import Workers
from llm_adapt import multi_task
from llm_adapt.low_rank import Adapters, BatchedLora, PretrainedLora, targets_of
from llm_adapt.multi_task import MtLearner


@dataclass(frozen=True, kw_only=True)
class Config(multi_task.Config, GradientSteps):
    """How the base is pretrained, and how its adapters' start is."""

    display_name: ClassVar[str] = "LoRA-MAML"

    inner_rule: Literal["adam", "sgd"] = "sgd"
    inner_lr: float = 1.0
    """Step size along the gradient of the mean over steps."""
    inner_steps: int = 1
    """Inner steps at a time, at test and in training alike."""
    inner_stages: int = 2
    """How many times training adapts; what is played before, between and after counts."""
    pretraining: float = 0.5
    """Share of the budget that the base is trained for."""
    rank: Width = 8
    """r of each adapter."""
    alpha: int = 16
    """What updates are multiplied by, times r."""
    tasks_per_update: int = 20
    """Tasks of a meta-batch (of each process)."""
    meta_epochs: int = 2
    """Outer steps on each meta-batch."""
    meta_lr: float = 3e-3
    """Learning rate of Adam at the start of meta-training."""

    def __post_init__(self) -> None:
        multi_task.Config.__post_init__(self)
        GradientSteps.__post_init__(self)
        self.check_numbers(
            "1 or more", "rank", "alpha", "tasks_per_update", "meta_epochs", "inner_stages"
        )
        self.check_numbers("above 0", "meta_lr")
        self.check_numbers("from 0 to 1", "pretraining")
        if self.inner_rule != "sgd":
            raise UserError(
                "LoRA-MAML differentiates through plain inner steps. Leave inner_rule out."
            )


SPACE: Space = {
    **multi_task.SPACE,
    "inner_lr": LogUniform(0.1, 10.0),
    "meta_lr": LogUniform(3e-4, 1e-2),
}
"""What is tuned."""


class Stage(NamedTuple):
    """Episodes of a meta-batch between two adaptations."""

    lived: TrialBuffer
    behaviour: Float[Tensor, "N E H"]
    """Log-probability of what was done, in nats; 0 at empty places."""
    advantage: Float[Tensor, "N E H"]
    """How much better than expected it was, in units of reward."""


class LoraMamlLearner(CheckpointedLearner):
    """A base, then meta-batches of tasks: each played, adapted to, and played again."""

    checkpointed = ("base", "start", "optimizer")

    def __init__(
        self, family: TaskFamily, config: Config, *, seed: int, workers: Workers | None = None
    ) -> None:
        self.family, self.config, self.seed, self.workers = (
            family,
            config,
            seed,
            workers or Workers(),
        )
        self.base = MtLearner(family, config, seed=seed, workers=self.workers)
        policy = self.base.policy
        self.low_rank = BatchedLora(
            rank=config.rank, alpha=config.alpha, targets=targets_of(policy)
        )
        first = self.low_rank.new(policy, Rows.of(f"start/lora_maml/{seed}", torch.arange(1)))
        self.start = nn.ParameterDict(
            {
                f"{side}/{name}".replace(".", "/"): x
                for side, own in first._asdict().items()
                for name, x in own.items()
            }
        ).to(self.workers.device)
        self.optimizer = torch.optim.Adam(self.start.parameters(), lr=config.meta_lr, eps=1e-5)

    def update(self, spent: float = 0.0) -> Mapping[str, float]:
        """One update of the base, or, once that has had its share, of where adapters begin."""
        share = self.config.pretraining
        if spent < share:
            before = self.base.env_steps, self.base.grad_steps
            metrics = self.base.update(spent / share)
            self.env_steps += self.base.env_steps - before[0]
            self.grad_steps += self.base.grad_steps - before[1]
            self.updates += 1
            return {"stage": 0.0} | dict(metrics)
        left = max(0.0, 1 - spent) / max(1e-9, 1 - share)
        stages, bonus = self._play(), self.config.entropy * min(1.0, left)
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.meta_lr * min(1.0, left)
        for _ in range(self.config.meta_epochs):
            with sdpa_kernel(SDPBackend.MATH):  # the others have no second derivatives
                loss = -self._after_adapting(stages, bonus)
                self.optimizer.zero_grad(set_to_none=True)
                loss.backward(inputs=list(self.start.parameters()))
            self.workers.average_gradients(self.start.parameters())
            norm = nn.utils.clip_grad_norm_(self.start.parameters(), self.config.max_grad_norm)
            if bool(torch.isfinite(norm)):
                self.optimizer.step()
            self.grad_steps += 1
        self.updates += 1
        returns = {
            f"return_{k}": stage.lived.reward.sum(-1).mean().item()
            for k, stage in enumerate(stages)
        }
        return {"stage": 1.0, "loss": loss.item(), **returns}

    def _play(self) -> list[Stage]:
        """Episodes of a meta-batch before any adaptation and after each."""
        config = self.config
        noise = TrialNoise.of(
            f"train/lora_maml/{self.seed}", self.workers.rows(self.updates, config.tasks_per_update)
        )
        tasks = self.family.sample("train", task_numbers(noise))
        adapters, stages = (
            tree.detached(self._begun().new(self.base.policy, noise.agent.at("own"))),
            [],
        )
        for k in range(config.inner_stages + 1):
            stages.append(self._episodes(adapters, tasks, noise.at("stage", k)))
            if k < config.inner_stages:
                adapters = tree.detached(self._adapted(adapters, stages[-1]))
        self.env_steps += self.workers.total(
            torch.stack([stage.lived.live.sum() for stage in stages]).sum()
        )
        return stages

    @torch.no_grad()
    def _episodes(self, adapters: Adapters, tasks: Tasks, noise: TrialNoise) -> Stage:
        """Some on each task, side by side, with advantages."""
        config, agent, trial = self.config, self.base.agent(), self.family.trial("train")
        each, steps = config.interval(trial), []
        together = noise.fork(each)
        memory = agent.start(Clues(), Trial(1, trial.horizon), together.agent.at("start"))
        with self.low_rank.on(agent.policy, adapters):
            play_episode(
                agent,
                self.family,
                tree.fork(tasks, each),
                memory,
                together,
                episode=0,
                horizon=trial.horizon,
                visit=lambda _t, step: steps.append(step),
            )
        lived = _by_task(steps, len(noise), each)
        advantage = advantages(
            lived,
            agent.observation,
            gamma=config.inner_gamma,
            lam=config.inner_lam,
            baseline=config.inner_baseline,
        )
        return Stage(lived, self._log_prob_and_entropy(adapters, lived)[0], advantage)

    def _log_prob_and_entropy(
        self, adapters: Adapters, lived: TrialBuffer
    ) -> tuple[Float[Tensor, "N E H"], Float[Tensor, "N E H"]]:
        """Of what was done, and of the policy with these adapters, in nats; 0 at empty places."""
        agent = self.base.agent()
        with self.low_rank.on(agent.policy, adapters):
            out = agent.policy_outputs(
                agent.start(Clues(), Trial(1, 1), Rows(lived.live[:, 0, 0].long())), lived
            )
        log_prob, entropy = agent.actions.log_prob_and_entropy(out, lived.action)
        return torch.where(lived.live, log_prob, 0.0), torch.where(lived.live, entropy, 0.0)

    @torch.enable_grad()
    def _adapted(self, adapters: Adapters, stage: Stage) -> Adapters:
        """After the inner steps of a stage, as a function of the adapters before."""
        config, weight = self.config, by_trial(stage.advantage, stage.lived)
        for _ in range(config.inner_steps):
            leaves = [x if x.requires_grad else x.requires_grad_() for x in tree.leaves(adapters)]
            log_prob, _ = self._log_prob_and_entropy(adapters, stage.lived)
            gain = mean_gain(log_prob, stage.behaviour, weight, stage.lived.live, config.inner_clip)
            gradients = torch.autograd.grad(-gain.sum(), leaves, create_graph=True)
            adapters, _ = sgd(adapters, gradients, lr=config.inner_lr, max_norm=config.inner_norm)
        return adapters

    def _after_adapting(self, stages: list[Stage], bonus: float) -> Float[Tensor, ""]:
        """What is maximised: the surrogates of all stages, as a function of where adapters begin."""
        adapters = self._begun().new(self.base.policy, Rows(stages[0].lived.live[:, 0, 0].long()))
        gains = []
        for k, stage in enumerate(stages):
            log_prob, entropy = self._log_prob_and_entropy(adapters, stage.lived)
            advantage, steps = (
                standardised(stage.advantage, stage.lived.live, (0, 1, 2)),
                stage.lived.live.sum(),
            )
            gain = (
                clipped_surrogate(log_prob, stage.behaviour, advantage, self.config.clip)
                + bonus * entropy
            )
            gains.append(gain.sum() / steps)
            if k < self.config.inner_stages:
                adapters = self._adapted(adapters, stage)
        return torch.stack(gains).mean()

    def _begun(self) -> PretrainedLora:
        """Where adapters begin."""
        sides: dict[str, dict[str, Tensor]] = {side: {} for side in Adapters._fields}
        for key, x in self.start.items():
            side, _, name = key.partition("/")
            sides[side][name.replace("/", ".")] = x
        return PretrainedLora(self.low_rank, Adapters(**sides))

    def agent(self) -> FineTuned:
        """The base, and adapters that begin where training left them."""
        agent, begun = self.base.agent(), self._begun()
        start = PretrainedLora(self.low_rank, tree.detached(begun.start))
        card = card_of(agent, start, "lora_maml")
        count = card.params_total + card.params_trained
        return FineTuned(
            agent,
            start,
            self.config,
            dataclasses.replace(card, method="lora_maml", params_total=count),
        )


def _by_task(steps: list[Step], tasks: int, each: int) -> TrialBuffer:
    """Steps of ``tasks`` times ``each`` episodes as those of each task."""

    def stacked(name: str) -> Tensor:
        return torch.stack([getattr(step, name) for step in steps], 1).unflatten(0, (tasks, each))

    live = torch.ones_like(stacked("terminated")) if steps[0].live is None else stacked("live")
    names = ("obs", "action", "reward", "next_obs", "terminated", "truncated")
    return TrialBuffer(*(stacked(name) for name in names), live)
