"""The base of robots that run: movement, observations and the shift axes of bodies; subclasses define what is paid.

A trial is K episodes of 200 steps. The robots and their movement are those of Gymnasium's v5 environments, step for
step. Observations are positions and velocities, clipped to bounds that give them a scale. Nobody has solved these
tasks: there is no optimal return, no regret and no oracle.

Shape letters: B trials, S state, P positions, V velocities, D observation features.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

from bridge.config import Count
from bridge.errors import UserError
from bridge.protocol import Trial
from bridge.rng import Rows
from bridge.tasks import mujoco_package, shifts
from bridge.tasks.base import Axis, Box, Outcome, Split, Tasks
from bridge.tasks.episodic import EpisodicFamily
from bridge.tasks.locomotion.physics import DivergedError, Physics, model_digest, physics
from bridge.tasks.unsolved import Unsolved

Params = Mapping[str, Tensor]
"""The parameters of B tasks by name."""
State = Float64[Tensor, "B S"]
"""Time in seconds, positions in metres and radians, velocities a second."""

FIELDS = ("actuator_gear", "body_inertia", "body_mass", "dof_damping", "geom_friction")
"""The parameters that are factors on fields of MuJoCo's model."""

SHARED_AXES = {
    "changes": shifts.CHANGES,
    "friction": Axis(
        "factor on the friction of all surfaces", (1.0, 0.8, 0.6, 0.4, 0.2), "gaits that are fixed"
    ),
    "mass": Axis(
        "factor on the masses of all parts", (1.0, 1.25, 1.5, 2.0, 3.0), "gaits that are fixed"
    ),
    "motor": Axis(
        "factor on the strength of all motors", (1.0, 0.9, 0.75, 0.6, 0.4), "gaits that are fixed"
    ),
    "obs_noise": shifts.obs_noise("the units of each coordinate", (0.02, 0.05, 0.1, 0.2)),
    "obs_permutation": shifts.OBS_PERMUTATION,
    "reward_scale": shifts.reward_scale("exact posteriors"),
    "reward_sign": shifts.REWARD_SIGN,
}
"""The axes of every robot."""
_ON = {
    "friction": ("geom_friction",),
    "mass": ("body_inertia", "body_mass"),
    "motor": ("actuator_gear",),
}
"""The fields that an axis has a factor on."""


class Robot(NamedTuple):
    """A robot of Gymnasium's."""

    file: str
    """Its model, among Gymnasium's assets."""
    substeps: int
    """Simulated steps of a step, Gymnasium's ``frame_skip``."""
    positions: tuple[float, ...]
    """Bounds of the positions: each lies between minus this and this."""
    velocities: tuple[float, ...]
    """Bounds of the velocities."""
    motors: int
    """Number of motors; actions lie between -1 and 1."""
    start: tuple[float, float]
    """Noise at the start of an episode: half the width of the positions' uniform one, and the scale of the
    velocities'."""


class Move(NamedTuple):
    """A step of B robots."""

    before: Float64[Tensor, "B P"]
    """Positions before it."""
    after: Float64[Tensor, "B P"]
    """Positions after it."""
    effort: Float64[Tensor, " B"]
    """The sum of squared actions."""
    seconds: float

    @property
    def velocity(self) -> Float64[Tensor, "B P"]:
        """The mean velocity of each position."""
        return (self.after - self.before) / self.seconds


