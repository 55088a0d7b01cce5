"""Multi-task RL off policy: one soft actor-critic for N known tasks, given the id of the task that it plays.

Multi-task SAC as in Meta-World (Yu et al. 2020, arXiv 1910.10897): the task's id is an input of actor and critics, and
each task has a temperature of its own. The agent, the meaning of ``unknown`` and what tasks may share are those of
``rl_algos/mtrl.py``, by the same code.

Deviations from the paper:
 1. An id selects the first layer's biases; the paper's one-hot vector beside the observation is the same function.
 2. A share of what is learned from is treated as an unknown task's (``hidden_ids``).
 3. Rewards are divided by the largest size of a reward seen on their task, so that no task dominates the others (the
    paper: unscaled, ``rewards=raw``), or critics predict standard scores (``rewards=popart``, ``concerns/popart.py``).
 4. A gradient step draws equally from each of several tasks and follows several environment steps.
 5. The learning rate falls linearly to zero over the second half of the budget.
 6. Without known tasks there are no ids: one policy for the whole distribution, trained on new tasks all the time.

Shape letters: n tasks of a gradient step, b transitions of each, E episodes, T steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.func import functional_call, vmap

from bridge import spaces
from bridge.config import Bounded, Count, Positive, PositiveShare, ReadIf, Share, Width
from bridge.noise import TrialNoise
from bridge.protocol import Agent
from bridge.rng import Rows
from bridge.tasks.base import TaskFamily
from bridge.test_time.trial_buffer import TrialBuffer
from bridge.training.learner import trained_card
from bridge.training.rollouts import play_side_by_side, task_numbers
from bridge.training.search_space import Choice, LogUniform, Space
from rl_algos import per_task
from rl_algos.concerns import combiners, combining
from rl_algos.concerns.combiners import Combine
from rl_algos.concerns.popart import PopArt, Unscaled
from rl_algos.mtrl import Mtrl
from rl_algos.off_policy import OffPolicyLearner
from rl_algos.per_task import Parameters
from rl_algos.policies import Policy
from rl_algos.replay import Replay
from rl_algos.soft_actor_critic import SoftActorCritic
from rl_algos.task_table import Shared, TaskTable
from rl_algos.transitions import Transitions


@dataclass(frozen=True, kw_only=True)
class Config(Bounded):
    """Networks and training of multi-task SAC."""

    display_name: ClassVar[str] = "Multi-task SAC"
    read_if: ClassVar[ReadIf] = {
        "hidden_ids": ("shared", ("all", "trunk")),
        "weights": ("combine", ("static",)),
    }

    hidden: Width = 64
    """Units of each of two hidden layers of actor and critics."""
    shared: Shared = "all"
    """Weights that tasks share: all but the first layer's biases, the trunk but not the heads, or nothing."""
    hidden_ids: Share = 0.1
    """Share of a gradient step's tasks whose transitions are learned from as an unknown task's; 1: ids are never given,
    at test neither."""
    tasks_per_update: Count = 10
    """Tasks played between updates, in turn."""
    episodes_per_task: Count = 5
    """Episodes played on each of them."""
    steps_per_grad: Positive = 5.0
    """Environment steps for each gradient step."""
    meta_batch: Count = 10
    """Tasks of each gradient step."""
    batch: Count = 64
    """Transitions of each of these tasks."""
    capacity: Count = 10_000
    """Most transitions of each task in the replay buffer."""
    train_tasks: Count = 100
    """Number of replay buffers of that capacity if no tasks are known."""
    lr: Positive = 1e-3
    """Learning rate of Adam; it falls linearly to zero over the second half of the budget."""
    gamma: Share = 0.95
    """Discount a step."""
    target_share: PositiveShare = 0.01
    """Share of the way to the critics that the target critics move at each gradient step."""
    temperature: Positive = 0.1
    """Weight of the entropy at the start, in the unit of what critics predict."""
    entropy_share: Share = 0.1
    """Discrete actions: target of the entropy, as a share of the entropy of random play."""
    entropy_per_side: float = -1.0
    """Continuous actions: target of the entropy, in nats a dimension, for an action space scaled to [-1, 1]."""
    max_grad_norm: Positive = 10.0
    """Gradients are scaled down to this norm, those of each specialist separately."""
    rewards: Literal["scaled", "raw", "popart"] = "scaled"
    """Unit of values: the largest reward of a task, that of its rewards, or the running mean and scale of its values,
    with critics that have an output layer of each task's own."""
    combine: Combine = "mean"
    """Rule by which tasks' gradients on the shared weights of actor and critics become one (each by itself): the mean
    (equal: with conflicts in the log), weights that are given or learned (uncertainty, dwa: the critics' only), or
    surgery."""
    weights: str = ""
    """The weight of each known task, joined by +."""


