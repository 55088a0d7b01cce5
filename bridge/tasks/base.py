"""What a task family is: a simulator batched over tasks, a distribution over tasks, its splits and its shift axes.

A family is a frozen dataclass; its fields are the parameters of ``family:key=value``. It holds no state: everything
about a running episode is a value that ``reset`` and ``step`` return. Tasks are data: task i of a split is a function
of (family, split, i), so any set of them can be made anywhere, in any order, in any batch.

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
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bridge import config
from bridge.errors import UserError, unknown
from bridge.protocol import Step, Trial
from bridge.rng import Rows

SUITE_VERSION = 2
"""Moves when a split, noise, a normaliser or a counting rule moves; results of two suite versions are never mixed."""

STREAMS = ("train", "id_val", "id")


@dataclass(frozen=True)
class Discrete:
    """Integers 0..n-1, as int64 ``[B]``."""

    n: int


@dataclass(frozen=True)
class Box:
    """Real vectors between ``low`` and ``high``, as float32 ``[B, D]``."""

    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True)
class Axis:
    """One direction of distribution shift. ``values[0]`` is the trained one, ``values[1:]`` are levels 1 to 4."""

    unit: str
    values: tuple[float, float, float, float, float]
    predicts: str
    """What we expect to break first, written down before anything is trained."""


CONTEXT_AXES = {
    "context_quality": Axis(
        "share of random actions in what is shown", (0.0, 0.25, 0.5, 0.75, 1.0), "all that imitate"
    )
}
"""Axes of every family that leave its tasks as they are and move what is shown of them, on track C; level 0: the
oracle's own play."""


class Split(NamedTuple):
    """A named source of tasks. ``stream`` is where its tasks are drawn; a shifted split draws the tasks of ``id``."""

    name: str
    stream: str
    axis: str | None = None
    level: int = 0
    value: float = 0.0


class Tasks(NamedTuple):
    """B tasks: which of their split they are, and their hidden parameters, each leading with B."""

    index: Int[Tensor, " B"]
    params: dict[str, Tensor]


class Outcome(NamedTuple):
    """What one step of the simulator gives. ``terminated`` is None where the family never ends an episode early."""

    state: Any
    obs: Tensor
    reward: Float[Tensor, " B"]
    terminated: Bool[Tensor, " B"] | None = None


