"""The informed oracle on bandits: told the task, it pulls the best arm from the start."""

from __future__ import annotations

from torch import Tensor

from bridge.protocol import Clues, Decision, Trial
from bridge.references.base import ORACLE, Reference, argmax_random_ties
from bridge.rng import Rows
from bridge.tasks.bandit import Bandit


class BanditOracle(Reference):
    """Its memory is the mean reward of each arm, ``[B, k]``."""

    def __init__(self, family: Bandit, split: str = "id") -> None:
        self.card = ORACLE

    def start(self, clues: Clues, trial: Trial, rng: Rows) -> Tensor:
        """Read the arms, with the sign and scale of this task."""
        return Bandit.mean_rewards(clues.task)

    def act(self, memory: Tensor, obs: Tensor, rng: Rows, *, explore: bool) -> Decision:
        """The best arm."""
        return Decision(argmax_random_ties(memory, rng))