SPACE: Space = {
    "lr": LogUniform(3e-4, 3e-3),
    "gamma": Choice((0.9, 0.95, 0.99)),
    "target_share": Choice((0.005, 0.01, 0.02)),
    "entropy_share": Choice((0.05, 0.1, 0.2, 0.4)),
    "entropy_per_side": Choice((-2.0, -1.0, -0.5)),
    "steps_per_grad": Choice((2.0, 5.0, 10.0)),
}
"""Search space."""


def _head(net: str) -> tuple[str, str]:
    """The names of the weights and the biases of a network's last layer."""
    return f"{net}.weights.2", f"{net}.biases.2"


class TaskSac(SoftActorCritic, Policy):
    """Actor and critics of one task. Called with an observation, it is the policy."""

    def __init__(self, family: TaskFamily, config: Config) -> None:
        super().__init__(
            family.observation, family.action, hidden=config.hidden, temperature=config.temperature
        )
        self.observation = family.observation

    def forward(self, obs: Tensor) -> Float[Tensor, "*batch A"]:
        features = spaces.features(obs, self.observation)
        return self.policy(features, features[..., :0])


class Targets(nn.Module):
    """The targets of one task's critics on its transitions, as a module for ``functional_call``."""

    def __init__(self, soft: TaskSac, gamma: float) -> None:
        super().__init__()
        self.soft, self.gamma = soft, gamma

    def forward(
        self,
        batch: Transitions,
        noise: Float[Tensor, "b D"],
        mean: Float[Tensor, ""],
        scale: Float[Tensor, ""],
    ) -> Float[Tensor, " b"]:
        """The targets, in units of reward; ``mean`` and ``scale`` are those of the values."""
        return self.soft.targets(batch, batch.obs[..., :0], noise, self.gamma, mean, scale)


class Losses(nn.Module):
    """The losses of one task's actor and critics on its transitions, as a module for ``functional_call``."""

    def __init__(self, soft: TaskSac, entropy_target: float) -> None:
        super().__init__()
        self.soft, self.entropy_target = soft, entropy_target

    def forward(
        self, batch: Transitions, target: Float[Tensor, " b"], noise: Float[Tensor, "b D"]
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""], Float[Tensor, ""], Float[Tensor, ""]]:
        """The losses of critics, actor and temperature, and the entropy: means over the transitions."""
        soft, no_condition = self.soft, batch.obs[..., :0]
        critic = soft.critic_loss(batch, no_condition, target).mean()
        value, entropy = soft.soft_value(soft.critic, batch.obs, no_condition, noise)
        temperature = soft.temperature_loss(entropy, self.entropy_target).mean()
        return critic, -value.mean(), temperature, entropy.mean()