@dataclass(frozen=True, kw_only=True)
class TaskFamily(ABC):
    """The base of every family; see ``bridge/tasks/bandit.py`` for the smallest one."""

    tasks: int = 0
    """Fix this many training tasks (0: the whole training distribution). Split ``train`` then scores them."""

    name: ClassVar[str]
    version: ClassVar[int] = 1
    """Moves when the definition of the family moves."""
    always: ClassVar[tuple[str, ...]] = ()
    """Fields that the canonical name always shows."""
    ends_early: ClassVar[bool] = False
    """Whether an episode can end before its horizon."""

    def __post_init__(self) -> None:
        if self.tasks < 0:
            raise UserError(
                f"tasks must be 0 (all) or a positive number of training tasks, found {self.tasks}."
            )
        available = self.support("train", whole=True)
        if available is not None and self.tasks > available:
            raise UserError(
                f"{self.id} has {available} training tasks; tasks={self.tasks} asks for more. Lower it."
            )

    # --- names -------------------------------------------------------------------------------------------------------
    @property
    def id(self) -> str:
        """The canonical name, as results carry it: ``bandit:k=5,n=10``."""
        return config.spec_of(self.name, self, self.always)

    @property
    def hash(self) -> str:
        """Twelve hex digits of everything that defines the tasks: two environments that share a name differ here."""
        axes = {name: axis.values for name, axis in self.axes.items()}
        content = [SUITE_VERSION, self.name, self.version, asdict(self), axes, self.signature()]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]

    def signature(self) -> Any:
        """What else defines the tasks (finite supports, constants), as JSON; part of the hash."""
        return None

    # --- splits ------------------------------------------------------------------------------------------------------
    @property
    @abstractmethod
    def axes(self) -> Mapping[str, Axis]:
        """The shift axes that this variant has."""

    @property
    def splits(self) -> tuple[str, ...]:
        """Every split of tasks by name, level 0 of each axis left out (it is ``id``)."""
        return STREAMS + tuple(
            f"shift/{axis}/{level}" for axis in self.axes for level in range(1, 5)
        )

    def split(self, name: str) -> Split:
        """The split called ``name``; a ``UserError`` with the nearest name where there is none."""
        if name in STREAMS:
            return Split(name, name)
        parts = name.split("/")
        if len(parts) == 3 and parts[0] == "shift":
            axes = {**self.axes, **CONTEXT_AXES}
            if parts[1] not in axes:
                raise unknown(f"axis of {self.id}:", parts[1], axes)
            if parts[2] not in tuple("01234"):
                raise UserError(
                    f"A level is 0 (trained) to 4, found {parts[2]!r} in split {name!r} of {self.id}."
                )
            level = int(parts[2])
            return Split(name, "id", parts[1], level, axes[parts[1]].values[level])
        raise unknown(f"split of {self.id}:", name, self.splits)

    def split_of_tasks(self, name: str) -> Split:
        """``split``; a ``UserError`` where that has the tasks of ``id``, and shifts who shows them."""
        if (found := self.split(name)).axis in CONTEXT_AXES:
            raise UserError(
                f"{name} shifts what is shown on track C, not tasks. Name a split that shifts tasks; {found.axis} is "
                "for metabridge evaluate --track C."
            )
        return found

    def value(self, split: Split, axis: str, default: float) -> float:
        """The value of ``axis`` in ``split``: ``default`` unless this split moves it."""
        return split.value if split.axis == axis and split.level else default

    def support(self, split: str, *, whole: bool = False) -> int | None:
        """How many distinct tasks ``split`` has; None where they are drawn from a continuum.

        ``whole`` asks for the distribution behind a fixed set of ``tasks`` training tasks.
        """
        finite = self._support(self.split(split))
        if split == "train" and self.tasks and not whole:
            return self.tasks
        return finite

    def _support(self, split: Split) -> int | None:
        return None

    def sample(self, split: str, index: Int[Tensor, " B"]) -> Tasks:
        """Tasks number ``index`` of ``split`` (any non-negative integers; finite splits count round and round)."""
        size = self.support(split)
        index = index % size if size else index
        parsed = self.split(split)
        noise = Rows.of(f"tasks/{self.name}/v{self.version}/{parsed.stream}", index)
        return Tasks(index, self._sample(parsed, index, noise))

    @abstractmethod
    def _sample(self, split: Split, index: Int[Tensor, " B"], noise: Rows) -> dict[str, Tensor]:
        """The hidden parameters of tasks ``index``; every draw comes from ``noise``, one row a task."""

    # --- the simulator -----------------------------------------------------------------------------------------------
    @property
    @abstractmethod
    def observation(self) -> Discrete | Box:
        """The observation space."""

    @property
    @abstractmethod
    def action(self) -> Discrete | Box:
        """The action space."""

    @abstractmethod
    def trial(self, split: str) -> Trial:
        """How many episodes of how many steps a trial has on ``split``."""

    @abstractmethod
    def reset(self, tasks: Tasks, noise: Rows) -> tuple[Any, Tensor]:
        """Begin an episode: the simulator's state and the first observation."""

    @abstractmethod
    def step(self, tasks: Tasks, state: Any, action: Tensor, noise: Rows) -> Outcome:
        """One step. What is drawn may not depend on ``action``: one uniform a variable, through the inverse CDF."""

    # --- what the evaluator asks -------------------------------------------------------------------------------------
    @abstractmethod
    def optimal_return(self, tasks: Tasks, trial: Trial) -> Float[Tensor, " B"]:
        """The expected return of one episode for who knows the task: what regret is measured against."""

    def expected_reward(self, tasks: Tasks, step: Step) -> Float[Tensor, " B"]:
        """The mean of this step's reward given what was done; pseudo-regret uses it. By default the reward itself."""
        return step.reward

    def success(self, tasks: Tasks, step: Step) -> Bool[Tensor, " B"] | None:
        """Whether this step succeeded, where the family knows such a thing; an episode succeeds if any step does."""
        return None

    def dense_reward(self, tasks: Tasks, step: Step) -> Float[Tensor, " B"] | None:
        """A reward that tells the way where the family's own is sparse, for training critics; None where there is none.

        Who learns from it says so (``Card.supervision``); no memory may see it.
        """
        return None

    def curve_points(self, trial: Trial) -> tuple[int, ...]:
        """After how many episodes a result row is written: about ten, log-spaced, the last one included."""
        points = np.geomspace(1, trial.episodes, min(10, trial.episodes)).round().astype(int)
        return tuple(sorted({int(p) for p in points}))


def device_zeros(tasks: Tasks, *shape: int, dtype: torch.dtype = torch.int64) -> Tensor:
    """Zeros ``[B, *shape]`` beside the tasks."""
    return torch.zeros(len(tasks.index), *shape, dtype=dtype, device=tasks.index.device)
