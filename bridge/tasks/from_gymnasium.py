"""Task families whose tasks are Gymnasium environments, by whoever wrote them.

Every row steps an environment of its own, which is reset when an episode begins and never by itself: a row whose
episode has ended stands still until the others have ended, too (Gymnasium's ``AutoresetMode.DISABLED``).

An environment cannot be copied, so the state of an episode is not the environment but its history: the seed of the
reset and the actions since. A seeded environment is a function of both. So states can be kept, repeated and reordered
as those of any other family; whoever asks for a step from a history other than the one where the row's environment
stands pays for a replay.

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

from bridge.errors import UserError, in_words
from bridge.rng import Rows
from bridge.tasks.base import Axis, Outcome, TaskFamily, Tasks, device_zeros
from bridge.tasks.simulators import Setting, Stage, hashed

if TYPE_CHECKING:
    import gymnasium

_SEEDS = 1 << 32
"""Number of seeds: the most that environments which seed a generator of numpy's old kind accept."""


_KEPT_AS = {torch.int64: torch.int16, torch.float32: torch.float32}
"""The types in which actions are kept: those of a discrete space are few."""


class History(NamedTuple):
    """All that the state of an episode depends on, beside its task."""

    seed: Int[Tensor, " B"]
    actions: Tensor
    """``[B, H, ...]``; zeros at steps that are not taken yet."""
    taken: Int[Tensor, " B"]
    """The number of steps taken."""
    mark: Int[Tensor, " B"]
    """64 bits of a hash of task, seed and actions, by which a row's environment is known to stand there already."""


@dataclass(frozen=True, kw_only=True)
class FromGymnasium(TaskFamily):
    """A family of Gymnasium environments with one space of actions; its observations are made from theirs."""

    ends_early: ClassVar[bool] = True
    success_key: ClassVar[str] = ""
    """The entry of a step's ``info`` that is True (or 1) if the step succeeded; empty: environments have none."""

    @abstractmethod
    def make(self, environment: Any) -> gymnasium.Env:
        """Return a new environment. It ends an episode itself, after H steps at the latest.

        Raises:
            UserError: its package is not installed.
        """

    @abstractmethod
    def setting(self, tasks: Tasks, row: int) -> Setting:
        """Return how the environment of one of the tasks is made and reset."""

    @abstractmethod
    def observed(self, observations: Sequence[Any]) -> Tensor:
        """Return the observations of B environments as values of ``observation``, on the CPU."""

    def taken(self, actions: Tensor) -> np.ndarray | list[int]:
        """Return actions in the form that the environments take."""
        return actions.cpu().numpy()

    @property
    def axes(self) -> Mapping[str, Axis]:
        return {}

    def reset(self, tasks: Tasks, noise: Rows) -> tuple[History, Tensor]:
        action, seed = self.action, noise.at("seed").bits() & (_SEEDS - 1)
        of_task = (part.cpu().numpy() for part in (tasks.index, *tasks.params.values()))
        history = History(
            seed,
            device_zeros(tasks, self._longest, *action.shape, dtype=_KEPT_AS[action.dtype]),
            device_zeros(tasks),
            torch.from_numpy(hashed(seed.cpu().numpy(), *of_task)).to(seed.device),
        )
        return history, self._observed(self._standing(tasks, history), seed.device)

    def step(self, tasks: Tasks, state: History, action: Tensor, noise: Rows) -> Outcome:
        """One step of the rows whose episode is not over; the others stay as they are, with no reward.

        Raises:
            UserError: an environment raised; the message has its task, its step and its words.
        """
        stage, device = self._standing(tasks, state), action.device
        live = np.flatnonzero(~stage.over)
        stage.adrift()
        chosen, reward, row = self.taken(action), np.zeros(len(stage.over), np.float32), 0
        succeeded = np.zeros(len(stage.over), np.bool_)
        try:
            for row in live.tolist():
                reward[row] = stage.step(row, chosen[row])
                if self.success_key:
                    succeeded[row] = bool(stage.info[row][self.success_key])
        except Exception as error:
            stage.lost(row)
            raise self._failed(tasks, row, f"in step {int(state.taken[row])}", error) from error
        seed, actions, taken, mark = (part.cpu().numpy() for part in state)
        actions, taken, mark = actions.copy(), taken.copy(), mark.copy()
        given = action.cpu().numpy()[live]
        actions[live, taken[live]] = given
        taken[live] += 1
        mark[live] = hashed(mark[live], given)
        stage.moved(mark)
        history = (seed, actions, taken, mark)
        return Outcome(
            History(*(torch.from_numpy(part).to(device) for part in history)),
            self._observed(stage, device),
            torch.from_numpy(reward).to(device),
            torch.from_numpy(stage.terminated.copy()).to(device),
            torch.from_numpy(stage.truncated.copy()).to(device),
            torch.from_numpy(succeeded).to(device) if self.success_key else None,
        )

    def in_words(self, tasks: Tasks, row: int) -> str:
        """Return the name of one of the tasks, for errors."""
        return f"task {int(tasks.index[row])} of {self.id}"

    def _observed(self, stage: Stage, device: torch.device) -> Tensor:
        try:
            return self.observed(stage.obs).to(device)
        except Exception as error:
            raise UserError(
                f"An environment of {self.id} returned an observation that is none of its space: {in_words(error)}"
            ) from error

    def _standing(self, tasks: Tasks, history: History) -> Stage:
        """The stage, with the environment of each row where its history leads."""
        row = 0

        def setting(of: int) -> Setting:
            nonlocal row
            row = of
            return self.setting(tasks, of)

        def past(of: int) -> tuple[int, np.ndarray | list[int]]:
            done = history.actions[of, : int(history.taken[of])]
            return int(history.seed[of]), self.taken(done.to(self.action.dtype))

        try:
            self._stage.stand(history.mark.cpu().numpy(), setting, past)
        except UserError:
            raise
        except Exception as error:
            self._stage.lost(row)
            raise self._failed(tasks, row, "as it was reset", error) from error
        return self._stage

    def _failed(self, tasks: Tasks, row: int, when: str, error: Exception) -> UserError:
        return UserError(
            f"The environment of {self.in_words(tasks, row)} raised {when}: {in_words(error)}"
        )

    @cached_property
    def _longest(self) -> int:
        """H: the most steps of an episode of any split."""
        return max(self.trial(split).horizon for split in self.splits)

    @cached_property
    def _stage(self) -> Stage:
        return Stage(self.make, self.kept_environments)

    @property
    def kept_environments(self) -> int:
        """Most environments that a row keeps, as its tasks may need different ones in turn."""
        return 8

    def __getstate__(self) -> dict[str, Any]:
        """The fields alone: another process makes environments of its own."""
        return {field.name: getattr(self, field.name) for field in fields(self)}
