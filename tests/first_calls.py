"""Types at run time, checked in the first calls that a test makes of each function: loops repeat what these do.

All calls would take as long again as the tests themselves.
"""

import inspect
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

from beartype import beartype

MOST = 3
"""Calls of a function that are checked in each test."""

Place = tuple[str, str]
"""Module and qualified name of a function."""

_calls: Counter[Place] = Counter()
_let_pass: list[Any] = []


def checked(signature: Callable[..., Any]) -> Callable[..., None]:
    """The type checker for jaxtyping's import hook, which gives it a function with the ``signature`` of each one."""
    check, place = beartype(signature), (signature.__module__, signature.__qualname__)

    def check_first_calls(*args: Any, **kwargs: Any) -> None:
        if _calls[place] < 2 * MOST:  # jaxtyping checks arguments, and then these with the result
            check(*args, **kwargs)
            _calls[place] += 1
        elif _calls[place] == 2 * MOST:
            _calls[place] += 1
            _let(place)

    return check_first_calls


def _let(place: Place) -> None:
    """Have jaxtyping call a function as it is, if it can be found by its name.

    Constructors stay as they are: a mark on them would hide their annotations from those that read them.
    """
    module, names = place
    if names.endswith("__init__"):
        return
    found: Any = sys.modules[module]
    for name in names.split("."):
        found = inspect.getattr_static(found, name, None)
    found = getattr(found, "fget", None) or getattr(found, "__func__", found)
    if inspect.isfunction(found):
        found.__no_type_check__ = True
        _let_pass.append(found)


def begin() -> None:
    """Begin to count anew."""
    _calls.clear()
    while _let_pass:
        del _let_pass.pop().__no_type_check__
