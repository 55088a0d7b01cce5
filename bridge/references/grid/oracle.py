"""The informed oracle on grids with a hidden goal, which plays the optimal action values of its task."""

from __future__ import annotations

import torch
from torch import Tensor

from bridge.protocol import Clues, Decision, Step, Trial
from bridge.references.base import Informed, argmax_random_ties
from bridge.rng import Rows
from bridge.tasks.goal_grid import GoalGrid, solve

Memory = dict[str, Tensor]


class Oracle(Informed):
    """The oracle on grids, exact for every axis: values for each goal, sign and slip of the split, with its horizon.

    Its memory is the row of the table of values for each trial, ``row [B]``, the steps left, ``left [B]``, and the move
    of each action, ``permutation [B, A]``.
    """

    def __init__(self, family: GoalGrid, split: str) -> None:
        self.grid, self.horizon = family.grid, family.trial(split).horizon
        goals = torch.tensor([self.grid.number_of(goal) for goal in family.goals(split)])
        signs = torch.tensor(
            [1.0, -1.0] if any(family.values(split, "reward_sign", 0.0)) else [1.0]
        )
        self.slips = torch.tensor(family.values(split, "slip", 0.0))
        slip, factor, goal = torch.cartesian_prod(self.slips, signs, goals.float()).unbind(-1)
        self.values = solve(self.grid, goal.long(), factor, slip, self.horizon)
        self.first_row = torch.zeros(len(self.grid.cells), dtype=torch.int64)
        self.first_row[goals] = torch.arange(len(goals))
        self.goals, self.signs = len(goals), len(signs)

    def start(self, clues: Clues, trial: Trial, rng: Rows) -> Memory:
        params = clues.task.params
        row = self.first_row.to(rng.device)[self.grid.number(params["goal"])]
        if "factor" in params:
            row = row + self.goals * (params["factor"] < 0)
        if "slip" in params:
            slip = (params["slip"][:, None] - self.slips.to(rng.device)).abs().argmin(-1)
            row = row + self.goals * self.signs * slip
        same = torch.arange(len(self.grid.moves), device=rng.device).repeat(len(rng), 1)
        return {
            "row": row,
            "left": torch.zeros_like(row),
            "permutation": params.get("permutation", same),
        }

    def begin(self, memory: Memory, rng: Rows, *, episode: int) -> Memory:
        """Reset the steps left."""
        return memory | {"left": torch.full_like(memory["left"], self.horizon)}

    def act(self, memory: Memory, obs: Tensor, rng: Rows, *, explore: bool) -> Decision:
        """The best action, drawn uniformly among ties."""
        place = (memory["row"], memory["left"] - 1, self.grid.number(obs))
        values = self.values.to(obs.device)[place]
        return Decision(argmax_random_ties(values.gather(-1, memory["permutation"]), rng))

    def learn(self, memory: Memory, step: Step) -> Memory:
        """One step less is left."""
        return memory | {"left": memory["left"] - 1}
