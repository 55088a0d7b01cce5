"""The base of task families: a simulator batched over tasks, a distribution over tasks, its splits and shift axes.

A family is a frozen dataclass; its fields are the parameters of ``family:key=value``. It holds no state: the state of a
running episode is a value that ``reset`` and ``step`` return. Tasks are data: task i of a split is a function of
(family, split, i), so that any tasks can be made anywhere, in any order, in any batch.

Shape letters: B trials, A actions, D observation features.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from bridge import config
from bridge.errors import UserError, unknown
from bridge.protocol import Step, Trial
from bridge.rng import Rows
from bridge.tasks import changes, perception, widened
from bridge.tasks.description import Description

SUITE_VERSION = 2
"""Increased if a split, noise, a normaliser or a counting rule changes; results of two versions are never mixed."""

STREAMS = ("train", "id_val", "id")
_OWN_VARIABLES = ("changes", *perception.OWN_VARIABLES)
"""The common axes on which every task has a random variable of its own, so that tasks are no finite list."""


@dataclass(frozen=True)
class Discrete:
    """Integers 0..n-1, as int64 ``[B]``."""

    n: int
    low: ClassVar[int] = 0
    dtype: ClassVar[torch.dtype] = torch.int64
    shape: ClassVar[tuple[int, ...]] = ()
    """The shape of one value."""

    @property
    def high(self) -> int:
        """The greatest value."""
        return self.n - 1


@dataclass(frozen=True)
class Box:
    """Real vectors between ``low`` and ``high``, as float32 ``[B, D]``."""

    low: tuple[float, ...]
    high: tuple[float, ...]
    dtype: ClassVar[torch.dtype] = torch.float32

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one value."""
        return (len(self.low),)


Space = Discrete | Box
"""A space of observations or of actions."""


@dataclass(frozen=True)
class Axis:
    """One direction of distribution shift. ``values[0]`` is the trained value, ``values[1:]`` are levels 1 to 4."""

    unit: str
    values: tuple[float, float, float, float, float]
    predicts: str
    """The agents that we expect to break first, written down before anything was trained."""


CONTEXT_AXES = {
    "context_quality": Axis(
        "share of random actions in the context",
        (0.0, 0.25, 0.5, 0.75, 1.0),
        "agents that imitate",
    )
}
"""Axes of every family that change the context given on track C, not the tasks; level 0 is the oracle's own play."""


class Split(NamedTuple):
    """A named source of tasks. ``stream`` names their noise; a shifted split transforms the tasks of ``id``."""

    name: str
    stream: str
    axis: str | None = None
    level: int = 0
    value: float = 0.0


class Tasks(NamedTuple):
    """B tasks: their numbers in their split, and their hidden parameters, each leading with B."""

    index: Int[Tensor, " B"]
    params: dict[str, Tensor]


class Outcome(NamedTuple):
    """The result of one step of the simulator. The evaluator, not the family, ends an episode at its horizon."""

    state: Any
    obs: Tensor
    reward: Float[Tensor, " B"]
    terminated: Bool[Tensor, " B"] | None = None
    """None if the family never ends an episode early."""
    truncated: Bool[Tensor, " B"] | None = None
    """True if time ran out before the horizon, in a family whose tasks have time limits of their own; else None."""
    succeeded: Bool[Tensor, " B"] | None = None
    """The simulator's own flag of success, in a family whose success is no function of the transition; else None."""

    def ends(
        self, out_of_time: bool | Bool[Tensor, " B"] = False
    ) -> tuple[Bool[Tensor, " B"], Bool[Tensor, " B"]]:
        """Return ``terminated`` and ``truncated`` of each row, never both: what ends in the last step has terminated.

        Args:
            out_of_time: True if this step is the last one of the horizon.
        """
        never = torch.zeros(len(self.obs), dtype=torch.bool, device=self.obs.device)
        terminated = never if self.terminated is None else self.terminated
        truncated = never if self.truncated is None else self.truncated
        return terminated, (truncated | out_of_time) & ~terminated


