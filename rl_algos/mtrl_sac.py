"""Multi-task RL off policy: one soft actor-critic for N known tasks, told which of them it plays.

Multi-task SAC as in Meta-World (Yu et al. 2020, arXiv 1910.10897): the task's id is given to actor and critics, and
each task has a temperature of its own. Whom the agent is told of, what ``unknown`` means and what tasks may share is as
in ``rl_algos/mtrl.py``, by the same code.

Deviations from the paper:
 1. An id is the first layer's biases, instead of a one-hot vector beside the observation: the same function.
 2. Some of what is learned from is taken for an unknown task's (``hidden_ids``).
 3. Rewards are divided by the largest size of a reward that training has seen on their task, so that no task drowns the
 others (the original: as they are).
 4. One step of learning draws equally from each of several tasks, and takes place once in several steps of playing.
 5. The learning rate falls to zero over the second half of the budget.
 6. Without known tasks there are no ids: one policy for the whole distribution, which is new tasks all the time.

Shape letters: n tasks of one step, b transitions of each, E episodes, T steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.func import functional_call, vmap

from bridge import spaces
from bridge.config import Bounded, ReadIf, Width
from bridge.errors import UserError
from bridge.noise import TrialNoise
from bridge.protocol import Agent, Card
from bridge.rng import Rows
from bridge.tasks.base import Box, TaskFamily
from bridge.training.learner import CheckpointedLearner, seeded_init
from bridge.training.rollouts import task_numbers
from bridge.training.search_space import Choice, LogUniform, Space
from bridge.training.workers import Workers
from rl_algos import per_task
from rl_algos.mtrl import Mtrl
from rl_algos.policies import Policy
from rl_algos.replay import Replay, Stored, stored
from rl_algos.soft_actor_critic import SoftActorCritic, Transitions, target_entropy
from rl_algos.task_table import Shared, TaskTable


@dataclass(frozen=True, kw_only=True)
class Config(Bounded):
    """How the multi-task policy is built and trained."""

    display_name: ClassVar[str] = "Multi-task SAC"
    read_if: ClassVar[ReadIf] = {"hidden_ids": ("shared", ("all", "trunk"))}

    hidden: Width = 64
    """Units of each of two hidden layers of actor and critics."""
    shared: Shared = "all"
    """What tasks share: all but the first layer's biases, the trunk but not the heads, or nothing."""
    hidden_ids: float = 0.1
    """Share of a step's tasks whose transitions are learned from as an unknown task's."""
    tasks_per_update: int = 10
    """Tasks that are played between updates, in turn."""
    episodes_per_task: int = 5
    """Episodes played on each of them."""
    steps_per_grad: float = 5.0
    """Environment steps for each step of the optimiser."""
    meta_batch: int = 10
    """Tasks of each step."""
    batch: int = 64
    """Transitions of each of these tasks."""
    capacity: int = 10_000
    """Transitions of each task that are kept."""
    train_tasks: int = 100
    """Rings of that capacity where no tasks are known."""
    lr: float = 1e-3
    """Learning rate of Adam; over the second half of the budget it falls linearly to zero."""
    gamma: float = 0.95
    """Discount a step."""
    target_share: float = 0.01
    """How far the target critics move towards the critics at each step."""
    temperature: float = 0.1
    """Weight of the entropy at the start, beside scaled rewards."""
    entropy_share: float = 0.1
    """Discrete actions: the entropy aimed at, as a share of that of random play."""
    entropy_per_side: float = -1.0
    """Continuous actions: the entropy aimed at, in nats for each side of an action space that is scaled to [-1, 1]."""
    max_grad_norm: float = 10.0
    """Gradients are scaled down to this norm; those of specialists one by one."""

    def __post_init__(self) -> None:
        self.check_numbers(
            "1 or more",
            "hidden",
            "tasks_per_update",
            "episodes_per_task",
            "meta_batch",
            "batch",
            "capacity",
        )
        self.check_numbers("1 or more", "train_tasks")
        self.check_numbers(
            "above 0", "steps_per_grad", "lr", "temperature", "max_grad_norm", "target_share"
        )
        self.check_numbers("from 0 to 1", "gamma", "target_share", "entropy_share", "hidden_ids")


SPACE: Space = {
    "lr": LogUniform(3e-4, 3e-3),
    "gamma": Choice((0.9, 0.95, 0.99)),
    "target_share": Choice((0.005, 0.01, 0.02)),
    "entropy_share": Choice((0.05, 0.1, 0.2, 0.4)),
    "entropy_per_side": Choice((-2.0, -1.0, -0.5)),
    "steps_per_grad": Choice((2.0, 5.0, 10.0)),
}
"""What is tuned."""


