"""One syntax for anything with parameters: ``name:key=value,key=value``, read into a frozen dataclass.

``bandit:k=5,n=100`` is a family, ``ucb1:c=0.1`` a method. The dataclass alone declares the defaults, and the bounds
of numbers as types of its fields: ``lr: Positive = 1e-3``. Limits of size (``Within``) are for what users type, other
bounds (``Holds``) for every instance. Flags are fields of dataclasses, too, and their types declare limits of size.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, TypeVar

from bridge.errors import UserError, unknown

T = TypeVar("T")
ReadIf = Mapping[str, tuple[str, tuple[Any, ...]]]
"""Field -> another field, and the values of the other one with which the field is read."""

Bound = Literal["1 or more", "0 or more", "above 0", "below 1", "from 0 to 1"]

_HOLDS: dict[Bound, Callable[[float], bool]] = {
    "1 or more": lambda value: value >= 1,
    "0 or more": lambda value: value >= 0,
    "above 0": lambda value: value > 0,
    "below 1": lambda value: value < 1,
    "from 0 to 1": lambda value: 0 <= value <= 1,
}


class Within(NamedTuple):
    """The limits of a whole number that users type, as an annotation of its field."""

    least: int
    most: int


class Holds(NamedTuple):
    """A bound of a number in every instance of a class, as an annotation of its field."""

    bound: Bound


_WHOLE = Within(-1_000_000, 1_000_000)
"""The bounds of a whole number whose declaration names none."""
_SMALLEST, _LARGEST = 2.0**-126, (2 - 2.0**-23) * 2.0**127
"""Smallest and largest size of a nonzero number in float32."""

Positive = Annotated[float, Holds("above 0")]
NonNegative = Annotated[float, Holds("0 or more")]
Share = Annotated[float, Holds("from 0 to 1")]
PositiveShare = Annotated[Positive, Holds("from 0 to 1")]
Count = Annotated[int, Holds("1 or more")]
CountOrZero = Annotated[int, Holds("0 or more")]

Seed = Annotated[CountOrZero, Within(0, 2**63 - 1)]
"""A seed: a non-negative int64."""
Trials = Annotated[Count, Within(1, 1_000_000_000)]
"""A number of trials."""
Width = Annotated[Count, Within(0, 16_384)]
"""A dimension of a network; the number of weights grows with its square."""
WidthOrZero = Annotated[CountOrZero, Within(0, 16_384)]
"""The width of a layer that a network may lack."""
Depth = Annotated[int, Within(0, 256)]
"""A number of layers in sequence, each with its own weights."""


def split_spec(spec: str, name: str = "") -> tuple[str, dict[str, str]]:
    """``"bandit:k=5,n=10"`` -> ``("bandit", {"k": "5", "n": "10"})``. A ``name`` that holds a colon is given."""
    name = name or spec.strip().partition(":")[0]
    rest = spec.strip()[len(name) + 1 :]
    values: dict[str, str] = {}
    for part in filter(None, (p.strip() for p in rest.split(","))):
        key, equals, value = part.partition("=")
        if not equals or not key or not value:
            raise UserError(
                f"Expected key=value after the colon of {spec!r}, found {part!r}. Write {name}:key=value,..."
            )
        if key in values:
            raise UserError(f"The key {key!r} occurs twice in {spec!r}. Keep one of them.")
        values[key] = value
    return name, values


def build(cls: type[T], spec: str, values: dict[str, str]) -> T:
    """An instance of the dataclass ``cls`` from strings.

    Raises:
        UserError: if a key is unknown or has no effect, or a value is invalid; names the key.
    """
    made = _made(cls, spec, repr(spec), values)
    for key in values:
        if (condition := unread(made, key)) is not None:
            other, needed = condition
            wanted = " or ".join(f"{other}={value}" for value in needed)
            raise UserError(
                f"{key} in {spec!r} is read only with {wanted}; here {other}={getattr(made, other)}. Leave it out."
            )
    return made


def unread(config: Any, key: str) -> tuple[str, tuple[Any, ...]] | None:
    """None if ``config`` reads its field ``key``; else the field that this depends on and the values it would need."""
    condition = getattr(config, "read_if", {}).get(key)
    if condition is None or getattr(config, condition[0]) in condition[1]:
        return None
    return condition


def rebuild(cls: type[T], place: str, values: Mapping[str, Any]) -> T:
    """An instance of the dataclass ``cls`` from the values in a file; errors call the file ``place``.

    Raises:
        UserError: if ``cls`` does not have a key, or a value is not of its type.
    """
    return _made(cls, place, place, {key: _text(value) for key, value in values.items()})


def _made(cls: type[T], spec: str, place: str, values: Mapping[str, str]) -> T:
    hints = typing.get_type_hints(cls, include_extras=True)
    fields = {f.name for f in dataclasses.fields(cls) if f.init}  # ty: ignore[invalid-argument-type]
    for key in values.keys() - fields:
        raise unknown(f"key in {place}:", key, fields)
    return cls(**{key: convert(spec, key, text, hints[key]) for key, text in values.items()})


def convert(spec: str, key: str, text: str, hint: Any) -> Any:
    """Convert ``text`` into a value of type ``hint``.

    Raises:
        UserError: if it is not one, or is beyond the bounds of ``hint``; names the key.
    """
    declared = hint
    if typing.get_origin(hint) is Annotated:
        hint = typing.get_args(hint)[0]
    if typing.get_origin(hint) is typing.Literal:
        choices = typing.get_args(hint)
        if text in choices:
            return text
        raise unknown(f"value of {key!r} in {spec!r}:", text, choices)
    if hint is bool:
        if text.lower() in ("true", "false"):
            return text.lower() == "true"
        raise UserError(f"{key} in {spec!r} is true or false, found {text!r}.")
    try:
        value = hint(text)
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError
    except ValueError:
        kind = {"int": "a whole number", "float": "a number"}.get(hint.__name__, hint.__name__)
        raise UserError(f"{key} in {spec!r} must be {kind}, found {text!r}.") from None
    refuse_beyond(f"{key} in {spec!r}", value, declared)
    return value


def refuse_beyond(name: str, value: Any, hint: Any) -> None:
    """Refuse a number beyond the bounds of its field, or beyond float32.

    Args:
        name: its name in the error.
        value: a number, or a tuple of numbers; anything else has no bounds.
        hint: its declared type.

    Raises:
        UserError: if it is beyond its bounds.
    """
    if isinstance(value, tuple):
        for each in value:
            refuse_beyond(name, each, typing.get_args(hint)[0])
    elif isinstance(value, float) and value and not _SMALLEST <= abs(value) <= _LARGEST:
        raise UserError(
            f"{name} must be 0, or from {_SMALLEST:g} to {_LARGEST:g} in size (float32); found {value:g}."
        )
    elif isinstance(value, int) and not isinstance(value, bool):
        least, most = _bounds(hint)
        if value > most:
            raise UserError(f"{name} must be at most {most:,}; found {value}.")
        if value < least:
            raise UserError(f"{name} must be {least:,} or more; found {value}.")


def _bounds(hint: Any) -> Within:
    """The bounds of a declared type, which may be a union (``Seed | None``)."""
    declared = (hint, *typing.get_args(hint))
    extras = (extra for part in declared for extra in getattr(part, "__metadata__", ()))
    return next((extra for extra in extras if isinstance(extra, Within)), _WHOLE)


def allowed(hint: Any) -> str:
    """The values that a declared type allows, in words, as in ``0 to 16,384``; empty if any text is one."""
    metadata = getattr(hint, "__metadata__", ())
    kind = typing.get_args(hint)[0] if metadata else hint
    if typing.get_origin(kind) is Literal:
        return " | ".join(typing.get_args(kind))
    if kind is bool:
        return "true | false"
    if kind not in (int, float):
        return ""
    bounds = [extra.bound for extra in metadata if isinstance(extra, Holds)]
    for extra in metadata:
        if isinstance(extra, Within):
            return f"{max(extra.least, int('1 or more' in bounds)):,} to {extra.most:,}"
    return " and ".join(bounds) or ("a whole number" if kind is int else "a number")


def check_bound(method: str, bound: Bound, **numbers: int | float) -> None:
    """Make sure that numbers are within a bound.

    Args:
        method: the method that the error names; "": the number alone.
        bound: the condition, in words.
        numbers: the numbers by name.

    Raises:
        UserError: if one of them is not.
    """
    for name, value in numbers.items():
        if not _HOLDS[bound](value):
            needs = f"{method} needs {name} {bound}" if method else f"{name} must be {bound}"
            raise UserError(f"{needs}; found {value!r}.")


def check_fields(config: object, method: str) -> None:
    """Make sure that the fields of a dataclass are within the bounds in their types (``Holds``).

    Raises:
        UserError: if one of them is not; names ``method`` as ``check_bound`` does.
    """
    for name, bound in _bounded_fields(type(config)):
        check_bound(method, bound, **{name: getattr(config, name)})


@functools.cache
def _bounded_fields(cls: type) -> list[tuple[str, Bound]]:
    hints = typing.get_type_hints(cls, include_extras=True)
    return [
        (name, extra.bound)
        for name, hint in hints.items()
        for extra in getattr(hint, "__metadata__", ())
        if isinstance(extra, Holds)
    ]


class Bounded:
    """Base of a configuration whose numbers are within the bounds in the types of its fields."""

    display_name: ClassVar[str] = ""
    """The method's name in errors; if empty they name the number alone."""
    read_if: ClassVar[ReadIf] = {}
    """Fields that are read only if another field has certain values; a spec that sets one without effect is refused."""
    legacy_defaults: ClassVar[Mapping[str, Any]] = {}
    """Values to assume for fields missing from old run folders, if they differ from today's default."""

    def __post_init__(self) -> None:
        check_fields(self, self.display_name)


