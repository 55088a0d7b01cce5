"""What an agent's snapshot sees change, and what it lets pass."""

from typing import Any

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
