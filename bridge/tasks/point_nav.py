"""2D navigation: a point walks from the origin to a hidden goal for at most 100 steps, paid by its distance.

Finn et al. 2017, "Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks", section 5.3: goals are uniform in
[-0.5, 0.5]^2, and an episode ends at the goal. Three specifications (``variant=``) go by that name, and their numbers
cannot be compared with each other:

* ``paper``: the reward is the negative squared distance; actions are moves, clipped to 0.1 a side; an episode ends
  within 0.01 of the goal.
* ``code``: the authors' maml_rl. The reward is the negative distance; a wrapper scales actions in [-1, 1] to such
  moves; an episode ends when both sides are within 0.01.
* ``clipped``: pytorch-maml-rl, with rewards and ends of the code and actions of the paper.

Goals (``train=``): ``all`` of the square, or those near its edge, ``hole`` (axis ``hole`` has goals inside). Axis
``ring`` has goals beyond the square. Axis ``sight`` makes rewards sparse: beyond some distance they are all alike.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bridge.config import Count
from bridge.rng import Rows
from bridge.tasks import shifts
from bridge.tasks.base import Axis, Split
from bridge.tasks.goal_plane import (
    SHARED_AXES,
    STEP,
    WALL,
    GoalPlane,
    Params,
    Points,
    Scalars,
    length,
    shell,
)

HALF = 0.5
"""Training goals have no coordinate beyond this."""
FRAME = 0.1
"""The training goals of the variant ``hole`` are at most this far inside the edge of the square."""
CLOSE = 0.01
"""An episode ends within this distance of the goal."""
_LATTICE = 10
"""Points along an edge of the lattice that approximates the continuum of goals."""

_RING = Axis(
    "half the edge of the square of goals",
    (HALF, 0.55, 0.6, 0.7, 1.0),
    "agents that explore only where training goals were",
)
_SIGHT = Axis(
    "distance beyond which all rewards are alike",
    (4 * WALL, 0.4, 0.2, 0.1, 0.05),
    "agents that follow rewards to the goal",
)
_HOLE = Axis(
    "distance inside the training goals",
    (0.0, 0.1, 0.2, 0.3, 0.4),
    "agents that know the training goals",
)


@dataclass(frozen=True, kw_only=True)
class PointNav(GoalPlane):
    """MAML's 2D navigation."""

    episodes: Count = 80
    """Episodes in a trial: 20 for each of MAML's updates 1 to 3, and 20 after the last. RL² needs two or three."""
    variant: Literal["paper", "code", "clipped"] = "clipped"
    """The specification."""
    train: Literal["all", "hole"] = "all"
    """The training goals."""

    name: ClassVar[str] = "point_nav"
    ends_early: ClassVar[bool] = True
    horizon: ClassVar[int] = 100
    neutral: ClassVar[Mapping[str, Any]] = {**GoalPlane.neutral, "sight": 4 * WALL}

    @property
    def reach(self) -> float:
        return 1.0 if self.variant == "code" else STEP

    @property
    def own_axes(self) -> Mapping[str, Axis]:
        axes = SHARED_AXES | {
            "reward_delay": shifts.reward_delay(self.horizon),
            "ring": _RING,
            "sight": _SIGHT,
        }
        return axes | {"hole": _HOLE} if self.train == "hole" else axes

    def bounds(self, split: str) -> tuple[float, float]:
        """The least and greatest ``max(|x|, |y|)`` of the goals of ``split``."""
        s = self.split(split)
        edge = self.value(s, "ring", HALF)
        if edge > HALF:
            return HALF, edge
        if self.train == "all":
            return 0.0, HALF
        inside = self.value(s, "hole", 0.0)
        return HALF - FRAME - inside, HALF - inside

    def _goal(self, split: Split, index: Int[Tensor, " B"], noise: Rows) -> Points:
        return shell(noise.at("goal").uniform(2), *self.bounds(split.name))

    def prior_goals(self, split: str) -> Float[Tensor, "G 2"]:
        side = (torch.arange(_LATTICE) + 0.5) / _LATTICE
        return shell(torch.cartesian_prod(side, side), *self.bounds(split))

    def _sample(self, split: Split, index: Int[Tensor, " B"], noise: Rows) -> dict[str, Tensor]:
        params = super()._sample(split, index, noise)
        if (sight := self.value(split, "sight", math.inf)) < math.inf:
            params["sight"] = torch.full(index.shape, sight, device=index.device)
        return params

    def pay(self, distance: Scalars, params: Params) -> Scalars:
        if "sight" in params:
            distance = distance.minimum(params["sight"])
        return -distance * distance if self.variant == "paper" else -distance

    def distance(self, reward: Scalars) -> Scalars:
        """The distance that pays ``reward``; 0 if no distance does."""
        lost = (-reward).clamp(min=0)
        return lost.sqrt() if self.variant == "paper" else lost

    def arrived(self, gap: Points, params: Params) -> Bool[Tensor, " B"]:
        away = length(gap) if self.variant == "paper" else gap.abs().amax(-1)
        return away < CLOSE
