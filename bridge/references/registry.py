"""All reference agents: constructors by name and kind of family.

A constructor is called as ``constructor(family, split, **parameters)`` and returns an agent. References may use the
split (``bayes`` plays with its distribution as prior).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from bridge.errors import UserError, unknown
from bridge.protocol import Agent
from bridge.references import graded, q_learning, random
from bridge.references.bandit import (
    bayes,
    finite_prior,
    gittins,
    index_rules,
    one_sided,
    thompson,
)
from bridge.references.grid import goal_search
from bridge.references.mdp import optimism, posterior
from bridge.references.oracles import ORACLES, oracle
from bridge.references.plane import arc_posterior, trilateration, walkers
from bridge.tasks.bandit import Bandit
from bridge.tasks.base import TaskFamily
from bridge.tasks.goal_grid import GoalGrid
from bridge.tasks.goal_plane import GoalPlane
from bridge.tasks.point_nav import PointNav
from bridge.tasks.sparse_point import SparsePoint
from bridge.tasks.tabular_mdp import TabularMdp

Constructor = Callable[..., Agent]

REFERENCES: dict[str, dict[type[TaskFamily], Constructor]] = {
    "random": {TaskFamily: random.Random},
    "oracle": dict.fromkeys(ORACLES, oracle),
    "graded": dict.fromkeys(ORACLES, graded.Graded),
    "bayes": {Bandit: bayes.bayes, GoalGrid: goal_search.bayes},
    "bayes_train": {Bandit: bayes.bayes_train, GoalGrid: goal_search.bayes_train},
    "bayes_tasks": {Bandit: finite_prior.KnownTasks, GoalGrid: goal_search.bayes_tasks},
    "ucb1": {Bandit: index_rules.UCB1},
    "thompson": {Bandit: thompson.thompson, GoalGrid: goal_search.Thompson},
    "greedy": {Bandit: index_rules.Greedy, TabularMdp: posterior.MdpGreedy},
    "epsilon_greedy": {Bandit: index_rules.EpsilonGreedy, TabularMdp: posterior.MdpEpsilonGreedy},
    "gittins": {Bandit: gittins.gittins_train},
    "psrl": {
        TabularMdp: posterior.Psrl,
        GoalGrid: goal_search.Psrl,
        PointNav: trilateration.NavPsrl,
        SparsePoint: arc_posterior.ArcPsrl,
    },
    "opsrl": {TabularMdp: posterior.Opsrl},
    "ucrl2": {TabularMdp: optimism.Ucrl2},
    "beb": {TabularMdp: optimism.Beb},
    "search": {GoalGrid: goal_search.Search},
    "q_learning": {GoalGrid: q_learning.QLearning, TabularMdp: q_learning.QLearning},
    "skewed": dict.fromkeys((Bandit, GoalGrid, TabularMdp), one_sided.Skewed),
    "blind": {GoalPlane: walkers.Blind},
}

NOT_MODELLED = ("changes", "obs_noise", "obs_permutation", "reward_delay")
"""Axes that no Bayes-optimal reference takes as its prior."""
_KNOW_THE_SPLIT = ("bayes",)
"""References that play with the distribution of the split as their prior."""
_KNOW_NO_WIDER_SPLIT = (*_KNOW_THE_SPLIT, "blind")
"""References that would have to know all of a training distribution that is wider."""
KNOW_TRAINING_TASKS = ("bayes_tasks",)
"""References whose prior is a fixed set of training tasks."""
_KNOW_TRAINING = ("bayes_train", "gittins", "psrl", "thompson", *KNOW_TRAINING_TASKS)
"""References whose prior is the training distribution, as it is before it is widened."""


class DoesNotPlayError(UserError):
    """A reference that is not made for a kind of family, or for a split."""


def models_split(name: str, family: TaskFamily, split: str) -> bool:
    """False if ``name`` plays with the distribution of the split as its prior, and has none for this one."""
    found = family.split(split)
    if split == "train" and family.wide:
        return name not in _KNOW_NO_WIDER_SPLIT
    return not (found.level and found.axis in NOT_MODELLED and name in _KNOW_THE_SPLIT)


def check_models(name: str, family: TaskFamily, split: str) -> None:
    """Refuse a split that ``name`` does not model.

    Raises:
        DoesNotPlayError: it would have to know the split's shift.
    """
    if models_split(name, family, split):
        return
    remedy = f"Take {name}_train, whose prior is that of training."
    if split == "train" and family.wide:
        remedy = f"Play another split, or {family.name} without wide=."
    raise DoesNotPlayError(
        f"{name} has to know the distribution of the split that it plays, and has none for {split}. {remedy}"
    )


def reference(name: str, family: TaskFamily, split: str) -> Agent:
    """A reference agent with its defaults.

    Raises:
        UserError: if there is none of that name.
        DoesNotPlayError: as ``constructor_of`` and ``check_models``.
    """
    if name not in REFERENCES:
        raise unknown("reference agent", name, REFERENCES)
    check_models(name, family, split)
    return made(name, constructor_of(name, family), family, split)


def made(
    name: str, constructor: Constructor, family: TaskFamily, split: str, **parameters: Any
) -> Agent:
    """Return the agent of a constructor. What plays with the split's whole distribution as its prior is not exact if
    only some tasks of it are played (``tests=N``)."""
    agent = constructor(family, split, **parameters)
    if family.tests and name in _KNOW_THE_SPLIT and agent.card.exact_reference == "exact":
        agent.card = dataclasses.replace(agent.card, exact_reference="near")
    return agent


def constructor_of(name: str, family: TaskFamily) -> Constructor:
    """The constructor of a reference for this kind of family.

    Raises:
        DoesNotPlayError: if it has none, or if the family lacks the training tasks or the prior that it knows.
    """
    if name in KNOW_TRAINING_TASKS and not family.tasks:
        raise DoesNotPlayError(
            f"{name} knows a fixed set of training tasks, and {family.id} has a distribution. Add tasks=N to it."
        )
    if name in _KNOW_TRAINING and family.wide:
        raise DoesNotPlayError(
            f"{name} has the training distribution as its prior, and none for one that is wider along {family.wide}. "
            f"Play it on {family.name} without wide=."
        )
    for kind, constructor in REFERENCES[name].items():
        if isinstance(family, kind):
            return constructor
    kinds = ", ".join(sorted(kind.__name__ for kind in REFERENCES[name]))
    raise DoesNotPlayError(
        f"{name} does not play {family.id}: it is made for {kinds}. See: metabridge list methods"
    )
