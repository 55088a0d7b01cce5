"""Testbeds: families with a dial, and how plain multi-task RL and its bound are trained on them."""

from __future__ import annotations

from typing import NamedTuple


class Testbed(NamedTuple):
    """A family with a dial for one concern."""

    name: str
    concern: str
    dial: str
    """What the dial is."""
    family: str
    """With ``{}`` in place of the dial's value."""
    bottom: str
    """The value at which the concern is absent."""
    top: str
    """The value at which it is there."""
    steps: int
    """Environment steps of a training."""
    method: str = "mtrl"
    """Of plain training and its mitigations."""
    settings: str = ""
    """Of everything that is trained here: ``key=value``, joined by commas."""
    rates: tuple[float, float, float] = (0.01, 0.03, 0.1)
    """Learning rates that are tried."""

    def at(self, value: str) -> str:
        """Return the family at a value of the dial."""
        return self.family.format(value)

    @property
    def together(self) -> str:
        """The method that trains on all tasks at once."""
        return "mtrl" if self.method == "mtrl_sequence" else self.method


TESTBEDS = (
    Testbed(
        "scales",
        "task imbalance",
        "decades between the rewards of tasks",
        "contextual_bandit:decades={},tasks=10",
        "0",
        "2",
        50_000,
        settings="advantages=raw",
    ),
    Testbed(
        "opposed",
        "gradient interference",
        "share of tasks with opposite best actions",
        "contextual_bandit:opposed={},own=0,tasks=10",
        "0",
        "0.5",
        12_000,
    ),
    Testbed(
        "many",
        "capacity limits",
        "tasks for 8 hidden units",
        "contextual_bandit:own=1,tasks={}",
        "2",
        "10",
        50_000,
        settings="hidden=8",
    ),
    Testbed(
        "sequence",
        "catastrophic interference",
        "share of contexts whose best action differs by task",
        "contextual_bandit:own={},tasks=5",
        "0",
        "1",
        50_000,
        method="mtrl_sequence",
    ),
)
"""Every testbed of PPO."""

SLOW = (
    Testbed(
        "scales_sac",
        "task imbalance",
        "decades between the rewards of tasks",
        "contextual_bandit:decades={},tasks=10",
        "0",
        "2",
        30_000,
        method="mtrl_sac",
        settings="batch=32,rewards=raw,steps_per_grad=10,temperature=10",
        rates=(0.001, 0.003, 0.01),
    ),
    Testbed(
        "minigrid",
        "gradient interference",
        "MiniGrid tasks",
        "minigrid:steps=100,tasks={}",
        "1",
        "3",
        200_000,
        settings="baseline=time,epochs=16,tasks_per_update=3",
        rates=(0.001, 0.003, 0.01),
    ),
)
"""A testbed of SAC, and one that no one here wrote (``pip install 'metabridge[minigrid]'``)."""
