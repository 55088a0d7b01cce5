"""Task families by name: ``family("bandit:k=5,n=10")``."""

from __future__ import annotations

from bridge import config
from bridge.errors import unknown
from bridge.tasks.bandit import Bandit
from bridge.tasks.base import TaskFamily
from bridge.tasks.darkroom import Darkroom
from bridge.tasks.gridnavi import GridNavi
from bridge.tasks.point_nav import PointNav
from bridge.tasks.sparse_point import SparsePoint
from bridge.tasks.tabular_mdp import TabularMdp

FAMILIES: dict[str, type[TaskFamily]] = {
    "bandit": Bandit,
    "gridnavi": GridNavi,
    "darkroom": Darkroom,
    "tabular_mdp": TabularMdp,
    "point_nav": PointNav,
    "sparse_point": SparsePoint,
}


def family(spec: str) -> TaskFamily:
    """The family that ``spec`` names: ``name`` or ``name:key=value,key=value``."""
    name, values = config.split_spec(spec)
    if name not in FAMILIES:
        raise unknown("task family", name, FAMILIES)
    return config.build(FAMILIES[name], spec, values)
