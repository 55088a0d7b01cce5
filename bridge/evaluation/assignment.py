"""The task that each trial of a plan plays, and the cell in which its results are summed.

Shape letters: B trials, N tasks of a finite list.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from bridge.errors import UserError
from bridge.evaluation.plan import Plan
from bridge.tasks.base import TaskFamily

FIXED_PARTS = 10
"""Parts of each task's trials if tasks are a finite list. Parts are replicates of the split: intervals are paired."""
_PARTS = 2
"""Parts of each task's trials otherwise."""
_TASK_BLOCKS = 64
"""Blocks of consecutive tasks for which results are kept if every trial has a task of its own."""


@dataclass(frozen=True, eq=False)
class Assignment:
    """Tasks and cells of the trials of a plan. There is a cell for each block of tasks and each part of its trials.

    Attributes:
        plan: the plan.
        tasks: numbers of the tasks that are played of a finite list; None if tasks are drawn from a continuum.
        blocks: number of tasks, or blocks of consecutive tasks, for which results are kept.
        parts: number of parts into which the trials of a block are divided in turn.
    """

    plan: Plan
    tasks: Int[Tensor, " N"] | None
    blocks: int
    parts: int

    @classmethod
    def of(cls, family: TaskFamily, plan: Plan) -> Assignment:
        """The assignment of ``plan`` on ``family``.

        Raises:
            UserError: the plan leaves all tasks out, or some although they are not a finite list.
        """
        size = family.support(plan.split)
        if size is None:
            if plan.left_out:
                raise UserError(
                    f"The tasks of {plan.split} are drawn from a continuum: none of them can be left out."
                )
            blocks = min(_TASK_BLOCKS, plan.trials)
            if plan.trials_per_task:
                blocks = math.ceil(plan.trials / plan.trials_per_task)
            return cls(plan, None, blocks, _PARTS)
        tasks = torch.arange(size)
        tasks = tasks[~torch.isin(tasks, torch.tensor(plan.left_out, dtype=torch.int64))]
        if not len(tasks):
            raise UserError(f"All {size} tasks of {plan.split} are left out. Leave some to play.")
        return cls(plan, tasks, min(len(tasks), plan.trials), FIXED_PARTS)

    def task(self, trials: Int[Tensor, " B"]) -> Int[Tensor, " B"]:
        """The number of each trial's task. Trials go through a finite list in turn, again and again."""
        if self.tasks is not None:
            return self.tasks.to(trials.device)[trials % len(self.tasks)]
        return trials // self.plan.trials_per_task if self.plan.trials_per_task else trials

    def cell(self, trials: Int[Tensor, " B"]) -> Int[Tensor, " B"]:
        """The number of each trial's cell: ``parts * block + part``."""
        if self.tasks is not None:
            block, turn = trials % len(self.tasks), trials // len(self.tasks)
        elif self.plan.trials_per_task:
            block, turn = trials // self.plan.trials_per_task, trials % self.plan.trials_per_task
        else:
            block, turn = trials * self.blocks // self.plan.trials, trials
        return self.parts * block + turn % self.parts
