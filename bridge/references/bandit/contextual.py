"""The informed oracle on contextual bandits, which pulls the best arm of each context."""

from __future__ import annotations

from torch import Tensor

from bridge.protocol import Clues, Decision, Trial
from bridge.references.base import Informed, argmax_random_ties
from bridge.rng import Rows
from bridge.tasks.base import row_entries


class ContextualOracle(Informed):
    """The oracle, which is given the task and plays optimally: on contextual bandits, each context's best arm.

    Its memory is the mean reward of each context and arm, ``[B, C, A]``.
    """

    def start(self, clues: Clues, trial: Trial, rng: Rows) -> Tensor:
        return self.family.mean_rewards(clues.task)

    def act(self, memory: Tensor, obs: Tensor, rng: Rows, *, explore: bool) -> Decision:
        return Decision(argmax_random_ties(row_entries(memory, obs), rng))
