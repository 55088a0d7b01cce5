"""Multi-task RL: one policy for N known tasks, given the id of the task that it plays; trained by PPO.

Known tasks are those of ``--family F:tasks=N``. On them the agent's clue is the task's id. Any other task is played as
the *unknown* task, which training learns by hiding the id now and then. Without known tasks every id is hidden: one
policy for the whole distribution, which cannot tell tasks apart.

PPO is that of Schulman et al. 2017 (arXiv 1707.06347). The weights that a task owns are in ``rl_algos/task_table.py``.

How the tasks' gradients on shared weights become one is ``rl_algos/concerns/combining.py``.

Deviations from PPO as it is used for multi-task RL:
 1. Advantages come from a linear baseline of each task's own (``bridge/maths/baselines.py``), not from a critic.
 2. They are standardised within each task, so that a task with large returns does not dominate the others, unless
    ``advantages=raw``.
 3. Each epoch is one step on the whole batch.
 4. The learning rate falls linearly to zero over the budget, and so does the entropy bonus.

Shape letters: N slots of a batch (a task each), E episodes of each, H steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from bridge import spaces
from bridge.config import (
    Bounded,
    Count,
    CountOrZero,
    Depth,
    Holds,
    NonNegative,
    Positive,
    ReadIf,
    Share,
    Width,
)
from bridge.errors import UserError
from bridge.idle import Idle
from bridge.maths.baselines import Baseline, episode_advantages, standardised
from bridge.maths.surrogates import clipped_surrogate
from bridge.noise import TrialNoise
from bridge.protocol import Agent, Card, Clues, Decision, Trial
from bridge.rng import Rows
from bridge.training.learner import (
    CheckpointedLearner,
    backward,
    set_learning_rate,
    trained_card,
)
from bridge.training.rollouts import task_numbers
from bridge.training.search_space import Choice, LogUniform, Space
from rl_algos import per_task
from rl_algos.concerns import capacity, combiners, combining
from rl_algos.concerns.capacity import Network
from rl_algos.concerns.combiners import Combine
from rl_algos.per_task import Episodes
from rl_algos.policies import Feedforward
from rl_algos.task_table import Shared, TaskTable, chosen


@dataclass(frozen=True, kw_only=True)
class Config(Bounded):
    """Network and training of the multi-task policy."""

    display_name: ClassVar[str] = "Multi-task RL"
    read_if: ClassVar[ReadIf] = {
        "hidden_ids": ("shared", ("all", "trunk")),
        "weights": ("combine", ("static",)),
        "experts": ("network", ("experts", "moore", "soft_modules")),
    }

    network: Network = "mlp"
    """Kind of network: a multilayer perceptron, or one that tasks use differently."""
    hidden: Width = 64
    """Units of each hidden layer; of each expert's."""
    layers: Annotated[Depth, Holds("1 or more")] = 2
    """Number of hidden layers."""
    experts: Count = 4
    """Experts, or modules of each layer."""
    shared: Shared = "all"
    """Weights that tasks share: all but the first layer's biases, the trunk but not the heads, or nothing."""
    only: str = ""
    """Numbers of the known tasks that are trained on, joined by +, one after another in a sequence; empty: all."""
    hidden_ids: Share = 0.1
    """Share of slots that are played and learned from as an unknown task; 1: ids are never given, at test neither."""
    tasks_per_update: CountOrZero = 0
    """Slots of a batch (of each process); 0: 20, or more if episodes are short. Specialists (shared=nothing) are all in
    every batch."""
    episodes_per_task: Count = 10
    """Episodes of each slot."""
    epochs: Count = 8
    """Steps on each batch."""
    lr: Positive = 3e-3
    """Learning rate of Adam at the start."""
    weight_decay: NonNegative = 0.0
    """Share of the weights that a step takes away, a unit of learning rate (AdamW)."""
    clip: Positive = 0.2
    """Largest change of a ratio of probabilities before its gradient stops."""
    gamma: Share = 0.99
    """Discount a step."""
    lam: Share = 0.95
    """Trace of the generalised advantage."""
    baseline: Baseline = "linear"
    """Subtracted from returns: a linear fit to observation and time, or the mean at each time."""
    advantages: Literal["standardised", "raw"] = "standardised"
    """Standardised within each task, or in units of its reward."""
    combine: Combine = "mean"
    """Rule by which tasks' gradients on shared weights become one: the mean (equal: with conflicts in the log), weights
    that are given or learned, or surgery."""
    weights: str = ""
    """The weight of each known task, joined by +."""
    entropy: NonNegative = 0.01
    """Weight of the entropy bonus at the start, in nats."""
    max_grad_norm: Positive = 1.0
    """Gradients are scaled down to this norm, those of each specialist separately."""


