"""What points that walk a plane towards one hidden goal share: how they move, where the plane ends, the shift axes.

A trial is K episodes of H steps from the origin. A step moves the point by at most 0.1 along each side, so that a
diagonal step is longer, and pays for nothing but where it arrives. The observation is the position alone: with the
distance to the goal in it, no memory would be needed.

Deviation from the papers: their plane is infinite, ours has walls at -2 and 2, so that observations have a scale. Who
walks towards a goal never meets one.

Shape letters: B trials, G goals.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bridge.errors import UserError
from bridge.protocol import Step, Trial
from bridge.rng import Rows
from bridge.tasks import shifts
from bridge.tasks.base import Axis, Box, Outcome, Split, TaskFamily, Tasks, device_zeros

STEP = 0.1
"""The longest move along one side."""
WALL = 2.0
"""Positions lie between -WALL and WALL along each side."""
_QUARTER_TURNS = (
    (1.0, 0.0),
    (0.0, 1.0),
    (-1.0, 0.0),
    (0.0, -1.0),
)  # cosine and sine of 0, 90, 180 and 270 degrees

_SHARED_AXES = {
    "action_turn": Axis(
        "share of tasks with actions turned by 90, 180 or 270 degrees",
        (0.0, 0.25, 0.5, 0.75, 1.0),
        "all that trust what actions do",
    ),
    "reward_scale": shifts.reward_scale("exact posteriors"),
    "reward_sign": shifts.REWARD_SIGN,
    "wind": Axis(
        "drift a step along the windier side", (0.0, 0.01, 0.02, 0.04, 0.08), "plans in open loop"
    ),
}
OWN_VARIABLES = ("action_turn", "reward_sign", "wind")
"""The axes that draw something of its own for each task."""


@dataclass(frozen=True, kw_only=True)
class GoalPlane(TaskFamily):
    """A plane with one hidden goal; a family says where goals are and what a distance from them pays."""

    episodes: int = 20
    """Episodes in a trial."""

    horizon: ClassVar[int]
    """Steps in an episode."""

    def __post_init__(self) -> None:
        if self.episodes < 1:
            raise UserError(f"A trial of {self.name} needs episodes >= 1, found {self.episodes}.")
        super().__post_init__()

    @property
    @abstractmethod
    def reach(self) -> float:
        """Actions lie between -reach and reach along each side; one of ``reach`` moves by ``STEP``."""

    @property
    @abstractmethod
    def own_axes(self) -> Mapping[str, Axis]:
        """The axes that other planes do not have."""

    @abstractmethod
    def _goal(self, split: Split, index: Int[Tensor, " B"], noise: Rows) -> Float[Tensor, "B 2"]:
        """The goals of tasks ``index``."""

    @abstractmethod
    def prior_goals(self, split: str) -> Float[Tensor, "G 2"]:
        """Equally likely goals: all that the generator behind ``split`` has, or points that stand for its continuum."""

    @abstractmethod
    def pay(
        self, distance: Float[Tensor, "*B"], params: Mapping[str, Tensor]
    ) -> Float[Tensor, "*B"]:
        """What a step pays that arrives ``distance`` from the goal, but for the task's factor."""

    @abstractmethod
    def arrived(
        self, gap: Float[Tensor, "B 2"], params: Mapping[str, Tensor]
    ) -> Bool[Tensor, " B"]:
        """Whether a point that is ``gap`` away from its goal has reached it."""

    # --- splits ------------------------------------------------------------------------------------------------------
    @cached_property
    def axes(self) -> Mapping[str, Axis]:
        lengths = {
            "context_length": shifts.context_length(self.episodes),
            "horizon": shifts.horizon(self.horizon),
        }
        return dict(sorted({**_SHARED_AXES, **lengths, **self.own_axes}.items()))

    def signature(self) -> Any:
        return {"step": STEP, "wall": WALL, "horizon": self.horizon}

    def _sample(self, split: Split, index: Int[Tensor, " B"], noise: Rows) -> dict[str, Tensor]:
        params = {"goal": self._goal(split, index, noise)}
        if turned := self.value(split, "action_turn", 0.0):
            quarter = torch.where(
                noise.at("turned").uniform() < turned, 1 + noise.at("turn").integers(3), 0
            )
            params["turn"] = torch.tensor(_QUARTER_TURNS, device=index.device)[quarter]
        if drift := self.value(split, "wind", 0.0):
            params["wind"] = shell(noise.at("wind").uniform(2), drift, drift)
        return params | shifts.factor(self, split, noise)

    # --- the simulator -----------------------------------------------------------------------------------------------
    @property
    def observation(self) -> Box:
        return Box((-WALL, -WALL), (WALL, WALL))

    @property
    def action(self) -> Box:
        return Box((-self.reach, -self.reach), (self.reach, self.reach))

    def trial(self, split: str) -> Trial:
        return shifts.trial(self, split, self.episodes, self.horizon)

    def reset(self, tasks: Tasks, noise: Rows) -> tuple[Float[Tensor, "B 2"], Float[Tensor, "B 2"]]:
        origin = device_zeros(tasks, 2, dtype=torch.float32)
        return origin, origin

    def step(
        self, tasks: Tasks, state: Float[Tensor, "B 2"], action: Float[Tensor, "B 2"], noise: Rows
    ) -> Outcome:
        state = self._moved(state, action, tasks.params)
        ended = (
            self.arrived(state - tasks.params["goal"], tasks.params) if self.ends_early else None
        )
        return Outcome(state, state, self._reward(state, tasks.params), ended)

    def _moved(
        self,
        position: Float[Tensor, "B 2"],
        action: Float[Tensor, "B 2"],
        params: Mapping[str, Tensor],
    ) -> Float[Tensor, "B 2"]:
        move = action.clamp(-self.reach, self.reach) * (STEP / self.reach)
        if "turn" in params:
            move = _turned(move, *params["turn"].unbind(-1))
        if "wind" in params:
            move = move + params["wind"]
        return (position + move).clamp(-WALL, WALL)

    def _reward(
        self, position: Float[Tensor, "B 2"], params: Mapping[str, Tensor]
    ) -> Float[Tensor, " B"]:
        return shifts.paid(self.pay(length(position - params["goal"]), params), params)

    # --- how to walk -------------------------------------------------------------------------------------------------
    def towards(
        self,
        target: Float[Tensor, "B 2"],
        position: Float[Tensor, "B 2"],
        params: Mapping[str, Tensor],
    ) -> Float[Tensor, "B 2"]:
        """The action that brings a point as near to ``target`` as can be, along both sides at once.

        ``params`` is what the walker knows of its task: of the wind and of turned actions it makes up for.
        """
        move = target - position
        if "wind" in params:
            move = move - params["wind"]
        move = move.clamp(-STEP, STEP)
        if "turn" in params:
            cosine, sine = params["turn"].unbind(-1)
            move = _turned(move, cosine, -sine)
        return (move * (self.reach / STEP)).clamp(-self.reach, self.reach)

    def destination(self, params: Mapping[str, Tensor]) -> Float[Tensor, "B 2"]:
        """Where to walk who knows the task: to the goal, or where rewards are negated to the farthest corner."""
        goal = params["goal"]
        if "factor" not in params:
            return goal
        corner = torch.where(goal > 0, -WALL, WALL)
        return torch.where(params["factor"][:, None] < 0, corner, goal)

    # --- what the evaluator asks -------------------------------------------------------------------------------------
    def optimal_return(self, tasks: Tasks, trial: Trial) -> Float[Tensor, " B"]:
        """Exact, by walking: at each step no other walk is nearer to the destination along either side.

        What a step pays falls (or, negated, grows) with the distance along each side. Where episodes end at the goal,
        the nearest walk ends first, and what it would be paid from then on is 0.
        """
        params, target = tasks.params, self.destination(tasks.params)
        position = device_zeros(tasks, 2, dtype=torch.float32)
        total = torch.zeros_like(position[:, 0])
        for _ in range(trial.horizon):
            position = self._moved(position, self.towards(target, position, params), params)
            total += self._reward(position, params)
        return total

    def success(self, tasks: Tasks, step: Step) -> Bool[Tensor, " B"]:
        """Having reached the goal."""
        return self.arrived(step.next_obs - tasks.params["goal"], tasks.params)


def length(gap: Float[Tensor, "*B 2"]) -> Float[Tensor, "*B"]:
    """Euclidean, written so that a row alone is bitwise the row in a batch."""
    return (gap[..., 0] * gap[..., 0] + gap[..., 1] * gap[..., 1]).sqrt()


def shell(u: Float[Tensor, "*B 2"], inner: float, outer: float) -> Float[Tensor, "*B 2"]:
    """Points of the unit square (its centre excepted), moved to where ``inner <= max(|x|, |y|) <= outer``.

    Uniform points stay uniform. Each keeps its direction from the centre, so that shells are paired point by point.
    """
    centred = 2 * u - 1
    side = centred.abs().amax(-1, keepdim=True)
    return centred / side * (inner * inner + (outer * outer - inner * inner) * side * side).sqrt()


def _turned(
    move: Float[Tensor, "B 2"], cosine: Float[Tensor, " B"], sine: Float[Tensor, " B"]
) -> Float[Tensor, "B 2"]:
    x, y = move.unbind(-1)
    return torch.stack([cosine * x - sine * y, sine * x + cosine * y], -1)
