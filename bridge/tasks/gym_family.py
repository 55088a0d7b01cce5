"""Any Gymnasium environment as a task family: ``gym:CartPole-v1``, with what varies between its tasks.

    gym:env=CartPole-v1,vary=length=0.4..0.8,shift=length=0.8..1.6

A task is a value of each knob in ``vary`` (``bridge/tasks/knobs.py``), drawn uniformly from its range. A knob in
``shift`` is a shift axis: level 1 draws it from the quarter of that range which is nearest to the training tasks, level
4 from the farthest one.

Nobody has solved an environment that we do not know: there is no optimal return, no regret, and no oracle.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from bridge import user_code
from bridge.config import Count, CountOrZero
from bridge.errors import UserError, in_words, nearest
from bridge.protocol import Trial
from bridge.rng import Rows
from bridge.tasks import knobs
from bridge.tasks.base import Axis, Space, Split, Tasks
from bridge.tasks.from_gymnasium import FromGymnasium
from bridge.tasks.knobs import Knob
from bridge.tasks.simulators import Setting, attribute
from bridge.tasks.unsolved import Unsolved

if TYPE_CHECKING:
    import gymnasium

    from bridge.tasks.gym_spaces import Actions, Observations


@dataclass(frozen=True, kw_only=True)
class GymFamily(Unsolved, FromGymnasium):
    """Tasks of one Gymnasium environment."""

    env: str = "CartPole-v1"
    """Its registered name; ``package:Name-v0`` imports the package first."""
    vary: str = ""
    """Knobs of the tasks: ``length=0.4..0.8+masspole=0.05..0.2``."""
    shift: str = ""
    """Shift axes: ``length=0.8..1.6``."""
    episodes: Count = 4
    """Episodes in a trial."""
    steps: CountOrZero = 0
    """Most steps of an episode; 0: the environment's own limit."""

    name: ClassVar[str] = "gym"
    always: ClassVar[tuple[str, ...]] = ("env",)
    bytes_a_row: ClassVar[int] = 20_000
    """Measured: 14,000 for an environment of classic control."""

    def __post_init__(self) -> None:
        for field in ("vary", "shift"):
            object.__setattr__(self, field, knobs.sorted_parts(getattr(self, field)))
        super().__post_init__()
        for key, knob in self._shifted.items():
            trained = self._varied.get(key)
            if knob.values or (trained and trained.values):
                raise UserError(
                    f"A shift of {key} goes from one range to another, such as {key}=0.8..1.6; {self.id} has a list."
                )
            if not trained and knob.place != "attribute":
                raise UserError(
                    f"shift={key} of {self.id} has no trained value. Vary it, too: vary={key}=LOW..HIGH"
                )
            if trained and knob.overlaps(trained):
                raise UserError(
                    f"The shift of {key} in {self.id} lies within what is trained on, {trained.low:g} to "
                    f"{trained.high:g}. Choose a range beyond it."
                )

    @property
    def title(self) -> str:
        return self.env

    @classmethod
    def of(
        cls,
        env: str,
        vary: Mapping[str, Sequence[Any]] | None = None,
        shift: Mapping[str, Sequence[Any]] | None = None,
        **fields: Any,
    ) -> GymFamily:
        """Return the family of an environment whose knobs are given as ranges: ``vary={"length": (0.4, 0.8)}``.

        A tuple of two numbers is a range, any other sequence a list of values.
        """
        varied, shifted = (knobs.spelled(given or {}) for given in (vary, shift))
        return cls(env=env, vary=varied, shift=shifted, **fields)

    # --- tasks -------------------------------------------------------------------------------------------------------
    @cached_property
    def axes(self) -> Mapping[str, Axis]:
        """A shift axis for each knob in ``shift``; the values are the middles of its levels' ranges."""
        return {key: self._axis(key, knob) for key, knob in self._shifted.items()}

    def _axis(self, key: str, knob: Knob) -> Axis:
        trained = self._trained(key)
        one, two, three, four = (knob.quarter(level, trained).middle for level in range(1, 5))
        unit, predicts = f"middle of the range of {key}", "agents that have not met such values"
        return Axis(unit, (trained, one, two, three, four), predicts)

    def _support(self, split: Split) -> int | None:
        """The number of combinations of values, if all that varies has a list of them."""
        varied = self._on(split).values()
        if any(not knob.values for knob in varied):
            return None
        return math.prod(len(knob.values) for knob in varied)

    def _sample(self, split: Split, index: Int[Tensor, " B"], noise: Rows) -> dict[str, Tensor]:
        """A value for each knob: a number, or a place in its list; the environment's own if it does not vary here."""
        varied, drawn, place = self._on(split), {}, index
        for key in self._keys:
            if key not in varied:
                drawn[key] = torch.full_like(index, self._trained(key), dtype=torch.float64)
            elif self._support(split):
                count = len(varied[key].values)
                drawn[key], place = (place % count).double(), place // count
            else:
                drawn[key] = varied[key].draw(noise.at("knob", key))
        return drawn or {"task": torch.zeros_like(index)}

    def _on(self, split: Split) -> dict[str, Knob]:
        """The knobs that vary on a split."""
        if not split.level or split.axis not in self._shifted:
            return self._varied
        level = self._shifted[split.axis].quarter(split.level, self._trained(split.axis))
        return self._varied | {split.axis: level}

    @cached_property
    def _varied(self) -> dict[str, Knob]:
        return knobs.parse(self.vary, f"vary={self.vary}")

    @cached_property
    def _shifted(self) -> dict[str, Knob]:
        return knobs.parse(self.shift, f"shift={self.shift}")

    @property
    def _keys(self) -> list[str]:
        return sorted({*self._varied, *self._shifted})

    def _trained(self, key: str) -> float:
        """The middle of the trained values of a knob."""
        if key in self._varied:
            return self._varied[key].middle
        return float(self._own(key))

    def signature(self) -> Any:
        """The environment's registered limit and arguments, the version of its package, and a digest of the module that
        is imported before it."""
        spec = self._first.spec
        assert spec is not None
        package = str(spec.entry_point).partition(":")[0].partition(".")[0]
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            package = f"{package} {importlib.metadata.version(package)}"
        module = self.env.rpartition(":")[0]
        return [
            package,
            spec.max_episode_steps,
            sorted(map(str, spec.kwargs.items())),
            *([_digest(module)] if module else []),
        ]

    def in_words(self, tasks: Tasks, row: int) -> str:
        """Return the name of one of the tasks with its values."""
        given = self.setting(tasks, row)
        values = [
            *given.attributes,
            *_pairs(given.environment),
            *(given.options or {}).items(),
        ]
        named = ", ".join(f"{key}={value}" for key, value in values)
        return f"task {int(tasks.index[row])} of {self.id}" + f" ({named})" * bool(named)

    # --- the environment ---------------------------------------------------------------------------------------------
    def make(self, environment: Any) -> gymnasium.Env:
        """Return a new environment.

        Args:
            environment: pairs of keyword arguments.

        Raises:
            UserError: there is none of this name, it needs a package, it refuses its arguments, or these change its
                spaces or its limit of steps.
        """
        made, first = self._made(environment), self._first
        for what in ("observation_space", "action_space", "spec.max_episode_steps"):
            ours, theirs = (attribute(env, what) for env in (first, made))
            if ours != theirs:
                raise UserError(
                    f"All tasks of {self.id} have one {what.rpartition('.')[2]}, {ours}; found {theirs} with "
                    f"{dict(environment)}. Vary something else."
                )
        return made

    def _made(self, environment: Any) -> gymnasium.Env:
        import gymnasium

        module, _, _ = self.env.rpartition(":")
        limit = {"max_episode_steps": self.steps} if self.steps else {}
        try:
            if module:
                user_code.import_beside(module)
            made = gymnasium.make(self.env, disable_env_checker=True, **limit, **dict(environment))
        except gymnasium.error.UnregisteredEnv as error:
            raise UserError(f"There is no Gymnasium environment {self.env!r}: {error}") from None
        except (gymnasium.error.DependencyNotInstalled, ImportError) as error:
            raise UserError(f"{self.env} needs a package: {error}") from None
        except Exception as error:
            raise UserError(f"{self.env} cannot be made: {in_words(error)}") from error
        if made.spec is None or made.spec.max_episode_steps is None:
            raise UserError(
                f"{self.env} has no limit of steps, and every episode needs one. Give it: steps=200"
            )
        return made

    def setting(self, tasks: Tasks, row: int) -> Setting:
        found: dict[str, dict[str, Any]] = {"attribute": {}, "make": {}, "reset": {}}
        for key in self._keys:
            drawn = tasks.params[key][row].item()
            knob = self._varied.get(key) or self._shifted[key]
            own = key not in self._varied and drawn == self._trained(key)
            found[knob.place][knob.name] = self._own(key) if own else knob.value(drawn)
        return Setting(
            tuple(sorted(found["make"].items())),
            tuple(found["attribute"].items()),
            found["reset"] or None,
        )

    @property
    def kept_environments(self) -> int:
        """A single one if constructors are given numbers of a range, none of which comes again."""
        ranges = (
            knob for knob in self._varied.values() if knob.place == "make" and not knob.values
        )
        return 1 if any(ranges) else super().kept_environments

    @cached_property
    def _first(self) -> gymnasium.Env:
        """An environment, for its spaces, its limit and its attributes."""
        arguments = [knob for knob in self._varied.values() if knob.place == "make"]
        made = self._made(tuple(sorted((knob.name, knob.value(knob.low)) for knob in arguments)))
        made.reset(seed=0)  # some attributes are set there
        for key, knob in (self._varied | self._shifted).items():
            if knob.place == "attribute":
                self._check_attribute(made, key, is_number=not knob.values)
        return made

    def _own(self, key: str) -> Any:
        """The value of an attribute as the environment is made."""
        return attribute(self._first.unwrapped, key)

    def _check_attribute(self, made: gymnasium.Env, key: str, *, is_number: bool) -> None:
        """Refuse an attribute that is not there.

        Raises:
            UserError: there is none of this name, or it is no number.
        """
        part, _, name = key.rpartition(".")
        thing = _found(made.unwrapped, part) if part else made.unwrapped
        value = _found(thing, name)
        if value is None:
            known = [
                each for each in dir(thing) if _is_number(_found(thing, each)) and each[0] != "_"
            ]
            raise UserError(
                f"{self.env} has no attribute {key!r}. {nearest(name, known)}Its numbers: {', '.join(known)}. An "
                f"argument of its constructor is make.{key}, an option of its reset reset.{key}."
            )
        if is_number and not _is_number(value):
            raise UserError(f"{key} of {self.env} is {value!r}, which is no number.")

    def trial(self, split: str) -> Trial:
        self.split(split)
        spec = self._first.spec
        assert spec is not None
        assert spec.max_episode_steps is not None
        return Trial(self.episodes, spec.max_episode_steps)

    @property
    def observation(self) -> Space:
        return self._observations.ours

    @property
    def action(self) -> Space:
        return self._actions.ours

    def observed(self, observations: Sequence[Any]) -> Tensor:
        return self._observations.read(observations)

    def taken(self, actions: Tensor) -> np.ndarray | list[int]:
        return self._actions.taken(actions)

    @cached_property
    def _observations(self) -> Observations:
        from bridge.tasks.gym_spaces import Observations

        return Observations(self._first.observation_space, self.env)

    @cached_property
    def _actions(self) -> Actions:
        from bridge.tasks.gym_spaces import Actions

        return Actions(self._first.action_space, self.env)


def _digest(module: str) -> str:
    """Eight hex digits of a hash of an imported module's file."""
    file = sys.modules[module].__file__
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()[:8] if file else ""


def _found(thing: Any, name: str) -> Any:
    """An attribute; None if there is none, or if it cannot be computed yet."""
    try:
        return attribute(thing, name)
    except Exception:
        return None


def _pairs(environment: Any) -> tuple[tuple[str, Any], ...]:
    """The arguments of ``make``, which ``setting`` has made."""
    return environment


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)
