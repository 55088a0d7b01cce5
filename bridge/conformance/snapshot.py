"""Snapshots of all that playing may not change: the content of an agent, and the global generators."""

from __future__ import annotations

import pickle
import random  # noqa: TID251 (nothing is drawn)
from collections import deque
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from types import FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bridge.conformance.rules import demand
from bridge.digest import raw_bytes

_CODE = (type, FunctionType, MethodType, ModuleType)
_PLAIN = (int, float, complex, str, bytes, bool)
_CONTENT: dict[type, Callable[[Any], Any]] = {
    Tensor: lambda value: (value.dtype, value.shape, raw_bytes(value)),
    np.ndarray: lambda value: (value.dtype, value.shape, value.tobytes()),
    torch.Generator: lambda value: raw_bytes(value.get_state()),
    np.random.Generator: lambda value: str(value.bit_generator.state),
    random.Random: lambda value: str(value.getstate()),
    bytearray: bytes,
}
"""The content of values that may change in place, in a form that is compared by ``==``."""


def snapshot(holder: Any) -> dict[str, Any]:
    """Every tensor, array, generator and plain value that can be reached through attributes and containers, by path."""
    found: dict[str, Any] = {}
    for cls in reversed(type(holder).__mro__):  # class attributes, which the holder's own override
        for name, value in vars(cls).items():
            if name[:2] != "__":
                _collect(value, f"agent.{name}", found, set())
    _collect(holder, "agent", found, set())
    return found


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """The paths whose value is different or missing; new paths are allowed, as caches may be filled."""
    return [path for path, content in before.items() if after.get(path) != content]


def _collect(value: Any, path: str, found: dict[str, Any], seen: set[int]) -> None:
    if isinstance(value, _PLAIN):
        found[path] = repr(value)  # as 1 == True, and NaN is not equal to itself
        return
    if id(value) in seen:
        return
    seen.add(id(value))
    for kind, content in _CONTENT.items():
        if isinstance(value, kind):
            found[path] = content(value)
            return
    parts: dict[str, Any] = {}
    if isinstance(value, Mapping):
        parts = {f"[{key!r}]": item for key, item in value.items()}
    elif isinstance(value, (list, tuple, set, frozenset, deque)):
        parts = {f"[{i}]": item for i, item in enumerate(value)}
    elif not isinstance(value, _CODE):
        parts = {f".{name}": item for name, item in _attributes(value).items()}
    for name, item in parts.items():
        _collect(item, path + name, found, seen)


def _attributes(value: Any) -> dict[str, Any]:
    """The attributes of a value, in its dictionary and in slots."""
    state: Any = object.__getstate__(value)
    in_dictionary, in_slots = state if isinstance(state, tuple) else (state, None)
    return (in_slots or {}) | (in_dictionary or {})


def global_noise() -> dict[str, bytes]:
    """The state of the global generators of torch and numpy."""
    numpy = np.random.get_state(legacy=False)  # noqa: NPY002 (nothing is drawn)
    return {"torch": raw_bytes(torch.get_rng_state()), "numpy": pickle.dumps(numpy)}


@contextmanager
def no_global_draws(remedy: str) -> Generator[None]:
    """Demand that nothing is drawn from the global generators of torch and numpy inside this context."""
    before = global_noise()
    yield
    moved = ", ".join(name for name, state in global_noise().items() if state != before[name])
    demand(
        not moved,
        expected="no draws from global generators",
        found=f"draws from that of {moved}",
        remedy=remedy,
    )


@contextmanager
def other_python_noise() -> Generator[None]:
    """Python's global generator in another state; it may be drawn from unnoticed, as type checkers do."""
    state = random.getstate()
    random.seed(0)
    try:
        yield
    finally:
        random.setstate(state)
