"""JSON files that a person may have edited: read, checked, and refused with what was expected and the remedy."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bridge.errors import UserError
from bridge.files import read_text

_CALLED: dict[type, str] = {
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
        remedy: a sentence that an error ends with.

    Raises:
        UserError: the file may not be read, is no JSON in UTF-8, holds something else or a number that is none.
    """
    try:
        found = json.loads(read_text(path), parse_constant=_refuse, parse_float=_finite)
    except UserError as error:
        raise UserError(f"{error} {remedy}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read (expected JSON: {error}). {remedy}") from error
    if not isinstance(found, dict):
        raise UserError(
            f"{path} cannot be read (expected a JSON object, found {_CALLED[type(found)]}). {remedy}"
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
    """Make sure that an object has what it needs.

    Args:
        found: what ``path`` holds.
        path: the file.
        types: of the values, by key; a whole number is a ``float``, too.
        remedy: a sentence that an error ends with.
        optional: keys of ``types`` that may be missing.

    Raises:
        UserError: a key is missing, or its value is of another type.
    """
    if missing := sorted(types.keys() - found.keys() - set(optional)):
        raise UserError(f"{path} cannot be read: it does not say {', '.join(missing)}. {remedy}")
    for key in sorted(types.keys() & found.keys()):
        value, kind = found[key], types[key]
        if type(value) is not kind and not (kind is float and type(value) is int):
            raise UserError(
                f"{path} cannot be read: {key} should be {_CALLED[kind]}, found {value!r}. {remedy}"
            )


def _refuse(text: str) -> float:
    raise ValueError(f"{text} is no number")


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _refuse(text)
