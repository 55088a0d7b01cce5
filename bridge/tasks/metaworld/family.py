"""Meta-World's suites: one environment with hidden goals (``ml1``), ten and five new ones (``ml10``), ten (``mt10``).

Yu et al. 2019 (arXiv 1910.10897), with environments and rewards of version 3 of the package ``metaworld``. A task is an
environment and the places in which its resets put the object and the goal. Places are drawn as a reset draws them, but
from our noise: no two tasks of any split have the same ones, whatever the seed. Every episode of a task begins alike.

* In ``ml1`` and ``ml10`` the goal is hidden: zeros are in its place. In ``mt10`` it is observed. MT10 elsewhere adds
  the environment's number, one-hot; here agents that may know it get the number of a training task (``tasks=``), and
  all others have to infer it.
* Task i is of environment i modulo 10. The axis ``environment`` of ``ml10`` replaces a share of the trained
  environments by the five that nobody trained on; level 4 is the published test.
* A step succeeds by the environment's own flag, and an episode by one such step. It goes on to its full length.

An observation has the hand's position, how far the gripper is open, and position and orientation of up to two objects;
then the same of the step before; then the goal. It is clipped to bounds that give it a scale. Rewards are at most 10 a
step, a bound that no episode reaches from its start, and nobody has solved these tasks: there is no optimal return, no
regret and no oracle.

Shape letters: B rows, D observation features, P coordinates of places.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

from bridge.config import Count
from bridge.errors import UserError, unknown
from bridge.protocol import Trial
from bridge.rng import Rows
from bridge.tasks import mujoco_package
from bridge.tasks.base import Axis, Box, Split, Tasks
from bridge.tasks.from_gymnasium import FromGymnasium
from bridge.tasks.metaworld.suites import DISTANCES, HOLES, Suite, suite
from bridge.tasks.simulators import Setting
from bridge.tasks.unsolved import Unsolved

if TYPE_CHECKING:
    import gymnasium

MOST = 10_000
"""Most steps of an episode that can be chosen: a state holds an action for each."""
PLACES = 6
"""P: coordinates of an object's and a goal's place. Environments with three of them leave the others 0."""
_TRIES = 200
"""Most draws of a task's places. The environment that accepts fewest (box-close-v3) accepts three in ten."""
_ROUNDING = 1e-9
"""Metres by which distances exceed their limit, so that the environment's own comparison agrees with ours."""

_HAND = ((-0.525, 0.525), (0.348, 1.025), (-0.0525, 0.7), (0.0, 1.0))
_POSITION = ((-0.6, 0.6), (0.0, 1.2), (-0.1, 0.7))
_OBJECT = (*_POSITION, *[(-1.0, 1.0)] * 4)
_SEEN = (*_HAND, *_OBJECT, *_OBJECT)
BOUNDS = (*_SEEN, *_SEEN, *_POSITION)
"""Bounds of each coordinate of an observation: metres, a share for the gripper, quaternions."""

_ENVIRONMENT = Axis(
    "share of tasks in the five environments without training tasks",
    (0.0, 0.25, 0.5, 0.75, 1.0),
    "agents that know the trained environments",
)


