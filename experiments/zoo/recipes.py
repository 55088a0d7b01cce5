"""Recipes of the zoo: methods with their settings and budgets."""

from __future__ import annotations

from typing import NamedTuple

SEEDS = (0, 1, 2)
"""Training seeds of every recipe."""


class Recipe(NamedTuple):
    """One method on one family."""

    family: str
    method: str
    """With its settings: those of the log's good figures."""
    steps: float
    """Environment steps of training."""


_SMALL = "layers=2,hidden=32,heads=2"
"""A transformer of 26,000 weights, for short trials."""

RECIPES = tuple(
    Recipe(family, method, steps)
    for family, methods in {
        "bandit:k=5,n=10": {
            "rl2:critic=task,hidden=32": 4e6,
            "pearl:hidden=64": 1e5,
            f"icl_rl:{_SMALL},window=16,critic=task,entropy=0.03,lr=2e-3,steps_per_update=20000": 3e6,
            f"icl_dpt:{_SMALL},window=16,lr=2e-3": 1e6,
            f"icl_ad:{_SMALL},window=16,lr=2e-3": 1e6,
            f"lora_maml:{_SMALL},window=8,critic=task": 1e6,
        },
        "gridnavi": {
            "rl2:critic=task,lr=8e-3,entropy=0.3": 5e6,
            f"icl_rl:{_SMALL},window=64,critic=task,entropy=0.1,lr=2e-3": 3e6,
            f"icl_dpt:{_SMALL},window=64,lr=2e-3": 2e6,
            f"icl_ad:{_SMALL},window=64,lr=2e-3": 2e6,
            f"mt:{_SMALL},window=16,critic=task": 1e6,
        },
    }.items()
    for method, steps in methods.items()
)  # fmt: skip
"""Every recipe of the zoo."""
