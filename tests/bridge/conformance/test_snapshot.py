"""What an agent's snapshot sees change, and what it lets pass."""

import random
from collections import deque
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from bridge.conformance.snapshot import changed, snapshot


def test_a_cache_may_be_filled_and_a_module_is_looked_into() -> None:
    agent: Any = nn.Linear(2, 2)
    agent.cache = {"kept": torch.ones(1)}
    before = snapshot(agent)
    agent.cache["new"] = torch.zeros(1)
    assert changed(before, snapshot(agent)) == []
    agent.eval()
    with torch.no_grad():
        agent.weight.add_(1)
    assert changed(before, snapshot(agent)) == ["agent.training", "agent._parameters['weight']"]


@pytest.mark.parametrize("value", [float("nan"), torch.tensor([torch.nan, 1]), np.full(2, np.nan)])
def test_nan_is_as_it_was(value: Any) -> None:
    agent: Any = nn.Linear(2, 2)
    agent.value = value
    before = snapshot(agent)
    assert changed(before, snapshot(agent)) == []
    agent.value = value + 1 if isinstance(value, float) else value[:1]
    assert changed(before, snapshot(agent)) == ([] if isinstance(value, float) else ["agent.value"])


class Slotted:
    __slots__ = ("kept",)

    def __init__(self, kept: Any) -> None:
        self.kept = kept


class Plain:
    def __init__(self, kept: Any) -> None:
        self.kept = kept


@pytest.mark.parametrize("holder", [Plain, Slotted])
@pytest.mark.parametrize(
    ("kept", "change"),
    [
        (deque([1]), lambda kept: kept.append(2)),
        (bytearray(b"a"), lambda kept: kept.extend(b"b")),
        (random.Random(0), lambda kept: kept.random()),
        (torch.ones(1), lambda kept: kept.add_(1)),
        (Slotted([1]), lambda kept: kept.kept.append(2)),
    ],
    ids=["deque", "bytes", "generator", "tensor", "slots"],
)
def test_whatever_holds_what_changed_it_is_seen(holder: Any, kept: Any, change: Any) -> None:
    """An agent may hide a counter in other places than a dictionary of plain values."""
    agent = Plain(holder(kept))
    before = snapshot(agent)
    assert changed(before, snapshot(agent)) == []
    change(kept)
    after = snapshot(agent)
    assert changed(before, after) or after.keys() != before.keys()
