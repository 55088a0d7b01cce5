"""What playing may not change, copied so that it can be compared: all that an agent holds, and global generators."""

from __future__ import annotations

import random  # noqa: TID251 (nothing is drawn)
from collections import deque
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from types import FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bridge.conformance.compare import same_bits

_CODE = (type, FunctionType, MethodType, ModuleType)
_PLAIN = (int, float, complex, str, bytes, bool)


def snapshot(holder: Any) -> dict[str, Any]:
    """Every tensor, array, generator and plain value that can be reached through attributes and containers, by path."""
    found: dict[str, Any] = {}
    for cls in reversed(type(holder).__mro__):  # class attributes, which the holder's own override
        _walk(
            {name: value for name, value in vars(cls).items() if name[:2] != "__"},
            "class",
            found,
            set(),
        )
    found = {
        path.replace("class['", "agent.", 1).replace("']", "", 1): value
        for path, value in found.items()
    }
    _walk(holder, "agent", found, set())
    return found


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """The paths whose value is another one (or gone); new paths are caches being filled, and allowed."""
    return [
        path for path, value in before.items() if path not in after or not _same(value, after[path])
    ]


def _walk(value: Any, path: str, found: dict[str, Any], seen: set[int]) -> None:
    if isinstance(value, _PLAIN):
        found[path] = value
        return
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, Tensor):
        found[path] = value.detach().clone()
    elif isinstance(value, np.ndarray):
        found[path] = value.copy()
    elif isinstance(value, torch.Generator):
        found[path] = value.get_state()
    elif isinstance(value, np.random.Generator):
        found[path] = str(value.bit_generator.state)
    elif isinstance(value, random.Random):
        found[path] = str(value.getstate())
    elif isinstance(value, bytearray):
        found[path] = bytes(value)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            _walk(item, f"{path}[{key!r}]", found, seen)
    elif isinstance(value, (list, tuple, set, frozenset, deque)):
        for i, item in enumerate(value):
            _walk(item, f"{path}[{i}]", found, seen)
    elif not isinstance(value, _CODE):
        for name, item in (_slots(value) | getattr(value, "__dict__", {})).items():
            _walk(item, f"{path}.{name}", found, seen)


def _slots(value: Any) -> dict[str, Any]:
    """The attributes that a value keeps without a dictionary."""
    declared = (cls.__dict__.get("__slots__", ()) for cls in type(value).__mro__)
    names = [name for slots in declared for name in ((slots,) if isinstance(slots, str) else slots)]
    return {
        name: getattr(value, name) for name in names if name[:2] != "__" and hasattr(value, name)
    }


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.shape == b.shape and bool(same_bits(a, b).all())
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
    return type(a) is type(b) and a == b


def global_noise() -> dict[str, str]:
    """The state of the global generators of torch and numpy."""
    return {
        "torch": str(torch.get_rng_state().tolist()),
        "numpy": str(np.random.get_state(legacy=False)),  # noqa: NPY002 (nothing is drawn)
    }


@contextmanager
def other_python_noise() -> Generator[None, None, None]:
    """Python's global generator in another state, for a while; it may move unheeded, as type checkers draw from it."""
    state = random.getstate()
    random.seed(0)
    try:
        yield
    finally:
        random.setstate(state)
