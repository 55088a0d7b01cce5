"""Multi-task RL with known tasks one after another: what is forgotten, and what keeps it.

The policy and its training are those of ``mtrl``. Task 0 gets the first share of the budget, then task 1, and so on
(or the tasks of ``only=``, in its order); the learning rate starts anew with each. With ``keep=`` earlier tasks add a
loss of their own (``rl_algos/concerns/forgetting.py``). Without it this is plain fine-tuning, and ``mtrl`` on the same
budget, all tasks at once, is what it is measured against. Without known tasks all are one, and there is no sequence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Int
from torch import Tensor

from bridge.config import NonNegative, ReadIf
from bridge.errors import UserError
from bridge.noise import TrialNoise
from bridge.training.search_space import LogUniform, Space
from rl_algos import mtrl
from rl_algos.concerns import forgetting
from rl_algos.concerns.forgetting import Keep
from rl_algos.per_task import Episodes


@dataclass(frozen=True, kw_only=True)
class Config(mtrl.Config):
    """Network and training of the policy, and what keeps earlier tasks."""

    display_name: ClassVar[str] = "Multi-task RL in sequence"
    read_if: ClassVar[ReadIf] = {
        **mtrl.Config.read_if,
        "strength": ("keep", ("ewc", "replay", "distil")),
    }

    keep: Keep = "nothing"
    """What keeps earlier tasks: nothing, elastic weight consolidation, replayed episodes, or a copy of the policy."""
    strength: NonNegative = 1.0
    """Weight of each earlier task's loss beside the present task's."""


SPACE: Space = {**mtrl.SPACE, "strength": LogUniform(0.1, 1000.0)}
"""Search space."""


class MtrlSequenceLearner(mtrl.MtrlLearner):
    """PPO on one known task after another."""

    config: Config
    method = "mtrl_sequence"
    together = 1
    task = 0
    """The place in the sequence of the task that is trained on."""

    def _build(self) -> None:
        if self.workers.count > 1:
            raise UserError(
                f"{self.config.display_name} trains in one process, which keeps its earlier tasks; found "
                f"{self.workers.count}. Use --processes 1."
            )
        super()._build()
        self.keeper = forgetting.keeper(self.config.keep, clip=self.config.clip)
        self.checkpointed = (*self.checkpointed, "keeper")

    def update(self, spent: float = 0.0) -> Mapping[str, float]:
        """End the task that has had its share, then play and learn from the present one as ``mtrl`` does."""
        tasks = max(1, len(self.tasks))
        share = spent * tasks
        while self.task < min(int(share), tasks - 1):
            self._end_task()
        metrics = super().update(share - self.task)
        return {**metrics, "task": float(self.task)}

    def _end_task(self) -> None:
        """Show the keeper a batch of the task's own, which is paid for, and go on to the next task."""
        task, episodes = self._play()
        self.updates += 1
        self.env_steps += int(episodes.live.sum())
        self.keeper.end(self.table, task, episodes)
        self.task += 1

    def _numbers(self, slot: Int[Tensor, " N"], noise: TrialNoise) -> Int[Tensor, " N"]:
        if not self.family.tasks:
            return super()._numbers(slot, noise)
        return self.tasks[self.task].expand(len(slot))

    def _backward(
        self, task: Int[Tensor, " N"], episodes: Episodes, bonus: float
    ) -> Mapping[str, float]:
        """Set the gradients, those of earlier tasks included; returns metrics."""
        metrics = super()._backward(task, episodes, bonus)
        loss = self.keeper.loss(self.table)
        if loss is None:
            return metrics
        (self.config.strength * loss).backward()
        return {**metrics, "kept_loss": loss.item()}

    def state_dict(self) -> dict:
        """Everything that a restart needs, the number of the task included."""
        return super().state_dict() | {"task": self.task}

    def load_state_dict(self, state: Mapping) -> None:
        """Restore a ``state_dict``."""
        super().load_state_dict(state)
        self.task = state["task"]
