"""What varies between the tasks of a Gymnasium environment: ``length=0.4..0.8+make.gravity=9..11``.

A knob is an attribute of the unwrapped environment (``length``, ``model.opt.timestep``), a keyword argument of its
constructor (``make.gravity``) or an option of its reset (``reset.low``). It has a range, or a list of values:
``make.map_name=4x4|8x8``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bridge.errors import UserError
from bridge.rng import Rows

Place = Literal["attribute", "make", "reset"]
_PREFIXES: dict[str, Place] = {"make.": "make", "reset.": "reset"}
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_RANGE = re.compile(rf"({_NUMBER})\.\.({_NUMBER})")


@dataclass(frozen=True)
class Knob:
    """One thing that varies."""

    key: str
    """Its name with its prefix."""
    low: float = 0.0
    high: float = 0.0
    values: tuple[str, ...] = ()
    """A list of values, if it has no range."""
    whole: bool = False
    """True if it takes whole numbers alone."""

    @property
    def place(self) -> Place:
        """Where its value goes."""
        return next(
            (place for prefix, place in _PREFIXES.items() if self.key.startswith(prefix)),
            "attribute",
        )

    @property
    def name(self) -> str:
        """Its name there."""
        return self.key if self.place == "attribute" else self.key.partition(".")[2]

    @property
    def middle(self) -> float:
        """The middle of its range; 0 for a list."""
        return (self.low + self.high) / 2

    @property
    def count(self) -> int | None:
        """The number of its values; None if they are a continuum."""
        if self.values:
            return len(self.values)
        return int(self.high - self.low) + 1 if self.whole else None

    def entry(self, index: Int[Tensor, " B"]) -> Float[Tensor, " B"]:
        """The values at some places of a list of them all."""
        return (self.low if self.whole else 0.0) + index.double()

    def draw(self, noise: Rows) -> Float[Tensor, " B"]:
        """A value for each row, uniformly: a number, or the place in the list."""
        if self.count:
            return self.entry(noise.integers(self.count))
        return self.low + (self.high - self.low) * noise.uniform(dtype=torch.float64)

    def value(self, drawn: float) -> Any:
        """What the environment is given for a drawn value."""
        if self.values:
            return _typed(self.values[int(drawn)])
        return int(drawn) if self.whole else drawn

    def quarter(self, level: int, trained: float) -> Knob:
        """A quarter of its range, 1 to 4, counted from the end that is nearer to ``trained``."""
        width = (self.high - self.low) / 4
        first = abs(self.low - trained) <= abs(self.high - trained)
        place = level - 1 if first else 4 - level
        low = self.low + place * width
        return Knob(self.key, low, low + width)


def parse(text: str, spec: str) -> dict[str, Knob]:
    """Return the knobs in ``key=range+key=range`` by key.

    Raises:
        UserError: a part is no range and no list; ``spec`` names where it stands.
    """
    knobs: dict[str, Knob] = {}
    for part in filter(None, text.split("+")):
        key, _, given = part.partition("=")
        found = _RANGE.fullmatch(given)
        if not re.fullmatch(r"[^\W\d][\w.]*", key) or not given:
            raise UserError(
                f"Expected a name and a range in {spec!r}, such as length=0.4..0.8 or make.map_name=4x4|8x8; found "
                f"{part!r}."
            )
        if key in knobs:
            raise UserError(f"{key} occurs twice in {spec!r}. Keep one of them.")
        if not found:
            if _RANGE.match(given) or ".." in given:
                raise UserError(
                    f"{part!r} in {spec!r} is no range of two numbers. Write {key}=0.4..0.8"
                )
            knobs[key] = Knob(key, values=tuple(given.split("|")))
            continue
        low, high = float(found[1]), float(found[2])
        if not low <= high:
            raise UserError(
                f"{part!r} in {spec!r} ends before it begins. Write {key}={found[2]}..{found[1]}"
            )
        whole = all(re.fullmatch(r"[-+]?\d+", end) for end in found.groups())
        knobs[key] = Knob(key, low, high, whole=whole)
    return knobs


def sorted_parts(text: str) -> str:
    """Return knobs in one order and without spaces, so that equal ones are written alike."""
    return "+".join(sorted(part for part in text.replace(" ", "").split("+") if part))


def spelled(given: Mapping[str, Sequence[Any]]) -> str:
    """Return knobs in the form that ``parse`` reads: ``{"length": (0.4, 0.8)}`` is ``length=0.4..0.8``.

    A tuple of two numbers is a range, any other sequence a list of values.
    """
    parts = []
    for key, values in given.items():
        numbers = all(
            isinstance(each, int | float) and not isinstance(each, bool) for each in values
        )
        is_range = isinstance(values, tuple) and len(values) == 2 and numbers
        parts.append(f"{key}={('..' if is_range else '|').join(map(_text, values))}")
    return "+".join(sorted(parts))


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)


def _typed(text: str) -> Any:
    """A value of a list: a whole number, a number, a truth value, or the text itself."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(text.lower(), text)
