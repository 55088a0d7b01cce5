"""Posterior sampling for the sparse point robot: walk to a goal drawn from the exact posterior, once an episode.

The prior is uniform over the 100 goals of training and test. A reward reveals the distance from the goal, or that the
goal is not near; goals with another reward are impossible.

Shape letters: B trials, G goals.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bridge.protocol import Clues, Step, Trial
from bridge.references.base import filled, reference_card
from bridge.references.plane.walkers import Walker
from bridge.rng import Rows
from bridge.tasks.goal_plane import length
from bridge.tasks.sparse_point import SparsePoint

_SAME = 1e-5
"""Rewards this near are equal: above the rounding of distances, below the differences between goals."""

Memory = dict[str, Tensor]


class ArcPsrl(Walker):
    """Posterior sampling that draws once an episode and goes there (Osband et al. 2013)."""

    card = reference_card("psrl", "heuristic")

    def __init__(self, family: SparsePoint, split: str) -> None:
        super().__init__(family)
        self.goals = family.prior_goals("train")

    def start(self, clues: Clues, trial: Trial, rng: Rows) -> Memory:
        """``possible [B, G]``: True for the goals that are not refuted; ``target [B, 2]``: this episode's draw."""
        return {"possible": filled(rng, True, len(self.goals)), "target": filled(rng, 0.0, 2)}

    def begin(self, memory: Memory, rng: Rows, *, episode: int) -> Memory:
        """A new draw."""
        draw = rng.categorical(memory["possible"].float())
        return memory | {"target": self.goals.to(rng.device)[draw]}

    def learn(self, memory: Memory, step: Step) -> Memory:
        """Keep the goals with this reward, or with the nearest possible one if no goal has it."""
        gap = length(step.next_obs[:, None] - self.goals.to(step.next_obs.device))
        off = (self.family.pay(gap, {}) - step.reward[:, None]).abs()
        off = torch.where(memory["possible"], off, torch.inf)
        return memory | {"possible": off <= off.amin(-1, keepdim=True) + _SAME}
