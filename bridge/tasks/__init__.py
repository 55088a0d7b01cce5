"""Task families by name, ``family("bandit:k=5,n=10")``, or by place, ``family("path/to/maze.py:Maze:size=5")``.

Packages add names by entry points.
"""

from __future__ import annotations

import functools
from typing import Any

from bridge import config, user_code
from bridge.errors import UserError, unknown
from bridge.plugins import Registry
from bridge.tasks.bandit import Bandit
from bridge.tasks.base import TaskFamily
from bridge.tasks.contextual_bandit import ContextualBandit
from bridge.tasks.darkroom import Darkroom
from bridge.tasks.gridnavi import GridNavi
from bridge.tasks.gym_family import GymFamily
from bridge.tasks.locomotion.ant import AntDir, AntGoal
from bridge.tasks.locomotion.cheetah import CheetahDir, CheetahVel
from bridge.tasks.locomotion.walker import WalkerParams
from bridge.tasks.metaworld.family import MetaWorld
from bridge.tasks.minigrid import MiniGrid
from bridge.tasks.point_nav import PointNav
from bridge.tasks.sparse_point import SparsePoint
from bridge.tasks.tabular_mdp import TabularMdp

_BUILTIN: dict[str, type[TaskFamily]] = {
    "bandit": Bandit,
    "contextual_bandit": ContextualBandit,
    "gridnavi": GridNavi,
    "darkroom": Darkroom,
    "tabular_mdp": TabularMdp,
    "point_nav": PointNav,
    "sparse_point": SparsePoint,
    "minigrid": MiniGrid,
    "metaworld": MetaWorld,
    "cheetah_vel": CheetahVel,
    "cheetah_dir": CheetahDir,
    "ant_dir": AntDir,
    "ant_goal": AntGoal,
    "walker_params": WalkerParams,
    "gym": GymFamily,
}
FAMILIES: Registry[type[TaskFamily]] = Registry(
    _BUILTIN, "metabridge.families", TaskFamily, subclasses=True
)
"""Families by name: ours, then those of the entry points ``metabridge.families``."""


def family(spec: str) -> TaskFamily:
    """Return the family that ``spec`` names: ``name`` or ``name:key=value,key=value``.

    The name is a registered one, or the place of a class of a user's own: ``path/to/maze.py:Maze``, ``module:Maze``.

    Raises:
        UserError: an unknown family, key or value, or code that cannot be loaded.
    """
    if place := _place(spec):
        kind, (_, values) = _own(place), config.split_spec(spec, place)
        with user_code.as_user_errors(f"{place} cannot be made"):
            return config.build(kind, spec, values)
    name, values = config.split_spec(_in_full(spec))
    if name not in FAMILIES:
        raise unknown("task family", name, FAMILIES)
    return config.build(FAMILIES[name], spec, values)


def is_family(spec: str) -> bool:
    """Return True if ``spec`` names a family, whatever its parameters.

    Raises:
        UserError: it names code that cannot be loaded.
    """
    place = _place(spec)
    return _is_kind(user_code.load(place)) if place else _name(spec) in FAMILIES


def _in_full(spec: str) -> str:
    """``gym:CartPole-v1,steps=200`` as ``gym:env=CartPole-v1,steps=200``; any other spec as it is."""
    name, _, rest = spec.strip().partition(":")
    first = rest.partition(",")[0]
    return f"{name}:env={rest}" if name == GymFamily.name and first and "=" not in first else spec


def _name(spec: str) -> str:
    return spec.strip().partition(":")[0]


def _place(spec: str) -> str:
    """The place of a user's own code in ``spec``; empty if it begins with a registered name, or with none at all."""
    return "" if _name(spec) in FAMILIES else user_code.target_of(spec)


def _is_kind(thing: Any) -> bool:
    return isinstance(thing, type) and issubclass(thing, TaskFamily)


def _own(place: str) -> type[TaskFamily]:
    """The class at a place of a user's own.

    Raises:
        UserError: there is none, or it has no name of its own.
    """
    kind = user_code.load(place)
    if not _is_kind(kind):
        raise UserError(f"{place} is no subclass of bridge.tasks.base.TaskFamily, as families are.")
    name = getattr(kind, "name", "")
    if not name or name in FAMILIES.builtin:
        found = f"is called {name!r}, as one of ours is" if name else "has no name"
        raise UserError(f'{place} {found}. Give the class a name of its own: name = "..."')
    return _placed(kind, user_code.portable(place))


@functools.cache
def _placed(kind: type[TaskFamily], place: str) -> type[TaskFamily]:
    """The class with the ids of a place. Its instances are sent to other processes by their ids."""
    about = {"__module__": kind.__module__, "__doc__": kind.__doc__, "place": place}
    by_id = {"__reduce__": lambda self: (family, (self.id,))}
    made: Any = type(kind)(kind.__name__, (kind,), about | by_id)
    return made