SPACE: Space = {
    "lr": LogUniform(3e-4, 1e-2),
    "gamma": Choice((0.9, 0.95, 0.99, 1.0)),
    "lam": Choice((0.5, 0.9, 0.95, 1.0)),
    "entropy": LogUniform(1e-4, 0.1),
    "epochs": Choice((4, 8, 16)),
}
"""Search space."""


class Mtrl(Idle, nn.Module):
    """The frozen agent; it does not adapt. Its memory is the id of the task, or that of the unknown task, ``[B]``."""

    def __init__(self, table: TaskTable[Any], card: Card) -> None:
        super().__init__()
        self.table, self.card = table, card

    @property
    def actions(self) -> spaces.Actions:
        """The distributions of actions."""
        return self.table.net.actions

    def start(self, clues: Clues, trial: Trial, rng: Rows) -> Int[Tensor, " B"]:
        unknown = torch.full((len(rng),), self.table.known, device=rng.device)
        return unknown if clues.task_id is None else clues.task_id

    def act(self, memory: Int[Tensor, " B"], obs: Tensor, rng: Rows, *, explore: bool) -> Decision:
        out = per_task.out(self.table.net, self.table.rows(memory), obs)
        return self.actions.decide(out, rng if explore else None, self.card.temperature)


class MtrlLearner(CheckpointedLearner):
    """PPO on all tasks at once."""

    checkpointed = ("table", "optimizer")
    playing = ("table",)
    method = "mtrl"

    @property
    def known(self) -> int:
        """The number of known tasks; 0: none."""
        return self.family.tasks

    @property
    def together(self) -> int:
        """The number of known tasks that are trained on at once."""
        return len(self.tasks)

    def _build(self) -> None:
        family = self.family
        config: Config = self.config
        steps = config.episodes_per_task * family.trial("train").horizon
        self.slots = per_task.enough_tasks(config.tasks_per_update, steps)
        if config.shared == "nothing":  # Adam would also move a specialist that is not in a batch
            self.slots = max(self.slots, self.known)
        self.table = TaskTable(
            family,
            self.known,
            self._network,
            config.shared,
            ids=capacity.KINDS[config.network].owned,
            heads=("head.",),
        ).to(self.workers.device)
        self.tasks = chosen(config.only, self.known).to(self.workers.device)
        self.learned = list(self.table.parameters())
        self.optimizer = torch.optim.AdamW(
            self.learned, lr=config.lr, eps=1e-5, weight_decay=config.weight_decay
        )

        self.combiner: combining.Combiner | None = None
        if config.combine != "mean":
            self.combiner = combiners.make(
                config.combine,
                config.weights,
                known=self.known,
                together=self.together if config.hidden_ids < 1 else 0,
                shared=config.shared,
                gamma=config.gamma,
                to_raw="" if config.advantages == "raw" else "advantages=raw",
            ).to(self.workers.device)
            self.checkpointed = (*type(self).checkpointed, "combiner")
            if self.workers.count > 1 and any(True for _ in self.combiner.buffers()):
                raise UserError(
                    f"combine={config.combine} learns weights from all slots of a batch, and trains in one process; "
                    f"found {self.workers.count}. Use --processes 1, or another combine."
                )

    def _network(self) -> Feedforward:
        """A new network."""
        family, config = self.family, self.config
        return capacity.network(
            config.network,
            family.observation,
            family.action,
            hidden=config.hidden,
            layers=config.layers,
            experts=config.experts,
        )

    def update(self, spent: float = 0.0) -> Mapping[str, float]:
        """Play a batch of tasks, then take ``epochs`` steps of clipped policy gradient on it."""
        config, left = self.config, max(0.0, 1 - spent)
        task, episodes = self._play()
        set_learning_rate(self.optimizer, config.lr * left)
        for _ in range(config.epochs):
            metrics = self._backward(task, episodes, config.entropy * left)
            self.table.clip_gradients("", config.max_grad_norm)
            self.optimizer.step()
            self.grad_steps += 1
        self.updates += 1
        self.env_steps += self.workers.total(episodes.live.sum())
        return {"episode_return": episodes.reward.sum(-1).mean().item(), **metrics}

    def _play(self) -> tuple[Int[Tensor, " N"], Episodes]:
        """The id in each slot (that of the unknown task if the slot's own is hidden), and the slot's episodes."""
        config, family = self.config, self.family
        slot = self.workers.rows(self.updates, self.slots)
        noise = TrialNoise.of(f"train/mtrl/{self.seed}", slot)
        number = self._numbers(slot, noise)
        hidden_noise = Rows.of(f"learn/mtrl/{self.seed}", slot).at("hidden").uniform()
        task = self.table.with_hidden(number, hidden_noise, config.hidden_ids)
        episodes = self._roll_out(task, number, noise)
        advantage = episode_advantages(
            episodes.reward,
            spaces.features(episodes.obs, family.observation),
            episodes.live,
            gamma=config.gamma,
            lam=config.lam,
            baseline=config.baseline,
        )
        if self.combiner:
            self.combiner.watch(task, episodes.reward, episodes.live)
        if config.advantages == "standardised":
            advantage = standardised(advantage, episodes.live, (1, 2))
        return task, episodes._replace(advantage=advantage)

    def _numbers(self, slot: Int[Tensor, " N"], noise: TrialNoise) -> Int[Tensor, " N"]:
        """The number of the task in each slot: known tasks in turn, or new ones all the time."""
        return self.tasks[slot % len(self.tasks)] if self.known else task_numbers(noise)

    def _roll_out(
        self, task: Int[Tensor, " N"], number: Int[Tensor, " N"], noise: TrialNoise
    ) -> Episodes:
        """Episodes of the tasks of these numbers, each by the policy of the row ``task``."""
        return per_task.roll_out(
            self.table.net,
            self.table.rows(task),
            self.family,
            self.family.sample("train", number),
            noise,
            self.config.episodes_per_task,
        )

    def _backward(
        self, task: Int[Tensor, " N"], episodes: Episodes, bonus: float
    ) -> Mapping[str, float]:
        """Set the gradients; returns metrics."""
        if self.combiner is None:
            losses, entropy = self._losses(self.table.rows(task), episodes, bonus)
            backward(losses.mean(), self.optimizer, self.learned, self.workers)
            return {"entropy": entropy.item()}
        copies = self.table.copies(task)
        losses, entropy = self._losses(copies, episodes, bonus)
        rows = torch.arange(self.table.known + 1, device=task.device)
        noise = Rows.of(f"learn/mtrl/{self.seed}", rows).at("combine", self.grad_steps)
        combined = combining.backward(losses, copies, self.table, task, self.combiner, noise)
        self.workers.average_gradients(self.learned)
        return {"entropy": entropy.item(), **combining.metrics(combined)}

    def _losses(
        self, own: per_task.Parameters, episodes: Episodes, bonus: float
    ) -> tuple[Float[Tensor, " N"], Float[Tensor, ""]]:
        """Each slot's loss under its own parameters, and the mean entropy."""
        log_prob, entropy = per_task.log_prob_and_entropy(self.table.net, own, episodes)
        gain = clipped_surrogate(log_prob, episodes.behaviour, episodes.advantage, self.config.clip)
        steps = episodes.live.sum((1, 2))
        gain = torch.where(episodes.live, gain + bonus * entropy, 0.0).sum((1, 2)) / steps
        return -gain, (entropy * episodes.live).sum() / episodes.live.sum()

    def agent(self) -> Agent:
        """The policy as trained so far (it shares the learner's weights; copy it to keep it)."""
        clue = "id" if self.config.hidden_ids < 1 else "nothing"
        return Mtrl(self.table, trained_card(self.method, self.table.named(), clue=clue))
