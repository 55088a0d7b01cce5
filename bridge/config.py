"""One syntax for anything with parameters: ``name:key=value,key=value``, read into a frozen dataclass.

``bandit:k=5,n=100`` is a family, ``ucb1:c=0.1`` a method. The dataclass is the only place where a default stands, and
where a number's bounds do: what it may be at most on its declaration (``Within``), what it needs to be in
``__post_init__`` (``Bounded``). Flags are fields of dataclasses, too, and have their bounds in the same way.
"""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, TypeVar

from bridge.errors import UserError, unknown

T = TypeVar("T")
ReadIf = Mapping[str, tuple[str, tuple[Any, ...]]]
"""Field -> another field, and the values of that with which it is read."""

Bound = Literal["1 or more", "0 or more", "above 0", "from 0 to 1"]

_KEPT: dict[Bound, Callable[[float], bool]] = {
    "1 or more": lambda value: value >= 1,
    "0 or more": lambda value: value >= 0,
    "above 0": lambda value: value > 0,
    "from 0 to 1": lambda value: 0 <= value <= 1,
}


class Within(NamedTuple):
    """The bounds of a whole number, on its declaration."""

    least: int
    most: int


_WHOLE = Within(-1_000_000, 1_000_000)
"""The bounds of a whole number whose declaration names none."""
_SMALLEST, _LARGEST = 2.0**-126, (2 - 2.0**-23) * 2.0**127
"""Smallest and largest size of a nonzero number in float32."""

Seed = Annotated[int, Within(0, 2**63 - 1)]
"""A seed: what int64 holds."""
Trials = Annotated[int, Within(1, 1_000_000_000)]
"""A number of trials, which are played a part at a time."""
Width = Annotated[int, Within(0, 16_384)]
"""A dimension of a network: weights grow with its square."""
Depth = Annotated[int, Within(0, 256)]
"""A number of layers in sequence, each with its own weights."""


def split_spec(spec: str) -> tuple[str, dict[str, str]]:
    """``"bandit:k=5,n=10"`` -> ``("bandit", {"k": "5", "n": "10"})``."""
    name, _, rest = spec.strip().partition(":")
    values: dict[str, str] = {}
    for part in filter(None, (p.strip() for p in rest.split(","))):
        key, equals, value = part.partition("=")
        if not equals or not key or not value:
            raise UserError(
                f"Expected key=value after the colon of {spec!r}, found {part!r}. Write {name}:key=value,..."
            )
        if key in values:
            raise UserError(f"The key {key!r} stands twice in {spec!r}. Keep one of them.")
        values[key] = value
    return name, values


def build(cls: type[T], spec: str, values: dict[str, str]) -> T:
    """An instance of the dataclass ``cls`` from strings; unknown keys and impossible values are refused by name."""
    hints = typing.get_type_hints(cls, include_extras=True)
    fields = {f.name for f in dataclasses.fields(cls) if f.init}  # ty: ignore[invalid-argument-type]
    for key in values.keys() - fields:
        raise unknown(f"key in {spec!r}:", key, fields)
    made = cls(**{key: convert(spec, key, text, hints[key]) for key, text in values.items()})
    for key in values:
        if (condition := unread(made, key)) is not None:
            other, wanted = (
                condition[0],
                " or ".join(f"{condition[0]}={value}" for value in condition[1]),
            )
            raise UserError(
                f"{key} in {spec!r} is read only with {wanted}; here {other}={getattr(made, other)}. Leave it out."
            )
    return made


def unread(config: Any, key: str) -> tuple[str, tuple[Any, ...]] | None:
    """If ``config`` does not read its field ``key``: the field that this depends on, and its values that would do."""
    other, values = getattr(config, "read_if", {}).get(key, (None, ()))
    return (other, values) if other is not None and getattr(config, other) not in values else None