@dataclass(frozen=True, kw_only=True)
class TaskFamily(ABC):
    """The base of every family; ``bridge/tasks/bandit.py`` is the smallest one."""

    tasks: config.CountOrZero = 0
    """Number of fixed training tasks, which split ``train`` then has (0: the whole training distribution)."""
    tests: config.CountOrZero = 0
    """Number of fixed test tasks, the first ones of ``id`` and of each shifted split, which are then played again and
    again (0: the whole distribution). It is no part of the hash: agents are trained as without it."""
    wide: str = ""
    """A shift axis of which levels 1 and 2 are among the training tasks, too; empty: none."""

    name: ClassVar[str]
    version: ClassVar[int] = 1
    """Increased if the definition of the family changes."""
    always: ClassVar[tuple[str, ...]] = ()
    """Fields that the canonical name always contains."""
    ends_early: ClassVar[bool] = False
    """True if an episode can end before its horizon."""
    solved: ClassVar[bool] = True
    """False if ``optimal_return`` is not known: there is no regret then."""
    bytes_a_row: ClassVar[int] = 0
    """Bytes that a row of a batch needs outside of tensors, for environments of other packages."""
    neutral: ClassVar[Mapping[str, Any]] = {}
    """Values at which parameters that only some splits have change nothing; ``wide`` needs them."""
    place: ClassVar[str] = ""
    """The place of a family that is not registered (``path/to/maze.py:Maze``), which its id has in place of a name."""

    def __post_init__(self) -> None:
        config.check_fields(self, self.name)
        if self.wide:
            widened.check(self)
        available = self.support("train", whole=True)
        if available is not None and self.tasks > available:
            raise UserError(
                f"{self.id} has {available} training tasks; found tasks={self.tasks}. Lower it."
            )
        tested = self._support(self.split("id"))
        if tested is not None and self.tests > tested:
            raise UserError(
                f"{self.id} has {tested} test tasks; found tests={self.tests}. Lower it."
            )

    # --- names -------------------------------------------------------------------------------------------------------
    @property
    def id(self) -> str:
        """The canonical name, as in results: ``bandit:k=5,n=10``."""
        return config.spec_of(self.place or self.name, self, self.always)

    @property
    def title(self) -> str:
        """The name in tables: without parameters."""
        return self.name

    @property
    def hash(self) -> str:
        """Twelve hex digits of a hash of all that defines the tasks but the levels of shifts.

        The name alone does not identify them. Runs and rows have it; rows have the value of a shift as a column.
        """
        fields = asdict(self)
        del fields["tests"]
        if not self.wide:
            del fields["wide"]
        content = [SUITE_VERSION, self.name, self.version, fields, self.signature()]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]

    def signature(self) -> Any:
        """All else that defines the tasks (finite supports, constants), as JSON; part of the hash."""
        return None

    def describe(self) -> Description | None:
        """The family in words, for agents that read text; None if nobody has written them."""
        return None

    # --- splits ------------------------------------------------------------------------------------------------------
    @property
    @abstractmethod
    def axes(self) -> Mapping[str, Axis]:
        """The shift axes that this variant has."""

    @property
    def splits(self) -> tuple[str, ...]:
        """All splits of tasks by name, without level 0 of each axis (which is ``id``)."""
        return STREAMS + tuple(
            f"shift/{axis}/{level}" for axis in self.axes for level in range(1, 5)
        )

    def split(self, name: str) -> Split:
        """The split called ``name``.

        Raises:
            UserError: if there is none; it suggests the nearest name.
        """
        if name in STREAMS:
            return Split(name, name)
        parts = name.split("/")
        if len(parts) != 3 or parts[0] != "shift":
            raise unknown(f"split of {self.id}:", name, self.splits)
        _, axis, level = parts
        axes = {**self.axes, **CONTEXT_AXES}
        if axis not in axes:
            raise unknown(f"axis of {self.id}:", axis, axes)
        if level not in tuple("01234"):
            raise UserError(
                f"A level is 0 (trained) to 4, found {level!r} in split {name!r} of {self.id}."
            )
        return Split(name, "id", axis, int(level), axes[axis].values[int(level)])

    def split_of_tasks(self, name: str) -> Split:
        """The split called ``name``, of any axis that shifts tasks.

        Raises:
            UserError: if there is none, or its axis shifts the context of track C.
        """
        found = self.split(name)
        if found.axis in CONTEXT_AXES:
            raise UserError(
                f"{name} shifts the context of track C, not tasks. Name a split that shifts tasks; {found.axis} is for "
                "metabridge evaluate --track C."
            )
        return found

    def value(self, split: Split, axis: str, default: float) -> float:
        """The value of ``axis`` in ``split``: ``default`` unless ``split`` shifts this axis."""
        return split.value if split.axis == axis and split.level else default

    def values(self, split: str, axis: str, default: float) -> tuple[float, ...]:
        """The values of ``axis`` that the tasks of ``split`` have: several, if it is training widened along it."""
        if split == "train" and self.wide == axis:
            return self.axes[axis].values[: widened.LEVELS + 1]
        return (self.value(self.split(split), axis, default),)

    def support(self, split: str, *, whole: bool = False) -> int | None:
        """The number of distinct tasks of ``split``; None if they are drawn from a continuum without ``tests``.

        With ``whole``, that of the distribution behind a fixed set of ``tasks`` training tasks.
        """
        if split == "train" and self.tasks and not whole:
            return self.tasks
        if split == "train" and self.wide:
            return None
        parsed = self.split(split)
        own = parsed.level and parsed.axis in _OWN_VARIABLES
        found = None if own else self._support(parsed)
        if not self.tests or parsed.stream != "id":
            return found
        return self.tests if found is None else min(self.tests, found)

    def _support(self, split: Split) -> int | None:
        return None

    def sample(self, split: str, index: Int[Tensor, " B"]) -> Tasks:
        """The tasks numbered ``index`` in ``split``: non-negative integers, modulo the number of tasks if finite."""
        size = self.support(split)
        index = index % size if size else index
        parsed = self.split(split)
        noise = Rows.of(f"tasks/{self.name}/v{self.version}/{parsed.stream}", index)
        if split == "train" and self.wide:
            return Tasks(index, widened.params(self, index, noise))
        return Tasks(index, self.params(parsed, index, noise))

    def params(self, split: Split, index: Int[Tensor, " B"], noise: Rows) -> dict[str, Tensor]:
        """The hidden parameters of the tasks ``index`` of ``split``; ``noise`` has a row a task."""
        own = self._sample(split, index, noise)
        return own | changes.params(self, split, noise) | perception.params(self, split, noise)

    def task_of(self, tasks: Tasks, episode: int | Int[Tensor, " B"]) -> Tasks:
        """The task that each trial plays in ``episode``: ``tasks`` itself, unless its split shifts ``changes``."""
        return changes.task_of(self, tasks, episode)

    @abstractmethod
    def _sample(self, split: Split, index: Int[Tensor, " B"], noise: Rows) -> dict[str, Tensor]:
        """The hidden parameters of tasks ``index``; every draw comes from ``noise``, one row a task."""

    # --- the simulator -----------------------------------------------------------------------------------------------
    @property
    @abstractmethod
    def observation(self) -> Space:
        """The observation space."""

    @property
    @abstractmethod
    def action(self) -> Space:
        """The action space."""

    @abstractmethod
    def trial(self, split: str) -> Trial:
        """The numbers of episodes and of steps an episode on ``split``."""

    @abstractmethod
    def reset(self, tasks: Tasks, noise: Rows) -> tuple[Any, Tensor]:
        """Begin an episode; returns the simulator's state and the first observation."""

    @abstractmethod
    def step(self, tasks: Tasks, state: Any, action: Tensor, noise: Rows) -> Outcome:
        """One step. Draws may not depend on ``action``: one uniform a variable, through the inverse CDF."""

    # --- for the evaluator -------------------------------------------------------------------------------------------
    @abstractmethod
    def optimal_return(self, tasks: Tasks, trial: Trial) -> Float[Tensor, " B"]:
        """The largest expected return of one episode given the task; regret is measured against it."""

    def expected_reward(self, tasks: Tasks, step: Step) -> Float[Tensor, " B"]:
        """The mean of this step's reward given obs, action and next_obs, for pseudo-regret; here the reward itself."""
        return step.reward

    def success(self, tasks: Tasks, step: Step) -> Bool[Tensor, " B"] | None:
        """True if this step succeeded, None if the family does not define success; one such step makes an episode.

        Here it is the simulator's own flag, which most families do not have.
        """
        return step.succeeded

    def dense_reward(self, tasks: Tasks, step: Step) -> Float[Tensor, " B"] | None:
        """A shaped reward for training critics of a family with sparse rewards; None if there is none.

        Agents trained on it declare this (``Card.supervision``); it may not enter a memory.
        """
        return None

    def curve_points(self, trial: Trial) -> tuple[int, ...]:
        """The numbers of episodes after which a result row is written: about ten, log-spaced, with the last one."""
        points = np.geomspace(1, trial.episodes, min(10, trial.episodes)).round().astype(int)
        return tuple(np.unique(points).tolist())


def device_zeros(tasks: Tasks, *shape: int, dtype: torch.dtype = torch.int64) -> Tensor:
    """Zeros ``[B, *shape]`` on the device of the tasks."""
    return torch.zeros(len(tasks.index), *shape, dtype=dtype, device=tasks.index.device)


def row_entries(table: Shaped[Tensor, "B *more"], *index: Int[Tensor, " B"]) -> Tensor:
    """Each row's entry of its own table: ``table[b, index[0][b], index[1][b], ...]`` for each trial b."""
    return table[torch.arange(len(table), device=table.device), *index]
