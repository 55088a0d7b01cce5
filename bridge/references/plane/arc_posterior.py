"""Posterior sampling for the sparse point robot: walk to a goal drawn from the exact posterior, once an episode.

The prior is even over the 100 goals of training and test. A step tells its distance from the goal, or that the goal is
not near; goals that would have paid otherwise are impossible.

Shape letters: B trials, G goals.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from bridge import memory as tree
from bridge.protocol import Card, Clues, Decision, Step, Trial
from bridge.references.base import Reference
from bridge.rng import Rows
from bridge.tasks.goal_plane import length
from bridge.tasks.sparse_point import SparsePoint

_SAME = 1e-5
"""Rewards this near are the same: above the rounding of distances, below what tells two goals apart."""

Memory = dict[str, Tensor]


class ArcPsrl(Reference):
    """Posterior sampling that draws once an episode and goes there (Osband et al. 2013)."""

    def __init__(self, family: SparsePoint, split: str) -> None:
        self.card = Card(
            method="psrl",
            reference=True,
            supervision="prior",
            decode_rule="rule",
            exact_reference="heuristic",
        )
        self.family, self.goals = family, family.prior_goals("train")

    def start(self, clues: Clues, trial: Trial, rng: Rows) -> Memory:
        """``possible [B, G]``: the goals not refuted; ``target [B, 2]``: this episode's draw."""
        possible = torch.ones(len(rng), len(self.goals), dtype=torch.bool, device=rng.device)
        return {"possible": possible, "target": torch.zeros(len(rng), 2, device=rng.device)}

    def begin(self, memory: Memory, rng: Rows, *, episode: int) -> Memory:
        """A new draw."""
        draw = rng.categorical(memory["possible"].float())
        return memory | {"target": self.goals.to(rng.device)[draw]}

    def act(
        self, memory: Memory, obs: Float[Tensor, "B 2"], rng: Rows, *, explore: bool
    ) -> Decision:
        """One step nearer to the draw."""
        return Decision(self.family.towards(memory["target"], obs, {}))

    def observe(self, memory: Memory, step: Step, carry: Any = None) -> Memory:
        """Keep the goals that would have paid this; a reward that none pays is read as the nearest that one does."""
        gap = length(step.next_obs[:, None] - self.goals.to(step.next_obs.device))
        off = (self.family.pay(gap, {}) - step.reward[:, None]).abs()
        off = torch.where(memory["possible"], off, torch.inf)
        possible = off <= off.amin(-1, keepdim=True) + _SAME
        return tree.where(step.live, memory | {"possible": possible}, memory)
