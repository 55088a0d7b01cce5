"""Search spaces of hyperparameters.

Configurations are drawn by seed: every method can be given the same number of them, and they can be drawn again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import torch

from bridge.rng import Rows


@dataclass(frozen=True)
class Choice:
    """One of these values, with equal chances."""

    values: tuple[Any, ...]

    def at(self, u: float) -> Any:
        """The value at ``u`` of [0, 1)."""
        return self.values[int(u * len(self.values))]


@dataclass(frozen=True)
class LogUniform:
    """A number whose logarithm is uniform between those of ``low`` and ``high``, rounded to two digits."""

    low: float
    high: float

    def at(self, u: float) -> float:
        """The value at ``u`` of [0, 1)."""
        return float(f"{math.exp(math.log(self.low) + u * math.log(self.high / self.low)):.1e}")


Space = Mapping[str, Choice | LogUniform]
"""Distributions by the names of the configuration's fields."""


def draw(space: Space, start: Any, *, seed: int, count: int) -> list[Any]:
    """``count`` configurations: ``start`` itself, then draws from ``space`` that keep the rest of ``start``.

    Configuration i is the same whatever the count, so a search can be made longer later.

    Raises:
        ValueError: the space names a field that the configuration lacks.
    """
    unknown = space.keys() - {field.name for field in fields(start)}
    if unknown:
        raise ValueError(f"{type(start).__name__} has no field {', '.join(sorted(unknown))}.")
    noise = Rows.of(f"tune/{seed}", torch.arange(count))
    uniforms = {name: noise.at(name).uniform().tolist() for name in space}
    configurations = [start]
    for i in range(1, count):
        drawn = {name: variable.at(uniforms[name][i]) for name, variable in space.items()}
        configurations.append(replace(start, **drawn))
    return configurations
