"""Knobs, the differences between tasks of a Gymnasium environment: ``length=0.4..0.8+make.gravity=-12..-8``.

A knob is an attribute of the unwrapped environment (``length``, ``model.opt.timestep``), a keyword argument of its
constructor (``make.gravity``) or an option of its reset (``reset.low``). It has a range of real numbers, or a list of
values: ``make.map_name=4x4|8x8``, ``n=3|4|5``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from bridge.errors import UserError
from bridge.rng import Rows

Place = Literal["attribute", "make", "reset"]
_PREFIXES: dict[str, Place] = {"make.": "make", "reset.": "reset"}
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE]-?\d+)?"
_RANGE = re.compile(rf"({_NUMBER})\.\.({_NUMBER})")
_NEXT = re.compile(r"\+\s*(?=[^\W\d])")
"""A plus sign between two knobs; that of a number is before a digit or a point."""


@dataclass(frozen=True)
class Knob:
    """One thing that varies."""

    key: str
    """Its name with its prefix."""
    low: float = 0.0
    high: float = 0.0
    values: tuple[str, ...] = ()
    """A list of values, if it has no range."""

    @property
    def place(self) -> Place:
        """The part of the environment that its value is given to."""
        prefixes = (place for prefix, place in _PREFIXES.items() if self.key.startswith(prefix))
        return next(prefixes, "attribute")

    @property
    def name(self) -> str:
        """Its name there."""
        return self.key if self.place == "attribute" else self.key.partition(".")[2]

    @property
    def middle(self) -> float:
        """The middle of its range."""
        return (self.low + self.high) / 2

    def draw(self, noise: Rows) -> Float[Tensor, " B"]:
        """A value for each row, uniformly: a number of the range, or a place in the list."""
        if self.values:
            return noise.integers(len(self.values)).double()
        return self.low + (self.high - self.low) * noise.uniform(dtype=torch.float64)

    def value(self, drawn: float) -> Any:
        """What the environment is given for a drawn value."""
        return _typed(self.values[int(drawn)]) if self.values else drawn

    def quarter(self, level: int, trained: float) -> Knob:
        """A quarter of its range, 1 to 4, counted from the end that is nearer to ``trained``."""
        width = (self.high - self.low) / 4
        rising = abs(self.low - trained) <= abs(self.high - trained)
        low = self.low + (level - 1 if rising else 4 - level) * width
        return Knob(self.key, low, low + width)

    def overlaps(self, other: Knob) -> bool:
        """True if both ranges have more than an end in common."""
        return max(self.low, other.low) < min(self.high, other.high)


def parse(text: str, spec: str) -> dict[str, Knob]:
    """Return the knobs in ``key=range+key=range`` by key.

    Raises:
        UserError: a part is no range and no list; ``spec`` names where it stands.
    """
    knobs: dict[str, Knob] = {}
    for part in filter(None, _NEXT.split(text)):
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
            if ".." in given:
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
        knobs[key] = Knob(key, low, high)
    return knobs


def sorted_parts(text: str) -> str:
    """Return knobs in one order, so that equal ones are written alike."""
    return "+".join(sorted(part.strip() for part in _NEXT.split(text) if part.strip()))


def spelled(given: Mapping[str, Sequence[Any]]) -> str:
    """Return knobs in the form that ``parse`` reads: ``{"length": (0.4, 0.8)}`` is ``length=0.4..0.8``.

    A tuple of two numbers is a range, any other sequence a list of values.

    Raises:
        UserError: a value holds a sign that stands between values.
    """
    parts = []
    for key, values in given.items():
        is_range = isinstance(values, tuple) and len(values) == 2 and all(map(_is_number, values))
        texts = [_text(value) for value in values]
        if any(set(text) & set("+|,=") for text in texts):
            raise UserError(f"Values of {key} may not hold any of + | , =; found {values!r}.")
        parts.append(f"{key}={('..' if is_range else '|').join(texts)}")
    return "+".join(sorted(parts))


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _text(value: Any) -> str:
    if not _is_number(value):
        return str(value)
    number = float(value) if not isinstance(value, int) else value
    short = f"{number:g}"
    return (short if float(short) == number else repr(number)).replace("e+", "e")


def _typed(text: str) -> Any:
    """A value of a list: a whole number, a number, a truth value, or the text itself."""
    if re.fullmatch(r"[-+]?\d+", text):
        return int(text)
    if re.fullmatch(_NUMBER, text):
        return float(text)
    return {"true": True, "false": False}.get(text.lower(), text)