def split_list(texts: Iterable[str]) -> tuple[str, ...]:
    """Comma-separated specs: ``["bandit:k=5,n=10,gridnavi"]`` -> ``("bandit:k=5,n=10", "gridnavi")``.

    A piece of the form ``key=value`` belongs to the spec before it.
    """
    specs: list[str] = []
    for piece in (piece.strip() for text in texts for piece in text.split(",")):
        key, equals, _ = piece.partition("=")
        if equals and ":" not in key and specs:
            specs[-1] += f",{piece}"
        elif piece:
            specs.append(piece)
    return tuple(dict.fromkeys(specs))


def spec_of(name: str, config: Any, always: tuple[str, ...] = ()) -> str:
    """The canonical spelling: ``name``, then the keys in ``always`` and those that differ from their default."""
    shown = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name in always or value != field.default:
            shown[field.name] = value
    return f"{name}:{joined(shown)}" if shown else name


def joined(values: Mapping[str, Any]) -> str:
    """``{"k": 5, "c": 0.1}`` -> ``"k=5,c=0.1"``."""
    return ",".join(f"{key}={_text(value)}" for key, value in values.items())


def _text(value: Any) -> str:
    """A value in the form that ``convert`` reads back; floats in short form if that is exact."""
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    return str(value).lower() if isinstance(value, bool) else str(value)
