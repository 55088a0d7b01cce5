"""The ant, paid for running in a hidden direction (``ant_dir``) or to a hidden goal (``ant_goal``).

Rakelly et al. 2019 (PEARL, section 6.1), with the weights of the authors' code: v is the velocity, p the position in
the plane, a the action.

* ``ant_dir``: v along the direction - 0.5 |a|^2 + 1. An episode ends if the ant falls: its height is below 0.2 m or
  above 1.
* ``ant_goal``: -|p - goal|_1 - 0.1 |a|^2, goals uniform in a disc of 3 m. Episodes never end early.

Directions (``train=``): ``all``, or ``four`` at right angles (axis ``turn`` has those between them; Lee & Chung 2021,
"Improving Generalization in Meta-RL with Imaginary Tasks from Latent Dynamics Mixture").

Deviations from the papers: contact forces are neither observed nor paid for (the MuJoCo of that time returned zeros),
and the ant is Gymnasium's, whose v5 environment it equals without contact forces.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

from bridge.rng import Rows
from bridge.tasks import shifts
from bridge.tasks.base import Axis, Split
from bridge.tasks.locomotion.running import Move, Params, Robot, Running

RADIUS = 3.0
"""The farthest trained goal, in metres."""
HEIGHTS = (0.2, 1.0)
"""The ant has fallen if its height is not between these, in metres."""

_ANT = Robot(
    file="ant.xml",
    substeps=5,
    positions=(10.0, 10.0, 2.0, *[1.0] * 4, *[1.5] * 8),
    velocities=(5.0, 5.0, 5.0, *[10.0] * 3, *[20.0] * 8),
    motors=8,
    start=(0.1, 0.1),
)
_TURN = Axis(
    "degrees between the direction and the nearest trained one",
    (0.0, 11.25, 22.5, 33.75, 45.0),
    "agents that know the trained directions",
)
_RING = Axis(
    "distance of the farthest goals, in m; goals lie between 3 and this",
    (RADIUS, 3.25, 3.5, 4.0, 5.0),
    "agents that explore only where training goals were",
)


@dataclass(frozen=True, kw_only=True)
class AntDir(Running):
    """An ant that runs in a hidden direction, and does not observe where it is."""

    train: Literal["all", "four"] = "all"
    """The training directions."""

    name: ClassVar[str] = "ant_dir"
    robot: ClassVar[Robot] = _ANT
    unseen: ClassVar[int] = 2
    ends_early: ClassVar[bool] = True

    @property
    def own_axes(self) -> Mapping[str, Axis]:
        axes = super().own_axes
        return {**axes, "turn": _TURN} if self.train == "four" else axes

    def _support(self, split: Split) -> int | None:
        drawn = self.train == "all" or (
            split.level and split.axis in (*shifts.OWN_VARIABLES, "turn")
        )
        return None if drawn else 4

    def _goals(self, split: Split, index: Int[Tensor, " B"], noise: Rows) -> dict[str, Tensor]:
        if self.train == "all":
            angle = 2 * math.pi * noise.at("direction").uniform(dtype=torch.float64)
        else:
            side = torch.where(noise.at("side").uniform() < 0.5, -1.0, 1.0)
            turn = math.radians(self.value(split, "turn", 0.0))
            angle = (index % 4).double() * (math.pi / 2) + side * turn
        return {"direction": _unit(angle)}

    def pay(self, move: Move, params: Params) -> Float64[Tensor, " B"]:
        along = (move.velocity[:, :2] * params["direction"]).sum(1)
        return along - 0.5 * move.effort + 1

    def fallen(self, after: Float64[Tensor, "B P"]) -> Bool[Tensor, " B"]:
        low, high = HEIGHTS
        return (after[:, 2] < low) | (after[:, 2] > high)


@dataclass(frozen=True, kw_only=True)
class AntGoal(Running):
    """An ant that runs to a hidden goal."""

    name: ClassVar[str] = "ant_goal"
    robot: ClassVar[Robot] = _ANT
    unseen: ClassVar[int] = 0

    @property
    def own_axes(self) -> Mapping[str, Axis]:
        return {**super().own_axes, "ring": _RING}

    def _goals(self, split: Split, index: Int[Tensor, " B"], noise: Rows) -> dict[str, Tensor]:
        farthest = self.value(split, "ring", RADIUS)
        nearest = 0.0 if farthest == RADIUS else RADIUS
        u = noise.at("goal").uniform(2)
        distance = (nearest**2 + (farthest**2 - nearest**2) * u[:, 0]).sqrt()
        return {"goal": distance[:, None] * _unit(2 * math.pi * u[:, 1].double())}

    def pay(self, move: Move, params: Params) -> Float64[Tensor, " B"]:
        away = (move.after[:, :2] - params["goal"]).abs().sum(1)
        return -away - 0.1 * move.effort


def _unit(angle: Float64[Tensor, " B"]) -> Float[Tensor, "B 2"]:
    """Unit vectors; those of a whole batch and of a single row may differ in the last digit of a double."""
    return torch.stack([angle.cos(), angle.sin()], -1).float()