_NETS = ("actor", "critic", "target")


class TaskSac(SoftActorCritic, Policy):
    """Actor and critics of one task; called with an observation, its policy."""

    def __init__(self, family: TaskFamily, config: Config) -> None:
        super().__init__(
            family.observation, family.action, hidden=config.hidden, temperature=config.temperature
        )
        self.observation = family.observation

    def forward(self, obs: Tensor) -> Float[Tensor, "*batch A"]:
        seen = spaces.features(obs, self.observation)
        return self.policy(seen, seen[..., :0])


class Losses(nn.Module):
    """What one task's transitions say of its actor and critics."""

    def __init__(self, soft: TaskSac, gamma: float, aim: float) -> None:
        super().__init__()
        self.soft, self.gamma, self.aim = soft, gamma, aim

    def forward(
        self, batch: Transitions, next_noise: Float[Tensor, "b D"], noise: Float[Tensor, "b D"]
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""], Float[Tensor, ""], Float[Tensor, ""]]:
        """The losses of critics, actor and temperature, and the entropy, each a mean over the transitions."""
        soft, nothing = self.soft, batch.obs[..., :0]
        alpha = soft.temperature()
        target = soft.targets(batch, nothing, next_noise, alpha, self.gamma)
        critic = soft.critic_loss(batch, nothing, target).mean()
        actor, entropy = soft.actor_loss(batch.obs, nothing, noise, alpha)
        return critic, actor.mean(), soft.temperature_loss(entropy, self.aim).mean(), entropy.mean()


