"""The walker whose body is another one in each task (``walker_params``), paid for walking forwards.

Rothfuss et al. 2019 (ProMP, arXiv 1810.06784) and Rakelly et al. 2019 (PEARL, section 6.1), by the package
``rand_param_envs``: the mass and the three moments of inertia of each part, and the friction of each surface, are
multiplied by 1.5^u, the damping of each joint by 1.3^u; all u are independent and uniform in -3 to 3. The reward is
v + 1 - 0.001 |a|^2, and an episode ends if the walker falls: its height is not between 0.8 and 2 m, or it leans by more
than 1 radian.

Deviation: the walker is Gymnasium's of v5, which takes 4 simulated steps of 0.002 s a step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float64, Int
from torch import Tensor

from bridge.rng import Rows
from bridge.tasks.base import Axis, Split
from bridge.tasks.locomotion.running import Move, Params, Robot, Running

EXPONENT = 3.0
"""The largest trained exponent of a factor."""
_FACTORS = {
    "body_inertia": (1.5, 24),
    "body_mass": (1.5, 8),
    "dof_damping": (1.3, 9),
    "geom_friction": (1.5, 24),
}
"""Fields of MuJoCo's model: the base of the factors on them, and their number of entries."""
_WALKER = Robot(
    file="walker2d_v5.xml",
    substeps=4,
    positions=(100.0, 2.5, 1.5, 3.5, 3.5, 1.5, 3.5, 3.5, 1.5),
    velocities=(10.0,) * 9,
    motors=6,
    start=(5e-3, 5e-3),
)
_EXPONENT = Axis(
    "largest exponent of a factor; exponents lie between 3 and this, of either sign",
    (EXPONENT, 3.5, 4.0, 4.5, 5.0),
    "agents that know the trained bodies",
)


@dataclass(frozen=True, kw_only=True)
class WalkerParams(Running):
    """A walker with a hidden body, which does not observe how far it has come."""

    name: ClassVar[str] = "walker_params"
    robot: ClassVar[Robot] = _WALKER
    unseen: ClassVar[int] = 1
    ends_early: ClassVar[bool] = True

    @property
    def own_axes(self) -> Mapping[str, Axis]:
        return {**super().own_axes, "exponent": _EXPONENT}

    def _goals(self, split: Split, index: Int[Tensor, " B"], noise: Rows) -> dict[str, Tensor]:
        largest = self.value(split, "exponent", EXPONENT)
        least = 0.0 if largest == EXPONENT else EXPONENT
        params = {}
        for field, (base, entries) in _FACTORS.items():
            u = 2 * noise.at(field).uniform(entries, dtype=torch.float64) - 1
            exponent = u.sign() * (least + (largest - least) * u.abs())
            # Powers of whole batches and of single rows may differ in the last digit of a double.
            params[field] = (base**exponent).float()
        return params

    def _pushes(self, noise: Rows, velocities: int) -> Float64[Tensor, "B V"]:
        return 2 * noise.uniform(velocities, dtype=torch.float64) - 1

    def pay(self, move: Move, params: Params) -> Float64[Tensor, " B"]:
        return move.velocity[:, 0] + 1 - 1e-3 * move.effort

    def fallen(self, after: Float64[Tensor, "B P"]) -> Bool[Tensor, " B"]:
        height, lean = after[:, 1], after[:, 2].abs()
        return (height < 0.8) | (height > 2.0) | (lean > 1.0)
