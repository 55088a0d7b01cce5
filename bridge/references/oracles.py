"""The informed oracle of each kind of family, which is given the task, observes the world as it is and plays
optimally."""

from __future__ import annotations

from collections.abc import Callable

from bridge.protocol import Agent
from bridge.references.bandit.contextual import ContextualOracle
from bridge.references.bandit.oracle import BanditOracle
from bridge.references.grid.oracle import Oracle as GridOracle
from bridge.references.mdp.posterior import MdpOracle
from bridge.references.plane.walkers import Oracle as PlaneOracle
from bridge.references.renewed import Renewed
from bridge.tasks.bandit import Bandit
from bridge.tasks.base import TaskFamily
from bridge.tasks.contextual_bandit import ContextualBandit
from bridge.tasks.goal_grid import GoalGrid
from bridge.tasks.goal_plane import GoalPlane
from bridge.tasks.tabular_mdp import TabularMdp

ORACLES: dict[type[TaskFamily], Callable[..., Agent]] = {
    Bandit: BanditOracle,
    ContextualBandit: ContextualOracle,
    GoalGrid: GridOracle,
    GoalPlane: PlaneOracle,
    TabularMdp: MdpOracle,
}


def oracle(family: TaskFamily, split: str) -> Agent:
    """The oracle of a split of a family of one of the kinds of ``ORACLES``."""
    made = next(make for kind, make in ORACLES.items() if isinstance(family, kind))(family, split)
    found = family.split(split)
    return Renewed(made, family, split) if found.level and found.axis == "changes" else made