class MtrlSacLearner(CheckpointedLearner):
    """Soft actor-critic on all tasks at once."""

    checkpointed = ("table", "optimizer", "replay")

    def __init__(
        self, family: TaskFamily, config: Config, *, seed: int, workers: Workers | None = None
    ) -> None:
        self.workers = workers or Workers()
        if self.workers.count > 1:
            raise UserError(
                "Multi-task SAC trains in one process: a checkpoint holds what that one has played. Use --processes 1."
            )
        self.family, self.config, self.seed = family, config, seed
        self.rings = family.tasks or config.train_tasks
        device = self.workers.device
        with seeded_init(seed):
            self.table = TaskTable(
                family,
                lambda: TaskSac(family, config),
                config.shared,
                ids=("actor.biases.0", "critic.biases.0"),
                always=("target.biases.0", "log_temperature"),
                heads=tuple(f"{net}.{part}.2" for net in _NETS for part in ("weights", "biases")),
            ).to(device)
        self._follow(1.0)
        aim = target_entropy(
            family.action, share=config.entropy_share, per_side=config.entropy_per_side
        )
        self.losses = Losses(self.table.net, config.gamma, aim)
        self.optimizer = torch.optim.Adam(
            [p for p in self.table.parameters() if p.requires_grad], lr=config.lr
        )
        self.replay = Replay(
            family.observation,
            family.action,
            tasks=self.rings,
            capacity=config.capacity,
            device=device,
        )
        self.largest = torch.zeros(self.rings, device=device)
        """The largest size of a reward that was seen on each task."""

    def update(self, spent: float = 0.0) -> Mapping[str, float]:
        """Play the tasks whose turn it is, then learn from all that were played so far."""
        config = self.config
        for group in self.optimizer.param_groups:
            group["lr"] = config.lr * min(1.0, 2 * max(0.0, 1 - spent))
        metrics = {"episode_return": self._play()}
        self.updates += 1
        steps = max(1, int(self.env_steps / config.steps_per_grad) - self.grad_steps)
        sums: dict[str, float] = {}
        for _ in range(steps):
            for name, value in self._learn().items():
                sums[name] = sums.get(name, 0.0) + value
            self.grad_steps += 1
        return metrics | {name: total / steps for name, total in sums.items()}

    def _play(self) -> float:
        """Some episodes of each of the tasks whose turn it is, stored; their mean return."""
        config, family = self.config, self.family
        together = min(config.tasks_per_update, self.rings)
        turn = (
            self.updates * together + torch.arange(together, device=self.workers.device)
        ) % self.rings
        noise = TrialNoise.of(f"train/mtrl_sac/{self.seed}", turn).at(self.updates)
        tasks = family.sample("train", turn if family.tasks else task_numbers(noise))
        own = self.table.rows(turn if family.tasks else torch.zeros_like(turn))
        count, horizon = config.episodes_per_task, family.trial("train").horizon
        rows, live = stored(
            per_task.play(self.table.net, own, family, tasks, noise, count, horizon)
        )
        rows, live = Stored(*(_by_task(part, together) for part in rows)), _by_task(live, together)
        self.replay.add(turn, rows, live)
        self.env_steps += int(live.sum())
        size = torch.where(live, rows.reward.abs(), 0.0).amax(1)
        self.largest[turn] = torch.maximum(self.largest[turn], size)
        return rows.reward.sum().item() / (together * count)

    def _learn(self) -> dict[str, float]:
        """One step on transitions of some of the tasks that were played."""
        config, table = self.config, self.table
        played = min(self.rings, self.updates * min(config.tasks_per_update, self.rings))
        noise = Rows.of(
            f"learn/mtrl_sac/{self.seed}", torch.arange(played, device=self.workers.device)
        )
        ring = noise.at("order", self.grad_steps).uniform().argsort()[: config.meta_batch]
        noise = noise[: len(ring)].at(self.grad_steps)
        batch = self._transitions(ring, noise.at("batch"))
        task, draws = (
            self._told(ring, noise.at("hidden")),
            [self._draws(noise.at(when)) for when in ("next", "now")],
        )
        with self.workers.autocast():
            critic, actor, temperature, entropy = self._losses_of(task, batch, *draws)
        self.optimizer.zero_grad(set_to_none=True)
        for name, losses in (
            ("critic.", critic),
            ("actor.", actor),
            ("log_temperature", temperature),
        ):
            self._combined(losses).backward(inputs=table.named(name), retain_graph=True)
            table.clip_gradients(name, config.max_grad_norm)
        self.optimizer.step()
        self._follow(config.target_share)
        numbers = {"loss_critic": critic, "value": -actor, "entropy": entropy}
        return {name: number.mean().item() for name, number in numbers.items()}

    def _losses_of(
        self,
        task: Int[Tensor, " n"],
        batch: Transitions,
        next_noise: Float[Tensor, "n b D"],
        noise: Float[Tensor, "n b D"],
    ) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"], Float[Tensor, " n"], Float[Tensor, " n"]]:
        """``Losses`` of each task, all in one call."""
        own = {f"soft.{name}": rows for name, rows in self.table.rows(task).items()}
        return vmap(lambda own, *given: functional_call(self.losses, own, given))(
            own, batch, next_noise, noise
        )

    def _transitions(self, ring: Int[Tensor, " n"], noise: Rows) -> Transitions:
        """Transitions ``[n, b, ...]`` as features, rewards in units of the largest of their task."""
        family, rows = self.family, self.replay.draw(ring, self.config.batch, noise)
        obs, next_obs = (
            spaces.features(seen, family.observation) for seen in (rows.obs, rows.next_obs)
        )
        largest = self.largest[ring]
        reward = rows.reward / torch.where(largest > 0, largest, 1.0)[:, None]
        return Transitions(
            obs,
            spaces.features(rows.action, family.action),
            reward,
            next_obs,
            rows.terminated.float(),
        )

    def _told(self, ring: Int[Tensor, " n"], noise: Rows) -> Int[Tensor, " n"]:
        """The tasks' ids, or that of the unknown one where they are hidden."""
        if not self.family.tasks:
            return torch.zeros_like(ring)
        hidden = noise.uniform() < (
            self.config.hidden_ids if self.config.shared != "nothing" else 0.0
        )
        return torch.where(hidden, self.family.tasks, ring)

    def _draws(self, noise: Rows) -> Float[Tensor, "n b D"]:
        """What continuous actions are drawn with; nothing (D = 0) where they are discrete."""
        space = self.family.action
        return noise.normal(self.config.batch, len(space.low) if isinstance(space, Box) else 0)

    def _combined(self, losses: Float[Tensor, " n"]) -> Float[Tensor, ""]:
        """One loss of all tasks': their mean."""
        return losses.mean()

    @torch.no_grad()
    def _follow(self, share: float) -> None:
        """Move the targets ``share`` of the way to the critics."""
        for slow, fast in zip(
            self.table.named("target."), self.table.named("critic."), strict=True
        ):
            slow.lerp_(fast, share)

    def agent(self) -> Agent:
        """The policy as trained so far (it shares the learner's weights; copy it to keep it)."""
        count = sum(p.numel() for p in self.table.named("actor."))
        card = Card(
            method="mtrl_sac",
            clue="id",
            supervision="reward",
            selection_rule="last",
            params_total=count,
            params_trained=count,
        )
        return Mtrl(self.table, card)

    def state_dict(self) -> dict[str, Any]:
        """What was played is part of it."""
        return super().state_dict() | {"largest": self.largest}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` gave."""
        super().load_state_dict(state)
        self.largest.copy_(state["largest"])


def _by_task(part: Tensor, tasks: int) -> Tensor:
    """``[n * E, T, ...]`` to ``[n, E * T, ...]``."""
    return part.unflatten(0, (tasks, -1)).flatten(1, 2)