@dataclass(frozen=True, kw_only=True)
class Running(Unsolved, EpisodicFamily):
    """A robot with a task of its own in each trial."""

    episodes: Count = 3
    """Episodes in a trial: two to explore and one more, as PEARL was evaluated."""

    steps: Count = 200
    """Most steps of an episode."""

    robot: ClassVar[Robot]
    unseen: ClassVar[int]
    """Number of positions, counted from the first one, that are not observed."""
    neutral: ClassVar[Mapping[str, Any]] = dict.fromkeys(FIELDS, 1.0)

    @abstractmethod
    def _goals(self, split: Split, index: Int[Tensor, " B"], noise: Rows) -> dict[str, Tensor]:
        """The parameters of tasks that differ between training tasks; ``noise`` has a row a task."""

    @abstractmethod
    def pay(self, move: Move, params: Params) -> Float64[Tensor, " B"]:
        """The reward of a step, without the task's factor."""

    def fallen(self, after: Float64[Tensor, "B P"]) -> Bool[Tensor, " B"] | None:
        """True if the episode ends at these positions; None if episodes never end early."""
        return None

    # --- splits ------------------------------------------------------------------------------------------------------
    @property
    def trained_trial(self) -> Trial:
        return Trial(self.episodes, self.steps)

    @property
    def own_axes(self) -> Mapping[str, Axis]:
        return SHARED_AXES | {"reward_delay": shifts.reward_delay(self.steps)}

    def signature(self) -> Any:
        """The robot, its model, and the version of MuJoCo: another one moves it differently in the last digits, which
        grow."""
        return [*self.robot, model_digest(self.robot.file), f"mujoco {mujoco_package.version()}"]

    def _sample(self, split: Split, index: Int[Tensor, " B"], noise: Rows) -> dict[str, Tensor]:
        params = self._goals(split, index, noise)
        for axis, fields in _ON.items():
            if (factor := self.value(split, axis, 1.0)) != 1:
                ones = torch.ones(len(index), 1, device=index.device)
                params |= {field: params.get(field, ones) * factor for field in fields}
        return params | shifts.factor(self, split, noise)

    # --- the simulator -----------------------------------------------------------------------------------------------
    @property
    def physics(self) -> Physics:
        """The simulation of the robot.

        Raises:
            UserError: ``mujoco`` is not installed.
        """
        return physics(self.robot.file, self.robot.substeps)

    @property
    def observation(self) -> Box:
        bounds = (*self.robot.positions[self.unseen :], *self.robot.velocities)
        return Box(tuple(-bound for bound in bounds), bounds)

    @property
    def action(self) -> Box:
        return Box((-1.0,) * self.robot.motors, (1.0,) * self.robot.motors)

    def reset(self, tasks: Tasks, noise: Rows) -> tuple[State, Float[Tensor, "B D"]]:
        positions, velocities = len(self.robot.positions), len(self.robot.velocities)
        wide, scale = self.robot.start
        moved = wide * (2 * noise.at("positions").uniform(positions, dtype=torch.float64) - 1)
        pushed = scale * self._pushes(noise.at("velocities"), velocities)
        start = torch.from_numpy(self.physics.start).to(moved.device)
        state = start + torch.cat([torch.zeros_like(moved[:, :1]), moved, pushed], 1)
        return state, self.seen(state)

    def _pushes(self, noise: Rows, velocities: int) -> Float64[Tensor, "B V"]:
        """The velocities at the start, in units of their scale."""
        return noise.normal(velocities, dtype=torch.float64)

    def step(
        self, tasks: Tasks, state: State, action: Float[Tensor, "B A"], noise: Rows
    ) -> Outcome:
        """One step.

        Raises:
            UserError: the simulation of a row diverged.
        """
        action, params = action.detach().clamp(-1, 1).double(), tasks.params
        factors = {name: params[name].double().cpu().numpy() for name in FIELDS if name in params}
        try:
            new = self.physics.step(state.cpu().numpy(), action.cpu().numpy(), factors)
        except DivergedError as error:
            raise UserError(
                f"The simulation of task {int(tasks.index[error.row])} of {self.id} (row {error.row}) diverged at "
                f"{float(state[error.row, 0]):.2f} s of its episode. Its body is too far from the one that MuJoCo "
                "simulates at this time step; choose a lower level of the axis."
            ) from None
        after = torch.from_numpy(new).to(state.device)
        move = Move(
            self._positions(state),
            self._positions(after),
            (action * action).sum(1),
            self.physics.dt,
        )
        reward = shifts.paid(self.pay(move, params).float(), params)
        return Outcome(after, self.seen(after), reward, self.fallen(move.after))

    def seen(self, state: State) -> Float[Tensor, "B D"]:
        """The observation of a state."""
        seen = state[:, 1 + self.unseen :].float()
        bounds = self._bounds.to(seen.device)
        return seen.clamp(-bounds, bounds)

    @cached_property
    def _bounds(self) -> Float[Tensor, " D"]:
        return torch.tensor(self.observation.high)

    def _positions(self, state: State) -> Float64[Tensor, "B P"]:
        return state[:, 1 : 1 + len(self.robot.positions)]
