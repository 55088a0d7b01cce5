"""One syntax for anything with parameters: ``name:key=value,key=value``, read into a frozen dataclass.

``bandit:k=5,n=100`` is a family, ``ucb1:c=0.1`` a method. The dataclass is the only place where a default stands, and
where a number's bounds do (``Bounded``).
"""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Literal, TypeVar

from bridge.errors import UserError, unknown

T = TypeVar("T")

Bound = Literal["1 or more", "0 or more", "above 0", "from 0 to 1"]

_KEPT: dict[Bound, Callable[[float], bool]] = {
    "1 or more": lambda value: value >= 1,
    "0 or more": lambda value: value >= 0,
    "above 0": lambda value: value > 0,
    "from 0 to 1": lambda value: 0 <= value <= 1,
}


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
    hints = typing.get_type_hints(cls)
    fields = {f.name for f in dataclasses.fields(cls) if f.init}  # ty: ignore[invalid-argument-type]
    for key in values.keys() - fields:
        raise unknown(f"key in {spec!r}:", key, fields)
    return cls(**{key: convert(spec, key, text, hints[key]) for key, text in values.items()})


def rebuild(cls: type[T], place: str, values: Mapping[str, Any]) -> T:
    """An instance of the dataclass ``cls`` from values that a file held, which is ``place`` in errors.

    Raises:
        UserError: a key that ``cls`` does not have, or a value that is not of its type.
    """
    hints = typing.get_type_hints(cls, include_extras=True)
    fields = {f.name for f in dataclasses.fields(cls) if f.init}  # ty: ignore[invalid-argument-type]
    for key in values.keys() - fields:
        raise unknown(f"key in {place}:", key, fields)
    return cls(**{key: convert(place, key, _text(value), hints[key]) for key, value in values.items()})


def convert(spec: str, key: str, text: str, hint: Any) -> Any:
    """``text`` as a value of type ``hint``; a ``UserError`` that names the key where it cannot be one."""
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
        return value
    except ValueError:
        kind = {"int": "a whole number", "float": "a number"}.get(hint.__name__, hint.__name__)
        raise UserError(f"{key} in {spec!r} must be {kind}, found {text!r}.") from None


class Bounded:
    """The base of a configuration whose numbers have bounds: ``__post_init__`` says which."""

    called: ClassVar[str] = ""
    """The method that a refusal names; where empty it names the number alone."""
    unsaid: ClassVar[Mapping[str, Any]] = {}
    """What run folders mean that were written before there was such a field, where that is not its default."""

    def need(self, bound: Bound, *names: str) -> None:
        """Check some of the fields.

        Raises:
            UserError: one of them is not ``bound``.
        """
        for name in names:
            value = getattr(self, name)
            if not _KEPT[bound](value):
                wanted = f"{self.called} needs {name} {bound}" if self.called else f"{name} must be {bound}"
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
    shown = joined({key: value for key, value in values.items() if key in always or value != default[key]})
    return f"{name}:{shown}" if shown else name


def joined(values: Mapping[str, Any]) -> str:
    """``{"k": 5, "c": 0.1}`` -> ``"k=5,c=0.1"``."""
    return ",".join(f"{key}={_text(value)}" for key, value in values.items())


def _text(value: Any) -> str:
    """A value as ``convert`` reads it back; floats are short where that loses nothing."""
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    return str(value).lower() if isinstance(value, bool) else str(value)
