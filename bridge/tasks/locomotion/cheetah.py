"""The half-cheetah, paid for running at a hidden speed (``cheetah_vel``) or in a hidden direction (``cheetah_dir``).

Finn et al. 2017 ("Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks", section 5.3) and Rakelly et al.
2019 (PEARL, section 6.1), with the latter's speeds and weights: v is the forward velocity, a the action.

* ``cheetah_vel``: -|v - v*| - 0.05 |a|^2, v* uniform in 0 to 3 m/s. (Finn et al.: 0 to 2.)
* ``cheetah_dir``: +-v - 0.05 |a|^2. There are two tasks, so training tasks are test tasks; the shifts are of bodies and
  rewards alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float64, Int
from torch import Tensor

from bridge.rng import Rows
from bridge.tasks import shifts
from bridge.tasks.base import Axis, Split
from bridge.tasks.locomotion.running import Move, Params, Robot, Running

EFFORT = 0.05
"""Weight of the squared actions."""
SPEED = 3.0
"""The highest trained speed, in metres a second."""

_CHEETAH = Robot(
    file="half_cheetah.xml",
    substeps=5,
    positions=(100.0, 1.0, 6.4, 1.3, 1.1, 1.1, 1.3, 1.5, 0.8),
    velocities=(10.0, 5.0, 10.0, 25.0, 25.0, 25.0, 25.0, 25.0, 25.0),
    motors=6,
    start=(0.1, 0.1),
)
_SPEED = Axis(
    "highest speed, in m/s; speeds lie between 3 and this",
    (SPEED, 3.5, 4.0, 5.0, 6.0),
    "agents that know the trained speeds",
)


@dataclass(frozen=True, kw_only=True)
class _Cheetah(Running):
    """A half-cheetah, which does not observe how far it has come."""

    robot: ClassVar[Robot] = _CHEETAH
    unseen: ClassVar[int] = 1


@dataclass(frozen=True, kw_only=True)
class CheetahVel(_Cheetah):
    """A half-cheetah at a hidden speed."""

    name: ClassVar[str] = "cheetah_vel"

    @property
    def own_axes(self) -> Mapping[str, Axis]:
        return {**super().own_axes, "speed": _SPEED}

    def _goals(self, split: Split, index: Int[Tensor, " B"], noise: Rows) -> dict[str, Tensor]:
        highest = self.value(split, "speed", SPEED)
        low, high = (0.0, SPEED) if highest == SPEED else (SPEED, highest)
        return {"speed": low + (high - low) * noise.at("speed").uniform()}

    def pay(self, move: Move, params: Params) -> Float64[Tensor, " B"]:
        return -(move.velocity[:, 0] - params["speed"]).abs() - EFFORT * move.effort


@dataclass(frozen=True, kw_only=True)
class CheetahDir(_Cheetah):
    """A half-cheetah that runs forwards in task 0 and backwards in task 1."""

    name: ClassVar[str] = "cheetah_dir"

    def _support(self, split: Split) -> int | None:
        return None if split.level and split.axis in shifts.OWN_VARIABLES else 2

    def _goals(self, split: Split, index: Int[Tensor, " B"], noise: Rows) -> dict[str, Tensor]:
        return {"direction": torch.where(index % 2 == 0, 1.0, -1.0)}

    def pay(self, move: Move, params: Params) -> Float64[Tensor, " B"]:
        return move.velocity[:, 0] * params["direction"] - EFFORT * move.effort
