"""Recipes of the zoo: methods with their settings and budgets."""

from __future__ import annotations

from typing import NamedTuple

from bridge.config import split_spec
from experiments.specs import reads_text
from experiments.zoo import PREFIX

SEEDS = (0, 1, 2)
"""Training seeds of every recipe."""


class Recipe(NamedTuple):
    """One method on one family."""

    family: str
    method: str
    """With its settings: those of the log's good figures."""
    steps: float
    """Environment steps of training."""

    @property
    def of_language_model(self) -> bool:
        """True if it tunes a language model: trained in bfloat16, and scored on fewer trials."""
        return reads_text(self.method)


_SMALL = "layers=2,hidden=32,heads=2"
"""A transformer of 26,000 weights, for short trials."""
_IMITATOR = "layers=2,lr=2e-3,batch=8000,steps_per_update=50000"
"""An imitating transformer of 99,000 weights, for long trials."""

RECIPES = tuple(
    Recipe(family, method, steps)
    for family, methods in {
        "bandit:k=5,n=10": {
            "rl2:critic=task,hidden=32": 4e6,
            "pearl:hidden=64": 1e5,
            "maml": 6e5,
            "mtrl": 2e5,
            "mtrl_finetune": 2e5,
            f"icl_rl:{_SMALL},window=16,critic=task,entropy=0.03,lr=2e-3,steps_per_update=20000": 3e6,
            f"icl_dpt:{_SMALL},window=16,lr=2e-3": 1e6,
            f"icl_ad:{_SMALL},window=16,lr=2e-3": 1e6,
            f"lora_maml:{_SMALL},window=8,critic=task": 1e6,
            f"mt:{_SMALL},window=8,critic=task": 2e5,
            "prompted_smollm2_lora_ad:format=terse,batch=100": 6e4,
        },
        "gridnavi": {
            "rl2:critic=task,lr=8e-3,entropy=0.3": 5e6,
            "pearl:good_share=0.25,hidden=64": 8e5,
            "mtrl": 1e6,
            "mtrl_finetune": 1e6,
            f"icl_rl:{_SMALL},window=64,critic=task,entropy=0.1,lr=2e-3": 3e6,
            f"icl_dpt:{_SMALL},window=64,lr=2e-3": 2e6,
            f"icl_ad:{_SMALL},window=64,lr=2e-3": 2e6,
            f"mt:{_SMALL},window=16,critic=task": 1e6,
        },
        "darkroom:episodes=10,variant=ad,train=inner": {
            "rl2:episodes=4,critic=task,entropy=0.03": 2e6,
            "mtrl": 1e6,
            "mtrl_finetune": 1e6,
            "icl_rl:episodes=4,window=256,critic=task,entropy=0.03,lr=2e-3": 1.5e6,
            f"icl_dpt:{_IMITATOR},window=200": 2e6,
            f"icl_ad:{_IMITATOR},window=200": 2e6,
            f"mt:{_SMALL},window=32,critic=task": 1e6,
        },
        "point_nav:episodes=8": {
            "rl2:episodes=4,critic=task,steps_per_update=20000": 4e6,
            "maml:inner_decay=0.5,entropy=0.03": 6e6,
            "mtrl": 1e6,
            "mtrl_finetune": 1e6,
            "icl_rl:episodes=4,window=400,critic=task,lr=2e-3": 1.2e6,
            f"icl_dpt:{_IMITATOR},window=300,episodes=4": 3e6,
            f"mt:{_SMALL},window=100,critic=task": 4e5,
        },
    }.items()
    for method, steps in methods.items()
)  # fmt: skip
"""Every recipe of the zoo."""


def variant(family: str) -> str:
    """Return the family that runs of the zoo were trained on, of a family's name; any other spec as it is."""
    return next((r.family for r in RECIPES if r.family.partition(":")[0] == family), family)


def of(spec: str) -> Recipe | None:
    """Return the recipe of ``zoo:METHOD/FAMILY[/SEED]``; None if there is none."""
    method, family = spec.removeprefix(PREFIX).split("/")[:2]
    for recipe in RECIPES:
        name, family_name = (split_spec(part)[0] for part in (recipe.method, recipe.family))
        if (name, family_name) == (method, family):
            return recipe
    return None
