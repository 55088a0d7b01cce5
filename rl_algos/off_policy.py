"""The learner of off-policy methods: soft actor-critic on a replay buffer for each task (``rl_algos/replay.py``)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch.optim import Optimizer

from bridge.errors import UserError
from bridge.training.learner import CheckpointedLearner, mean_metrics, set_learning_rate
from rl_algos.soft_actor_critic import target_entropy


class OffPolicyLearner(CheckpointedLearner, ABC):
    """Plays some tasks, then takes a gradient step for every ``steps_per_grad`` environment steps so far.

    Raises:
        UserError: training in several processes: each would have a replay buffer of its own.
    """

    optimizers: list[Optimizer]
    """Their learning rates fall linearly to zero over the second half of the budget."""

    def _build(self) -> None:
        config = self.config
        if self.workers.count > 1:
            raise UserError(
                f"{config.display_name} trains in one process, whose replay buffer its checkpoints hold; found "
                f"{self.workers.count}. Use --processes 1."
            )
        self.entropy_target = target_entropy(
            self.family.action, share=config.entropy_share, per_side=config.entropy_per_side
        )

    def update(self, spent: float = 0.0) -> Mapping[str, float]:
        """Play the next tasks, then learn from all that were played so far."""
        config = self.config
        for optimizer in self.optimizers:
            set_learning_rate(optimizer, config.lr * min(1.0, 2 * max(0.0, 1 - spent)))
        returns = self._play()
        self.updates += 1
        steps = max(1, int(self.env_steps / config.steps_per_grad) - self.grad_steps)
        return returns | mean_metrics([self._learn() for _ in range(steps)])

    @abstractmethod
    def _play(self) -> dict[str, float]:
        """Play the next tasks and store their transitions; returns mean returns."""

    @abstractmethod
    def _learn(self) -> dict[str, float]:
        """One gradient step on transitions of some of the tasks that were played; returns its metrics."""