def rebuild(cls: type[T], place: str, values: Mapping[str, Any]) -> T:
    """An instance of the dataclass ``cls`` from values that a file held, which is ``place`` in errors.

    Raises:
        UserError: a key that ``cls`` does not have, or a value that is not of its type.
    """
    hints = typing.get_type_hints(cls, include_extras=True)
    fields = {f.name for f in dataclasses.fields(cls) if f.init}  # ty: ignore[invalid-argument-type]
    for key in values.keys() - fields:
        raise unknown(f"key in {place}:", key, fields)
    return cls(
        **{key: convert(place, key, _text(value), hints[key]) for key, value in values.items()}
    )


def convert(spec: str, key: str, text: str, hint: Any) -> Any:
    """``text`` as a value of type ``hint``.

    Raises:
        UserError: it is none, or beyond the bounds of ``hint``; names the key.
    """
    declared, hint = (
        hint,
        typing.get_args(hint)[0] if typing.get_origin(hint) is Annotated else hint,
    )
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
    """Refuse a number beyond the bounds of its declaration, or beyond float32.

    Args:
        name: how the error calls it.
        value: a number, or a tuple of them; anything else has no bounds.
        hint: its declared type.

    Raises:
        UserError: it is beyond them.
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
    """The bounds on a declaration, which may be one of several types (``Seed | None``)."""
    if typing.get_origin(hint) is Annotated:
        return next((extra for extra in hint.__metadata__ if isinstance(extra, Within)), _WHOLE)
    return next(
        (_bounds(part) for part in typing.get_args(hint) if typing.get_origin(part) is Annotated),
        _WHOLE,
    )


class Bounded:
    """The base of a configuration whose numbers have bounds: ``__post_init__`` says which."""

    display_name: ClassVar[str] = ""
    """The method that a refusal names; where empty it names the number alone."""
    read_if: ClassVar[ReadIf] = {}
    """Fields that are read only if another field has one of some values; a spec that sets one in vain is refused."""
    legacy_defaults: ClassVar[Mapping[str, Any]] = {}
    """What run folders mean that were written before there was such a field, where that is not its default."""

    def check_numbers(self, bound: Bound, *names: str) -> None:
        """Check some of the fields.

        Raises:
            UserError: one of them is not ``bound``.
        """
        for name in names:
            value = getattr(self, name)
            if not _KEPT[bound](value):
                wanted = (
                    f"{self.display_name} needs {name} {bound}"
                    if self.display_name
                    else f"{name} must be {bound}"
                )
                raise UserError(f"{wanted}; found {value!r}.")


def split_list(texts: Iterable[str]) -> tuple[str, ...]:
    """Comma-separated specs: ``["bandit:k=5,n=10,gridnavi"]`` -> ``("bandit:k=5,n=10", "gridnavi")``.

    A piece that is only ``key=value`` belongs to the spec before it.
    """
    specs: list[str] = []
    for piece in (piece.strip() for text in texts for piece in text.split(",")):
        if "=" in piece and ":" not in piece and specs:
            specs[-1] += f",{piece}"
        elif piece:
            specs.append(piece)
    return tuple(dict.fromkeys(specs))


def spec_of(name: str, config: Any, always: tuple[str, ...] = ()) -> str:
    """The canonical spelling: ``name``, then the keys in ``always`` and those that differ from their default."""
    values = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    default = {field.name: field.default for field in dataclasses.fields(config)}
    shown = joined(
        {key: value for key, value in values.items() if key in always or value != default[key]}
    )
    return f"{name}:{shown}" if shown else name


def joined(values: Mapping[str, Any]) -> str:
    """``{"k": 5, "c": 0.1}`` -> ``"k=5,c=0.1"``."""
    return ",".join(f"{key}={_text(value)}" for key, value in values.items())


def _text(value: Any) -> str:
    """A value as ``convert`` reads it back; floats are short where that loses nothing."""
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    return str(value).lower() if isinstance(value, bool) else str(value)
