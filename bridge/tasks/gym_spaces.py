"""Gymnasium's spaces as ours: vectors of numbers that networks read, and actions that policies choose.

Observations of Dict, Tuple and discrete parts are flattened as ``gymnasium.spaces.flatten`` does. Coordinates without
bounds are squashed into (-1, 1), in the order of their size: x becomes s / (1 + |s|) with s = sign(x) log(1 + |x|),
which is x near 0.

Shape letters: B rows, D coordinates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from bridge.errors import UserError
from bridge.tasks.base import Box, Discrete, Space

MOST_COORDINATES = 16_384
"""Most coordinates of an observation."""
MOST_ACTIONS = 1_024
"""Most combinations of several discrete actions."""
_UNBOUNDED = 1e30
"""Bounds beyond this are none."""


@dataclass(frozen=True)
class Observations:
    """Observations of a Gymnasium space as values of ours.

    Raises:
        UserError: a space that has no fixed number of coordinates, or too many.
    """

    theirs: gymnasium.Space
    name: str
    """The environment's, for errors."""

    def __post_init__(self) -> None:
        try:
            count = spaces.flatdim(self.theirs)
        except (NotImplementedError, ValueError):
            raise UserError(
                f"Observations of {self.name} are {self.theirs}, which has no fixed number of coordinates. Register a "
                "wrapped environment that returns a Box, Discrete, Dict or Tuple of these (docs/gymnasium.md)."
            ) from None
        if count > MOST_COORDINATES:
            raise UserError(
                f"An observation of {self.name} has {count:,} coordinates; networks here read at most "
                f"{MOST_COORDINATES:,}. Register a wrapped environment with fewer (docs/gymnasium.md)."
            )

    @cached_property
    def ours(self) -> Space:
        """The space that agents observe."""
        if isinstance(self.theirs, spaces.Discrete):
            return Discrete(int(self.theirs.n))
        low = np.where(self._bounded, self._flat.low, -1.0)
        high = np.where(self._bounded, self._flat.high, 1.0)
        high = np.where(high > low, high, low + 1.0)  # a constant coordinate
        return Box(tuple(map(float, low)), tuple(map(float, high)))

    def read(self, observations: Sequence[Any]) -> Tensor:
        """Return B observations, on the CPU."""
        if isinstance(self.theirs, spaces.Discrete):
            found = torch.tensor(observations, dtype=torch.int64) - int(self.theirs.start)
            if ((found < 0) | (found >= int(self.theirs.n))).any():
                raise ValueError(f"{observations} are not all of {self.theirs}")
            return found
        if not isinstance(self.theirs, spaces.Box):
            observations = [spaces.flatten(self.theirs, each) for each in observations]
        flat = np.array(observations, dtype=np.float32).reshape(len(observations), -1)
        if flat.shape[1] != len(self._bounded):
            raise ValueError(f"{flat.shape[1]} coordinates, expected {len(self._bounded)}")
        free = flat[:, self._free]
        size = np.log1p(np.abs(free))
        flat[:, self._free] = np.sign(free) * size / (1 + size)
        return torch.from_numpy(flat)

    @cached_property
    def _flat(self) -> spaces.Box:
        flat = spaces.flatten_space(self.theirs)
        assert isinstance(flat, spaces.Box)
        return flat

    @cached_property
    def _bounded(self) -> np.ndarray:
        return (np.abs(self._flat.low) < _UNBOUNDED) & (np.abs(self._flat.high) < _UNBOUNDED)

    @cached_property
    def _free(self) -> np.ndarray:
        """The places of coordinates without bounds."""
        return np.flatnonzero(~self._bounded)


@dataclass(frozen=True)
class Actions:
    """Our actions as those of a Gymnasium space.

    Raises:
        UserError: a space that policies here do not choose from.
    """

    theirs: gymnasium.Space
    name: str
    """The environment's, for errors."""

    def __post_init__(self) -> None:
        theirs = self.theirs
        if isinstance(theirs, spaces.Box):
            real = np.issubdtype(theirs.dtype, np.floating)
            if theirs.is_bounded("both") and real and (theirs.low < theirs.high).all():
                return
            raise UserError(
                f"Actions of {self.name} are {theirs}; policies here choose real numbers between two different bounds. "
                "Register the environment in gymnasium.wrappers.TransformAction, with a bounded space "
                "(docs/gymnasium.md)."
            )
        if self._counts is None:
            raise UserError(
                f"Actions of {self.name} are {self.theirs}; policies here choose from Discrete, MultiDiscrete, "
                "MultiBinary and bounded Box spaces. Wrap the environment in one of these."
            )
        if (count := math.prod(self._counts)) > MOST_ACTIONS:
            raise UserError(
                f"{self.name} has {count:,} combinations of actions; at most {MOST_ACTIONS:,} can be chosen from. Wrap "
                "it with fewer."
            )

    @cached_property
    def ours(self) -> Space:
        """The space that policies choose from."""
        if isinstance(self.theirs, spaces.Box):
            low, high = (np.ravel(end) for end in (self.theirs.low, self.theirs.high))
            return Box(tuple(map(float, low)), tuple(map(float, high)))
        assert self._counts is not None
        return Discrete(math.prod(self._counts))

    def taken(self, actions: Tensor) -> np.ndarray | list[int]:
        """Return actions in the form that the environment takes; Python's integers, whose check is the fastest."""
        chosen, theirs = actions.cpu().numpy(), self.theirs
        if isinstance(theirs, spaces.Discrete):
            return (chosen + int(theirs.start)).tolist()
        if isinstance(theirs, spaces.Box):
            shaped = chosen.astype(theirs.dtype).reshape(-1, *theirs.shape)
            return np.clip(
                shaped, theirs.low, theirs.high
            )  # the bounds may differ in their last digit
        assert self._counts is not None
        parts = np.stack(np.unravel_index(chosen, self._counts), -1)
        start = getattr(theirs, "start", 0)
        shaped = parts.reshape(-1, *(theirs.shape or ()))
        return (shaped + start).astype(theirs.dtype)

    def read(self, actions: np.ndarray) -> Tensor:
        """Return B actions of the environment as ours: the inverse of ``taken``.

        Raises:
            ValueError: one of them is not of the space.
        """
        theirs = self.theirs
        if isinstance(theirs, spaces.Box):
            shaped = np.asarray(actions, dtype=np.float32).reshape(len(actions), -1)
            if shaped.shape[1:] != (np.prod(theirs.shape, dtype=int),):
                raise ValueError(f"actions of {shaped.shape[1]} coordinates are none of {theirs}")
            return torch.from_numpy(shaped)
        assert self._counts is not None
        whole = np.asarray(actions, dtype=np.int64) - getattr(theirs, "start", 0)
        parts = whole.reshape(len(actions), len(self._counts))
        return torch.from_numpy(np.ravel_multi_index(tuple(parts.T), self._counts).astype(np.int64))

    @cached_property
    def _counts(self) -> tuple[int, ...] | None:
        """The numbers of choices of each discrete part; None if there are other parts."""
        theirs = self.theirs
        if isinstance(theirs, spaces.Discrete):
            return (int(theirs.n),)
        if isinstance(theirs, spaces.MultiDiscrete):
            return tuple(int(n) for n in np.ravel(theirs.nvec))
        if isinstance(theirs, spaces.MultiBinary):
            return (2,) * int(np.prod(theirs.shape))
        return None
