"""JSON files that a person may have edited: read and checked, with errors that state the expectation and the remedy."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bridge.errors import UserError
from bridge.files import read_text

_NAMES: dict[type, str] = {
    str: "a string",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "an object",
    type(None): "null",
}


def read_object(path: Path, remedy: str) -> dict[str, Any]:
    """The JSON object in a file.

    Args:
        path: the file.
        remedy: the last sentence of errors.

    Raises:
        UserError: if the file cannot be read, is not JSON in UTF-8, not an object, or has NaN or infinity.
    """
    try:
        found = json.loads(read_text(path), parse_constant=_refuse, parse_float=_finite)
    except UserError as error:
        raise UserError(f"{error} {remedy}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read (expected JSON: {error}). {remedy}") from error
    if not isinstance(found, dict):
        raise UserError(
            f"{path} cannot be read (expected a JSON object, found {_NAMES[type(found)]}). {remedy}"
        )
    return found


def check(
    found: Mapping[str, Any],
    path: Path,
    types: Mapping[str, type],
    remedy: str,
    *,
    optional: tuple[str, ...] = (),
) -> None:
    """Check the keys and types of an object.

    Args:
        found: the object in ``path``.
        path: the file.
        types: the types of the values, by key; a whole number counts as a ``float``, too.
        remedy: the last sentence of errors.
        optional: keys of ``types`` that may be missing.

    Raises:
        UserError: if a key is missing, or its value has another type.
    """
    if missing := sorted(types.keys() - found.keys() - set(optional)):
        raise UserError(f"{path} cannot be read: missing {', '.join(missing)}. {remedy}")
    for key in sorted(types.keys() & found.keys()):
        value, kind = found[key], types[key]
        if type(value) is not kind and not (kind is float and type(value) is int):
            raise UserError(
                f"{path} cannot be read: {key} should be {_NAMES[kind]}, found {value!r}. {remedy}"
            )


def _refuse(text: str) -> float:
    raise ValueError(f"{text} is no number")


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _refuse(text)
