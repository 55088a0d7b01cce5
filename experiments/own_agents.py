"""Agents of a user's own: a class or a function that makes one, or an agent.

A constructor takes (family, split), (family) or nothing. Its parameters with defaults are those of the spec:
``own.py:Mine:c=0.1``.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable
from typing import Any

from bridge import user_code
from bridge.errors import UserError
from bridge.protocol import Agent, Card
from bridge.tasks.base import TaskFamily

_VERBS = ("start", "begin", "act", "observe", "adapt")
_ANY_NUMBER = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def parameters(place: str) -> dict[str, Any]:
    """Return the parameters of what is at ``place``, with their defaults.

    Raises:
        UserError: it cannot be loaded, needs other arguments, or makes no agent. (What a function makes is not known.)
    """
    thing = user_code.load(place)
    if isinstance(thing, type) or not _makes(thing):
        _require(place, thing, _VERBS)
    with user_code.as_user_errors(f"{place} cannot be made"):
        return _signature(thing)[1] if _makes(thing) else {}


def make(place: str, family: TaskFamily, split: str, given: dict[str, Any]) -> Agent:
    """Return the agent at ``place`` for ``split`` of ``family``.

    Args:
        place: the file or module, and the name in it.
        family: the family.
        split: the split.
        given: parameters in place of their defaults.

    Raises:
        UserError: it cannot be loaded or made, or is no agent.
    """
    agent = user_code.load(place)
    if _makes(agent):
        with user_code.as_user_errors(f"{place} cannot be made"):
            count, _ = _signature(agent)
            agent = agent(*(family, split)[:count], **given)
    _require(place, agent, ("card", *_VERBS))
    if not isinstance(agent.card, Card):
        raise UserError(
            f'The card of {place} is {agent.card!r}. Give it one, of bridge.protocol: card = Card(method="...")'
        )
    return agent


def _require(place: str, agent: Any, names: tuple[str, ...]) -> None:
    """Refuse what is no agent, as it lacks attributes of one."""
    if lacks := [name for name in names if not hasattr(agent, name)]:
        raise UserError(
            f"{place} is neither a TaskFamily nor an agent, nor makes one: it has no {', '.join(lacks)}. See "
            "bridge.protocol.Agent."
        )


def _makes(thing: Any) -> bool:
    """True if a thing is called to make an agent."""
    return isinstance(thing, type) or (callable(thing) and not hasattr(thing, "card"))


def _signature(constructor: Callable[..., Any]) -> tuple[int, dict[str, Any]]:
    """The number of arguments that it takes of (family, split), and its parameters with their defaults.

    Raises:
        TypeError: it needs others.
    """
    signature = inspect.signature(constructor)
    takes = [each for each in signature.parameters.values() if each.kind not in _ANY_NUMBER]
    leading = itertools.takewhile(
        lambda each: each.default is each.empty or each.name in ("family", "split"), takes
    )
    count = min(2, len(list(leading)))
    if any(each.default is each.empty for each in takes[count:]):
        raise TypeError(
            f"it takes {signature}; expected (family, split), (family) or nothing, and parameters with defaults"
        )
    return count, {
        each.name: each.default
        for each in takes[count:]
        if isinstance(each.default, bool | int | float | str)
    }