class MtrlSacLearner(OffPolicyLearner):
    """Soft actor-critic on all tasks at once."""

    checkpointed = ("table", "optimizer", "replay")
    playing = ("table",)
    config: Config

    def _build(self) -> None:
        super()._build()
        family, config, device = self.family, self.config, self.workers.device
        self.rings = family.tasks or config.train_tasks
        self.together = min(config.tasks_per_update, self.rings)
        """Tasks played between updates."""
        self.given = family.tasks > 0 and config.hidden_ids < 1
        """True if the ids of known tasks are given."""
        popart, values = config.rewards == "popart", (*_head("critic"), *_head("target"))
        self.table = TaskTable(
            family,
            family.tasks,
            lambda: TaskSac(family, config),
            config.shared,
            ids=("actor.biases.0", "critic.biases.0"),
            heads=(*_head("actor"), *values),
            always=("target.biases.0", "log_temperature", *(values if popart else ())),
        ).to(device)
        self._follow(1.0)
        self.combiners = self._combiners()
        if self.combiners:
            self.combining = nn.ModuleDict(self.combiners).to(device)
            self.checkpointed = (*self.checkpointed, "combining")
        self.unit = Unscaled()
        """The unit of the critics' outputs."""
        if popart:
            self.unit = PopArt(family.tasks + 1).to(device)
            self.checkpointed = (*self.checkpointed, "unit")
        self.targets = Targets(self.table.net, config.gamma)
        self.losses = Losses(self.table.net, self.entropy_target)
        learned = [p for p in self.table.parameters() if p.requires_grad]
        self.optimizer = torch.optim.Adam(learned, lr=config.lr)
        self.optimizers = [self.optimizer]
        self.replay = Replay(
            family.observation,
            family.action,
            tasks=self.rings,
            capacity=config.capacity,
            device=device,
        )
        self.largest = torch.zeros(self.rings, device=device)
        """Size of the largest reward seen on each task."""

    def _combiners(self) -> dict[str, combining.Combiner]:
        """The rule for critics, actor and temperature; none if their gradients are those of mean losses."""
        config = self.config
        if config.combine == "mean":
            return {}
        others = "equal" if config.combine in combiners.OF_ERRORS else config.combine
        rules = {"critic": config.combine, "actor": others, "log_temperature": others}
        return {
            name: combiners.make(
                rule,
                config.weights,
                known=self.family.tasks,
                together=self.family.tasks if self.given else 0,
                shared=config.shared,
                gamma=config.gamma,
                errors=name == "critic",
                to_raw="" if config.rewards == "raw" else "rewards=raw",
            )
            for name, rule in rules.items()
        }

    def _play(self) -> dict[str, float]:
        """Play and store some episodes of each of the next tasks; returns their mean return."""
        config, family = self.config, self.family
        first = self.updates * self.together
        number = first + torch.arange(self.together, device=self.workers.device)
        ring = number % self.rings
        noise = TrialNoise.of(f"train/mtrl_sac/{self.seed}", ring).at(self.updates)
        tasks = family.sample("train", ring if family.tasks else task_numbers(noise))
        own = self.table.rows(ring if self.given else torch.full_like(ring, self.table.known))
        count = config.episodes_per_task
        agent = per_task.PerTask(self.table.net, own)
        steps = play_side_by_side(agent, family, tasks, noise, count)
        for combiner in self.combiners.values():
            combiner.watch(ring, steps.reward, steps.live)
        steps = TrialBuffer(*(part.flatten(1, 2) for part in steps))
        self.replay.add(ring, Transitions.of(steps), steps.live)
        self.env_steps += int(steps.live.sum())
        size = torch.where(steps.live, steps.reward.abs(), 0.0).amax(1)
        self.largest[ring] = torch.maximum(self.largest[ring], size)
        return {"episode_return": steps.reward.sum().item() / (self.together * count)}

    def _learn(self) -> dict[str, float]:
        """One gradient step on transitions of some of the tasks that were played."""
        config, table = self.config, self.table
        played = min(self.rings, self.updates * self.together)
        rows = torch.arange(played, device=self.workers.device)
        noise = Rows.of(f"learn/mtrl_sac/{self.seed}", rows)
        ring = noise.at("order", self.grad_steps).uniform().argsort()[: config.meta_batch]
        noise = noise[: len(ring)].at(self.grad_steps)
        batch = self._transitions(ring, noise.at("batch"))
        task = table.with_hidden(ring, noise.at("hidden").uniform(), config.hidden_ids)
        draws = [table.net.action_noise(noise.at(name), config.batch) for name in ("next", "now")]
        with self.workers.autocast():
            target = self._targets_of(task, batch, draws[0])
            own = table.rows(task) | (table.copies(task) if self.combiners else {})
            critic, actor, temperature, entropy = self._losses_of(own, batch, target, draws[1])
        self.optimizer.zero_grad()
        found: dict[str, float] = {}
        for name, losses in (
            ("critic", critic),
            ("actor", actor),
            ("log_temperature", temperature),
        ):
            found |= self._backward(name, losses, own, task)
            table.clip_gradients(name, config.max_grad_norm)
        self.optimizer.step()
        self.grad_steps += 1
        self._follow(config.target_share)
        means = {"loss_critic": critic, "value": -actor, "entropy": entropy}
        return found | {name: value.mean().item() for name, value in means.items()}

    def _backward(
        self, name: str, losses: Float[Tensor, " n"], own: Parameters, task: Int[Tensor, " n"]
    ) -> dict[str, float]:
        """Set the gradients of the parameters whose names begin with ``name``; returns metrics."""
        table = self.table
        if not self.combiners:
            losses.mean().backward(inputs=table.named(name), retain_graph=True)
            return {}
        copies = {key: own[key] for key in own if key.startswith(name)}
        rows = torch.arange(table.known + 1, device=task.device)
        noise = Rows.of(f"learn/mtrl_sac/{self.seed}", rows).at("combine", name, self.grad_steps)
        combiner = self.combiners[name]
        combined = combining.backward(losses, copies, table, task, combiner, noise)
        return combining.metrics(combined, f"{name}_")

    def _targets_of(
        self, task: Int[Tensor, " n"], batch: Transitions, noise: Float[Tensor, "n b D"]
    ) -> Float[Tensor, "n b"]:
        """``Targets`` of each task in the unit of its critics, which move the unit first, all in one call."""
        mean, scale = (part.float() for part in self.unit.statistics(task))
        named = {f"soft.{name}": rows for name, rows in self.table.rows(task).items()}
        call = vmap(partial(functional_call, self.targets))
        targets = call(named, (batch, noise, mean, scale))
        heads = (_head("critic"), _head("target"))
        layers = [(self.table.parameter(w), self.table.parameter(b)) for w, b in heads]
        self.unit.update(targets, task, layers)
        return self.unit.normalised(targets, task)

    def _losses_of(
        self,
        own: Parameters,
        batch: Transitions,
        target: Float[Tensor, "n b"],
        noise: Float[Tensor, "n b D"],
    ) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"], Float[Tensor, " n"], Float[Tensor, " n"]]:
        """``Losses`` of each task under its own parameters, all in one call."""
        named = {f"soft.{name}": rows for name, rows in own.items()}
        return vmap(partial(functional_call, self.losses))(named, (batch, target, noise))

    def _transitions(self, ring: Int[Tensor, " n"], noise: Rows) -> Transitions:
        """Transitions ``[n, b, ...]`` as features; if rewards are scaled, divided by the largest of their task."""
        rows = self.replay.draw(ring, self.config.batch, noise)
        scaled = self.config.rewards == "scaled"
        largest = self.largest[ring] if scaled else torch.ones_like(self.largest[ring])
        return rows.features(self.family.observation, self.family.action, largest[:, None])

    @torch.no_grad()
    def _follow(self, share: float) -> None:
        """Move the target critics ``share`` of the way to the critics."""
        for target, critic in zip(
            self.table.named("target."), self.table.named("critic."), strict=True
        ):
            target.lerp_(critic, share)

    def agent(self) -> Agent:
        """The policy as trained so far (it shares the learner's weights; copy it to keep it)."""
        clue = "id" if self.config.hidden_ids < 1 else "nothing"
        return Mtrl(self.table, trained_card("mtrl_sac", self.table.named("actor."), clue=clue))

    def state_dict(self) -> dict[str, Any]:
        """Everything that a restart needs, the replay buffer included."""
        return super().state_dict() | {"largest": self.largest}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a ``state_dict``."""
        super().load_state_dict(state)
        self.largest.copy_(state["largest"])
