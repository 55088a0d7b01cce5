"""The base of point robots on a plane with one hidden goal: movement, walls and shift axes.

A trial is K episodes of H steps from the origin. A step moves the point by at most 0.1 along each side (farther
diagonally), and its reward depends only on where it arrives. The observation is the position alone: with the distance
to the goal in it, no memory would be needed.

Deviation from the papers: their plane is infinite, ours has walls at -2 and 2, so that observations have a scale. A
walk towards a goal never meets a wall.

Shape letters: B trials, G goals.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bridge.config import Count
from bridge.protocol import Step, Trial
from bridge.rng import Rows
from bridge.tasks import shifts
from bridge.tasks.base import Axis, Box, Outcome, Split, Tasks, device_zeros
from bridge.tasks.episodic import EpisodicFamily

Points = Float[Tensor, "B 2"]
"""Positions, displacements or actions."""
Vectors = Float[Tensor, "*B 2"]
"""Points of any number of dimensions."""
Scalars = Float[Tensor, "*B"]
"""Numbers, such as distances and rewards, of any number of dimensions."""
Params = Mapping[str, Tensor]
"""The parameters of B tasks by name."""

STEP = 0.1
"""The longest move along one side."""
WALL = 2.0
"""Positions lie between -WALL and WALL along each side."""
_QUARTER_TURNS = ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))
"""Cosine and sine of 0, 90, 180 and 270 degrees."""

SHARED_AXES = {
    "action_turn": Axis(
        "share of tasks with actions turned by 90, 180 or 270 degrees",
        (0.0, 0.25, 0.5, 0.75, 1.0),
        "agents that take the effects of actions as known",
    ),
    "changes": shifts.CHANGES,
    "obs_noise": shifts.obs_noise("units of length", (0.05, 0.1, 0.2, 0.4)),
    "obs_permutation": shifts.OBS_PERMUTATION,
    "reward_scale": shifts.reward_scale("exact posteriors"),
    "reward_sign": shifts.REWARD_SIGN,
    "step_size": Axis(
        "length of the longest move along one side",
        (STEP, 0.05, 0.075, 0.15, 0.2),
        "agents that count their steps",
    ),
    "wind": Axis(
        "drift a step along the windier side", (0.0, 0.01, 0.02, 0.04, 0.08), "open-loop plans"
    ),
}
"""The axes of every plane."""
OWN_VARIABLES = ("action_turn", "reward_sign", "wind")
"""The axes with a random variable of each task."""


@dataclass(frozen=True, kw_only=True)
class GoalPlane(EpisodicFamily):
    """A plane with one hidden goal; subclasses define the goals and the reward at a distance from them."""

    episodes: Count = 20
    """Episodes in a trial."""

    horizon: ClassVar[int]
    """Steps in an episode."""
    neutral: ClassVar[Mapping[str, Any]] = {
        "step": STEP,
        "turn": _QUARTER_TURNS[0],
        "wind": (0.0, 0.0),
    }

    @property
    @abstractmethod
    def reach(self) -> float:
        """The largest action along each side, which moves by ``STEP``; actions lie between -reach and reach."""

    @abstractmethod
    def _goal(self, split: Split, index: Int[Tensor, " B"], noise: Rows) -> Points:
        """The goals of tasks ``index``."""

    @abstractmethod
    def prior_goals(self, split: str) -> Float[Tensor, "G 2"]:
        """Equally likely goals: all of the distribution behind ``split``, or a lattice if it is continuous."""

    @abstractmethod
    def pay(self, distance: Scalars, params: Params) -> Scalars:
        """The reward of arriving at ``distance`` from the goal, without the task's factor."""

    @abstractmethod
    def arrived(self, gap: Points, params: Params) -> Bool[Tensor, " B"]:
        """True if a point at displacement ``gap`` from its goal has reached it."""

    # --- splits ------------------------------------------------------------------------------------------------------
    @property
    def trained_trial(self) -> Trial:
        return Trial(self.episodes, self.horizon)

    def signature(self) -> Any:
        return {"step": STEP, "wall": WALL, "horizon": self.horizon}

    def _sample(self, split: Split, index: Int[Tensor, " B"], noise: Rows) -> dict[str, Tensor]:
        params = {"goal": self._goal(split, index, noise)}
        if turned := self.value(split, "action_turn", 0.0):
            is_turned = noise.at("turned").uniform() < turned
            quarter = torch.where(is_turned, 1 + noise.at("turn").integers(3), 0)
            params["turn"] = torch.tensor(_QUARTER_TURNS, device=index.device)[quarter]
        if drift := self.value(split, "wind", 0.0):
            params["wind"] = shell(noise.at("wind").uniform(2), drift, drift)
        if (step := self.value(split, "step_size", STEP)) != STEP:
            params["step"] = torch.full((len(index), 1), step, device=index.device)
        return params | shifts.factor(self, split, noise)

    # --- the simulator -----------------------------------------------------------------------------------------------
    @property
    def observation(self) -> Box:
        return Box((-WALL, -WALL), (WALL, WALL))

    @property
    def action(self) -> Box:
        return Box((-self.reach, -self.reach), (self.reach, self.reach))

    def reset(self, tasks: Tasks, noise: Rows) -> tuple[Points, Points]:
        origin = device_zeros(tasks, 2, dtype=torch.float32)
        return origin, origin

    def step(self, tasks: Tasks, state: Points, action: Points, noise: Rows) -> Outcome:
        params = tasks.params
        move = action.clamp(-self.reach, self.reach) * (params.get("step", STEP) / self.reach)
        if "turn" in params:
            move = _turned(move, *params["turn"].unbind(-1))
        if "wind" in params:
            move = move + params["wind"]
        state = (state + move).clamp(-WALL, WALL)
        gap = state - params["goal"]
        reward = shifts.paid(self.pay(length(gap), params), params)
        return Outcome(state, state, reward, self.arrived(gap, params) if self.ends_early else None)

    # --- for agents that know the goal -------------------------------------------------------------------------------
    def towards(
        self,
        target: Points,
        position: Points,
        params: Params,
    ) -> Points:
        """The action that brings a point as near to ``target`` as possible, along both sides at once.

        It compensates for wind and turned actions if they are in ``params``, the known parameters of the task.
        """
        move = target - position
        if "wind" in params:
            move = move - params["wind"]
        step = params.get("step", move.new_tensor(STEP))
        move = move.clamp(-step, step)
        if "turn" in params:
            cosine, sine = params["turn"].unbind(-1)
            move = _turned(move, cosine, -sine)
        return (move * (self.reach / step)).clamp(-self.reach, self.reach)

    def destination(self, params: Params) -> Points:
        """The optimal place of each task: the goal, or the farthest corner if rewards are negated."""
        goal = params["goal"]
        if "factor" not in params:
            return goal
        corner = torch.where(goal > 0, -WALL, WALL)
        return torch.where(params["factor"][:, None] < 0, corner, goal)

    # --- for the evaluator -------------------------------------------------------------------------------------------
    def optimal_return(self, tasks: Tasks, trial: Trial) -> Float[Tensor, " B"]:
        """Exact, by walking: at each step no other walk is nearer to the destination along either side.

        The reward falls (or, negated, grows) with the distance along each side. If episodes end at the goal, the
        nearest walk ends first, and later rewards would be 0.
        """
        target, no_draws = self.destination(tasks.params), Rows.without_draws(tasks.index)
        position, _ = self.reset(tasks, no_draws)
        total = torch.zeros_like(position[:, 0])
        for _ in range(trial.horizon):
            action = self.towards(target, position, tasks.params)
            outcome = self.step(tasks, position, action, no_draws)
            position, total = outcome.state, total + outcome.reward
        return total

    def success(self, tasks: Tasks, step: Step) -> Bool[Tensor, " B"]:
        """True if the step reaches the goal."""
        return self.arrived(step.next_obs - tasks.params["goal"], tasks.params)


def length(gap: Vectors) -> Scalars:
    """Euclidean length, computed so that a row alone is bitwise equal to the row in a batch."""
    return (gap[..., 0] * gap[..., 0] + gap[..., 1] * gap[..., 1]).sqrt()


def shell(u: Vectors, inner: float, outer: float) -> Vectors:
    """Points of the unit square (without its centre), mapped to ``inner <= max(|x|, |y|) <= outer``.

    Uniform points stay uniform. Each keeps its direction from the centre, so that shells are paired point by point.
    """
    centred = 2 * u - 1
    side = centred.abs().amax(-1, keepdim=True)
    return centred / side * (inner * inner + (outer * outer - inner * inner) * side * side).sqrt()


def _turned(move: Points, cosine: Float[Tensor, " B"], sine: Float[Tensor, " B"]) -> Points:
    x, y = move.unbind(-1)
    return torch.stack([cosine * x - sine * y, sine * x + cosine * y], -1)
