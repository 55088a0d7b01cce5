"""Task families by name: ``family("bandit:k=5,n=10")``. Packages add families by entry points."""

from __future__ import annotations

from bridge import config
from bridge.errors import unknown
from bridge.plugins import Registry
from bridge.tasks.bandit import Bandit
from bridge.tasks.base import TaskFamily
from bridge.tasks.darkroom import Darkroom
from bridge.tasks.gridnavi import GridNavi
from bridge.tasks.point_nav import PointNav
from bridge.tasks.sparse_point import SparsePoint
from bridge.tasks.tabular_mdp import TabularMdp

_BUILTIN: dict[str, type[TaskFamily]] = {
    "bandit": Bandit,
    "gridnavi": GridNavi,
    "darkroom": Darkroom,
    "tabular_mdp": TabularMdp,
    "point_nav": PointNav,
    "sparse_point": SparsePoint,
}
FAMILIES: Registry[type[TaskFamily]] = Registry(
    _BUILTIN, "metabridge.families", TaskFamily, subclasses=True
)
"""Families by name: ours, then those of the entry points ``metabridge.families``."""


def family(spec: str) -> TaskFamily:
    """Return the family that ``spec`` names: ``name`` or ``name:key=value,key=value``.

    Raises:
        UserError: an unknown family, key or value, or an entry point that cannot be loaded.
    """
    name, values = config.split_spec(spec)
    if name not in FAMILIES:
        raise unknown("task family", name, FAMILIES)
    return config.build(FAMILIES[name], spec, values)
