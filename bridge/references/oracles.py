"""The informed oracle of each kind of family, which is given the task and plays optimally."""

from __future__ import annotations

from collections.abc import Callable

from bridge.protocol import Agent
from bridge.references.bandit.contextual import ContextualOracle
from bridge.references.bandit.oracle import BanditOracle
from bridge.references.grid.oracle import Oracle as GridOracle
from bridge.references.mdp.posterior import MdpOracle
from bridge.references.plane.walkers import Oracle as PlaneOracle
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
