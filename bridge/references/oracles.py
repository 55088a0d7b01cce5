"""Who is told the task and plays it as well as can be, by kind of family."""

from __future__ import annotations

from collections.abc import Callable

from bridge.protocol import Agent
from bridge.references import bandit_oracle, grid_oracle, mdp_posterior, plane_walkers
from bridge.tasks.bandit import Bandit
from bridge.tasks.base import TaskFamily
from bridge.tasks.goal_grid import GoalGrid
from bridge.tasks.goal_plane import GoalPlane
from bridge.tasks.tabular_mdp import TabularMdp

ORACLES: dict[type[TaskFamily], Callable[..., Agent]] = {
    Bandit: bandit_oracle.BanditOracle,
    GoalGrid: grid_oracle.Oracle,
    GoalPlane: plane_walkers.Oracle,
    TabularMdp: mdp_posterior.MdpOracle,
}
