"""The sparse point robot: a goal on the unit half circle, with rewards only near it, for 20 steps.

Rakelly et al. 2019, "Efficient Off-Policy Meta-Reinforcement Learning via Probabilistic Context Variables", section 6.3
and its code: 100 goals evenly on the half circle, shuffled by numpy's RandomState(1337), the last 20 for testing;
actions in [-1, 1] are scaled to moves of at most 0.1 a side; an episode ends by time alone; 20 episodes are evaluated.

Rewards (``variant=``):

* ``sparse``: 1 minus the distance within 0.2 of the goal, 0 elsewhere; the authors adapt to it and evaluate on it.
* ``dense``: the negative distance; the authors train their critic on it. The two cannot be compared with each other.

The last 8 of the 80 training goals are kept for ``id_val``. The paper's text and code give several radii; 0.2 is the
code's, axis ``goal_radius`` has others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bridge.protocol import Step
from bridge.rng import Rows
from bridge.tasks import shifts
from bridge.tasks.base import Axis, Split, Tasks
from bridge.tasks.goal_plane import (
    OWN_VARIABLES,
    SHARED_AXES,
    GoalPlane,
    Params,
    Points,
    Scalars,
    length,
)

GOALS = 100
GOAL_RADIUS = 0.2
_STREAMS = {"train": slice(0, 72), "id_val": slice(72, 80), "id": slice(80, GOALS)}

_GOAL_AXES = {
    "arc": Axis(
        "degrees by which the half circle is turned",
        (0.0, 45.0, 90.0, 135.0, 180.0),
        "agents that know the arc",
    ),
    "ring": Axis(
        "radius of the half circle",
        (1.0, 1.1, 1.2, 1.3, 1.4),
        "agents that explore only where training goals were",
    ),
}
_GOAL_RADIUS = Axis(
    "distance that is paid",
    (GOAL_RADIUS, 0.05, 0.1, 0.4, 0.8),
    "searches spaced for the trained radius",
)


@dataclass(frozen=True, kw_only=True)
class SparsePoint(GoalPlane):
    """PEARL's point robot on the half circle."""

    variant: Literal["sparse", "dense"] = "sparse"
    """The reward: near the goal alone, or everywhere."""

    name: ClassVar[str] = "sparse_point"
    horizon: ClassVar[int] = 20
    neutral: ClassVar[Mapping[str, Any]] = {**GoalPlane.neutral, "radius": GOAL_RADIUS}

    @property
    def reach(self) -> float:
        return 1.0

    @property
    def own_axes(self) -> Mapping[str, Axis]:
        axes = SHARED_AXES | _GOAL_AXES | {"reward_delay": shifts.reward_delay(self.horizon)}
        return axes | {"goal_radius": _GOAL_RADIUS} if self.variant == "sparse" else axes

    def _support(self, split: Split) -> int | None:
        if split.level and split.axis in OWN_VARIABLES:
            return None
        own = _STREAMS[split.stream]
        return own.stop - own.start

    def _goal(self, split: Split, index: Int[Tensor, " B"], noise: Rows) -> Points:
        goals = self.prior_goals(split.name)[_STREAMS[split.stream]].to(index.device)
        return goals[index % len(goals)]

    def prior_goals(self, split: str) -> Float[Tensor, "G 2"]:
        s = self.split(split)
        turn, radius = math.radians(self.value(s, "arc", 0.0)), self.value(s, "ring", 1.0)
        angles = [angle + turn for angle in _shuffled_angles()]
        return torch.tensor([[radius * math.cos(a), radius * math.sin(a)] for a in angles])

    def _sample(self, split: Split, index: Int[Tensor, " B"], noise: Rows) -> dict[str, Tensor]:
        params = super()._sample(split, index, noise)
        if (radius := self.value(split, "goal_radius", GOAL_RADIUS)) != GOAL_RADIUS:
            params["radius"] = torch.full(index.shape, radius, device=index.device)
        return params

    def pay(self, distance: Scalars, params: Params) -> Scalars:
        if self.variant == "dense":
            return -distance
        return torch.where(distance <= params.get("radius", GOAL_RADIUS), 1 - distance, 0.0)

    def arrived(self, gap: Points, params: Params) -> Bool[Tensor, " B"]:
        return length(gap) <= params.get("radius", GOAL_RADIUS)

    def dense_reward(self, tasks: Tasks, step: Step) -> Float[Tensor, " B"]:
        """The negative distance, on which the authors train their critic."""
        return -length(step.next_obs - tasks.params["goal"])


def _shuffled_angles() -> list[float]:
    """Radians of all goals before any turn, in the published order."""
    angles = np.linspace(0, np.pi, GOALS)
    np.random.RandomState(1337).shuffle(angles)
    return angles.tolist()
