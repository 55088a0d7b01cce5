"""Results of an evaluation as sums over trials.

Shape letters: B trials, N tasks or blocks of tasks, P curve points.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from bridge.evaluation.plan import Plan
from bridge.evaluation.policies import Policies
from bridge.protocol import Trial

METRICS = ("episode_return", "trial_return", "regret", "success", "informed_return")
"""``informed_return`` (track C): the return of an episode, of trials whose context holds a success alone."""
COSTS = ("transitions", "grad_steps", "refused_steps", "clock")
"""Costs of a trial up to a curve point. Gradient steps are those of ``tally(memory)``, if the agent has it, which may
count more. On tracks C and F a point counts its own fork and none of the others."""


class Score(NamedTuple):
    """Metrics and costs of B trials at one curve point."""

    point: int
    env_steps: int
    """Environment steps that each trial played since the last point."""
    metrics: dict[str, Float[Tensor, " B"]]
    costs: dict[str, Tensor]
    policies: Policies | None = None
    """Those after a common context, if they are kept."""


@dataclass
class Evaluation:
    """Sums over trials, by task (or block of tasks), part of its trials, and curve point.

    ``total[metric]`` is ``[3, N, parts, P]``: n, sum and sum of squares. Parts are replicates of one another (every
    second or tenth trial of a task), so that tasks can be chosen on the even ones and scored on the odd ones.
    """

    plan: Plan
    trial: Trial
    points: tuple[int, ...]
    """Curve points, in episodes."""
    total: dict[str, np.ndarray]
    cost: dict[str, np.ndarray]
    """Mean over trials of each of ``COSTS``, and of what else the agent counts, ``[P]``."""
    seconds: float = 0.0
    env_steps: int = 0
    detail: dict[str, np.ndarray] = field(default_factory=dict)
    """The rows of ``StepDetail`` (track O)."""
    policies: dict[str, np.ndarray] = field(default_factory=dict)
    """The rows of ``PolicyDetail`` (track C), if policies are kept."""

    @classmethod
    def empty(
        cls, plan: Plan, trial: Trial, points: tuple[int, ...], blocks: int, parts: int
    ) -> Evaluation:
        """An evaluation without trials."""
        total = {metric: np.zeros((3, blocks, parts, len(points))) for metric in METRICS}
        return cls(plan, trial, points, total, {name: np.zeros(len(points)) for name in COSTS})

    def add(self, score: Score, cells: Int[Tensor, " B"]) -> None:
        """Add B trials at one curve point, with metrics in their cells. NaN in ``informed_return``: not counted.

        Costs are summed; after the last trial they are to be divided by the number of trials.
        """
        for metric, value in score.metrics.items():
            value = value.to("cpu", torch.float64)
            counted = torch.ones_like(value)
            if metric == "informed_return":
                counted, value = ~value.isnan(), value.nan_to_num()
            sums = torch.from_numpy(self.total[metric]).flatten(1, 2)[..., score.point]
            sums.index_add_(1, cells, torch.stack([counted, value, value * value]))
        for name, value in score.costs.items():
            costs = self.cost.setdefault(name, np.zeros(len(self.points)))
            costs[score.point] += value.double().sum().item()
        self.env_steps += score.env_steps * len(cells)

    def pooled(self, metric: str, point: int = -1) -> tuple[float, float, float]:
        """n, sum and sum of squares over all tasks at one curve point (by default the last one)."""
        n, total, square = self.total[metric][..., point].sum((1, 2))
        return float(n), float(total), float(square)

    def mean(self, metric: str, point: int = -1) -> float:
        """The mean over all trials at one curve point; NaN if no trial counts."""
        n, total, _ = self.pooled(metric, point)
        return total / n if n else float("nan")
