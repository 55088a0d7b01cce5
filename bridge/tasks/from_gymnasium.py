"""Task families whose tasks are Gymnasium environments, by whoever wrote them: task i of every split is environment i.

Every row steps an environment of its own. An environment cannot be copied, so the state of an episode is not the
environment but its history: the seed of the reset and the actions since. A seeded environment is a function of both.
So states can be kept, repeated and reordered as those of any other family; whoever asks for a step from a history other
than the one where the row's environment stands pays for a replay.

Two things differ from families of our own:

* Only the seed of an episode is drawn from our noise. What an environment draws after its reset comes from its own
  generator, in its own order. So two methods meet the same start; later draws are the same while they act alike.
* ``optimal_return`` may be an upper bound, not a value that is reached: nobody has solved the environment.

Shape letters: B rows, H the most steps of an episode, D observation features.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from bridge.rng import Rows
from bridge.tasks.base import Axis, Outcome, Split, TaskFamily, Tasks, device_zeros

if TYPE_CHECKING:
    import gymnasium

_SEEDS = 1 << 32
"""Number of seeds: the most that environments which seed a generator of numpy's old kind accept."""


class History(NamedTuple):
    """All that the state of an episode depends on."""

    seed: Int[Tensor, " B"]
    actions: Tensor
    """``[B, H, ...]``; zeros at steps that are not taken yet."""
    taken: Int[Tensor, " B"]
    """The number of steps taken."""


@dataclass(frozen=True, kw_only=True)
class FromGymnasium(TaskFamily):
    """A family of Gymnasium environments with one space of actions; its observations are made from theirs."""

    ends_early: ClassVar[bool] = True

    @property
    @abstractmethod
    def environments(self) -> Sequence[str]:
        """The name of each environment: task i is environment i."""

    @abstractmethod
    def make(self, environment: int) -> gymnasium.Env:
        """Return a new environment of this number. It ends an episode itself, after H steps at the latest.

        Raises:
            UserError: its package is not installed.
        """

    @abstractmethod
    def observed(self, observations: Sequence[Any]) -> Tensor:
        """Return the observations of B environments as values of ``observation``, on the CPU."""

    @property
    def axes(self) -> Mapping[str, Axis]:
        return {}

    def _support(self, split: Split) -> int:
        return len(self.environments)

    def _sample(self, split: Split, index: Int[Tensor, " B"], noise: Rows) -> dict[str, Tensor]:
        return {"environment": index}

    def reset(self, tasks: Tasks, noise: Rows) -> tuple[History, Tensor]:
        action = self.action
        history = History(
            noise.at("seed").bits() & (_SEEDS - 1),
            device_zeros(tasks, self._longest, *action.shape, dtype=action.dtype),
            device_zeros(tasks),
        )
        return history, self._observed(self._simulators_at(tasks, history), tasks.index.device)

    def step(self, tasks: Tasks, state: History, action: Tensor, noise: Rows) -> Outcome:
        """One step of the rows whose episode is not over; the others stay as they are, with no reward."""
        simulators, device = self._simulators_at(tasks, state), action.device
        live = ~torch.tensor([simulator.over for simulator in simulators], device=device)
        reward = [
            simulator.step(each)
            for simulator, each in zip(simulators, action.cpu().numpy(), strict=True)
        ]
        actions = state.actions.clone()
        actions[live, state.taken[live]] = action[live]
        return Outcome(
            History(state.seed, actions, state.taken + live),
            self._observed(simulators, device),
            torch.tensor(reward, dtype=torch.float32, device=device),
            torch.tensor([simulator.terminated for simulator in simulators], device=device),
            torch.tensor([simulator.truncated for simulator in simulators], device=device),
        )

    def _observed(self, simulators: Sequence[Simulator], device: torch.device) -> Tensor:
        return self.observed([simulator.obs for simulator in simulators]).to(device)

    def _simulators_at(self, tasks: Tasks, history: History) -> list[Simulator]:
        """A simulator for each row, standing where its history leads."""
        columns = (tasks.params["environment"], history.seed, history.taken)
        environment, seed, taken = (column.tolist() for column in columns)
        actions, simulators = history.actions.cpu().numpy(), []
        for row in range(len(seed)):
            place = row, environment[row]
            if place not in self._simulators:
                self._simulators[place] = Simulator(self.make(environment[row]))
            simulator = self._simulators[place]
            simulator.stand_at(seed[row], actions[row, : taken[row]])
            simulators.append(simulator)
        return simulators

    @cached_property
    def _longest(self) -> int:
        """H: the most steps of an episode of any split."""
        return max(self.trial(split).horizon for split in self.splits)

    @cached_property
    def _simulators(self) -> dict[tuple[int, int], Simulator]:
        """By row and environment: a cache, which changes no number."""
        return {}

    def __getstate__(self) -> dict[str, Any]:
        """The fields alone: another process makes simulators of its own."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


class Simulator:
    """One environment, which knows the history that led to where it stands."""

    def __init__(self, env: gymnasium.Env) -> None:
        self.env = env
        self.obs: Any = None
        self.terminated = self.truncated = False
        self._seed: int | None = None
        self._actions = b""

    @property
    def over(self) -> bool:
        """True if the episode has ended."""
        return self.terminated or self.truncated

    def stand_at(self, seed: int, actions: np.ndarray) -> None:
        """Stand where ``actions``, one a step, lead after a reset with ``seed``: replay them unless it stands there."""
        if (seed, actions.tobytes()) == (self._seed, self._actions):
            return
        self.obs, _ = self.env.reset(seed=seed)
        self.terminated = self.truncated = False
        self._seed, self._actions = seed, b""
        for action in actions:
            self.step(action)

    def step(self, action: Any) -> float:
        """Take a step and return its reward; if the episode is over, nothing happens and the reward is 0."""
        if self.over:
            return 0.0
        self.obs, reward, terminated, truncated, _ = self.env.step(action)
        self.terminated, self.truncated = bool(terminated), bool(truncated)
        self._actions += action.tobytes()
        return float(reward)