@dataclass(frozen=True, kw_only=True)
class MetaWorld(Unsolved, FromGymnasium):
    """A robot arm that reaches, pushes, opens and closes things."""

    suite: Literal["ml1", "ml10", "mt10"] = "ml1"
    """Suite of environments."""
    env: str = "reach-v3"
    """Environment of ``ml1``."""
    episodes: Count = 3
    """Episodes in a trial."""
    steps: Count = 500
    """Steps of an episode."""

    name: ClassVar[str] = "metaworld"
    ends_early: ClassVar[bool] = False
    success_key: ClassVar[str] = "success"
    bytes_a_row: ClassVar[int] = 60_000_000
    """Measured: 20 to 70 MB for an environment."""

    def __post_init__(self) -> None:
        if self.env not in DISTANCES:
            raise unknown("environment of Meta-World", self.env, DISTANCES)
        if self.suite != "ml1" and self.env != "reach-v3":
            raise UserError(
                f"env= chooses the environment of suite ml1; {self.suite} has ten of its own. Leave out env={self.env}."
            )
        if self.steps > MOST:
            raise UserError(
                f"A Meta-World episode has at most {MOST:,} steps; found steps={self.steps:,}. Lower it."
            )
        super().__post_init__()

    # --- tasks -------------------------------------------------------------------------------------------------------
    @property
    def environments(self) -> tuple[str, ...]:
        """The name of each environment: those with training tasks, then those without."""
        return self._suite.trained + self._suite.unseen

    @cached_property
    def _suite(self) -> Suite:
        return suite(self.suite, self.env)

    @property
    def axes(self) -> Mapping[str, Axis]:
        return {"environment": _ENVIRONMENT} if self._suite.unseen else {}

    def signature(self) -> Any:
        """The environments, and the versions that simulate them: others move in other ways."""
        from bridge.tasks.metaworld.sawyer import version

        return [*self.environments, f"metaworld {version()}", f"mujoco {mujoco_package.version()}"]

    def _sample(self, split: Split, index: Int[Tensor, " B"], noise: Rows) -> dict[str, Tensor]:
        trained, unseen = len(self._suite.trained), len(self._suite.unseen)
        environment = index % trained
        if share := self.value(split, "environment", 0.0):
            replaced = noise.at("environment").uniform() < share
            environment = torch.where(replaced, trained + index % unseen, environment)
        return {"environment": environment, "places": self._placed(environment, noise.at("places"))}

    def _placed(self, environment: Int[Tensor, " B"], noise: Rows) -> Float64[Tensor, "B P"]:
        """The places of each task, uniform among those that a reset of its environment accepts."""
        from bridge.tasks.metaworld.sawyer import places_of

        placed = torch.zeros(len(environment), PLACES, dtype=torch.float64)
        for number in environment.unique().tolist():
            name = self.environments[number]
            low, high = (torch.from_numpy(bound) for bound in places_of(name))
            pending = (environment == number).nonzero().flatten()
            for attempt in range(_TRIES):
                drawn = noise[pending].at(attempt).uniform(len(low), dtype=torch.float64).cpu()
                places = low + (high - low) * drawn
                placed[pending.cpu(), : len(low)] = places
                pending = pending[~_accepted(places, name).to(pending.device)]
                if not len(pending):
                    break
            else:
                raise AssertionError(f"places of {name} were refused {_TRIES} times in a row")
        return placed.to(environment.device)

    # --- the simulator -----------------------------------------------------------------------------------------------
    def setting(self, tasks: Tasks, row: int) -> Setting:
        places = tasks.params["places"][row].cpu().numpy()
        return Setting(int(tasks.params["environment"][row]), options={"places": places})

    def make(self, environment: int) -> gymnasium.Env:
        from bridge.tasks.metaworld.sawyer import Sawyer

        return Sawyer(self.environments[environment], self.steps, goal_seen=self._suite.goal_seen)

    @property
    def kept_environments(self) -> int:
        """One: they are large, and built in 0.3 s, the time of 300 steps."""
        return 1

    def trial(self, split: str) -> Trial:
        self.split(split)
        return Trial(self.episodes, self.steps)

    @property
    def observation(self) -> Box:
        return Box(*zip(*BOUNDS, strict=True))

    @property
    def action(self) -> Box:
        """Movements of the hand along three axes, 1 for 1 cm, and the force that closes the gripper."""
        return Box((-1.0,) * 4, (1.0,) * 4)

    def taken(self, actions: Tensor) -> np.ndarray:
        return actions.clamp(-1, 1).cpu().numpy()

    def observed(self, observations: Sequence[Any]) -> Float[Tensor, "B D"]:
        seen = torch.from_numpy(np.stack(observations)).float()
        return seen.clamp(*(seen.new_tensor(bound) for bound in zip(*BOUNDS, strict=True)))


def _accepted(places: Float64[Tensor, "B any"], name: str) -> Bool[Tensor, " B"]:
    """True where object and goal are far enough from each other, in the plane, for the environment called ``name``."""
    if not DISTANCES[name]:
        return torch.ones(len(places), dtype=torch.bool)
    goal = places.new_tensor(HOLES[name]) if name in HOLES else places[:, 3:5]
    return (places[:, :2] - goal).norm(dim=1) >= DISTANCES[name] + _ROUNDING
