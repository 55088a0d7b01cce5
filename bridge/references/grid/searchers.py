"""Agents that search for a hidden goal on a grid and remember the refuted cells and the goal once found.

A reward counts as the nearest reward of the agent's model, whatever the cell: with rewards 0 and 1 in the model, 0.3
counts as 0 and 10 as 1. If that refutes every cell, the refutations are discarded and the search begins again.

Shape letters: B trials, C cells, A actions, M action maps.
"""

from __future__ import annotations

from itertools import permutations

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from bridge.protocol import Card, Clues, Decision, Step, Trial
from bridge.references.base import Reference, argmax_random_ties, filled
from bridge.references.grid.visiting_orders import Order, arrivals, distance_table, toward_table
from bridge.rng import Rows
from bridge.tasks.goal_grid import Grid, arrival_table, cycle

Memory = dict[str, Tensor]
"""``possible [B, C]``: True for cells that may be the goal; ``goal [B]``: the goal once found, else -1; and more."""

Cells = Int[Tensor, " B"]
"""Cell numbers, or actions in such a cell."""


class Searcher(Reference):
    """Walks to the first possible cell of an order until one pays; from then on walks there and stays."""

    def __init__(self, grid: Grid, order: Order, card: Card, factor: float = 1.0) -> None:
        self.grid, self.card = grid, card
        self.paid, self.unpaid = factor * grid.at_goal, factor * grid.elsewhere
        self.rank = torch.full((len(grid.cells),), len(order))
        self.rank[list(order)] = torch.arange(len(order))
        self.support = self.rank < len(order)
        self.toward = torch.from_numpy(toward_table(grid))

    def start(self, clues: Clues, trial: Trial, rng: Rows) -> Memory:
        """Every cell of the order may be the goal."""
        possible = self.support.to(rng.device).repeat(len(rng), 1)
        return {"possible": possible, "goal": filled(rng, -1)}

    def act(self, memory: Memory, obs: Tensor, rng: Rows, *, explore: bool) -> Decision:
        """One step of a shortest walk; frozen scoring still searches, as nothing else has a higher value."""
        cell = self.grid.number(obs)
        return Decision(self._walk(memory, cell, self._target(memory, cell), rng))

    def _target(self, memory: Memory, cell: Cells) -> Cells:
        """The cell to go to: the goal, else the first possible cell of the order."""
        return self._first(memory, self.rank.to(cell.device))

    def _walk(self, memory: Memory, cell: Cells, target: Cells, rng: Rows) -> Cells:
        """The action of a step from ``cell`` towards ``target``."""
        return self.toward.to(cell.device)[cell, target]

    def learn(self, memory: Memory, step: Step) -> Memory:
        """Refute the arrival cell, or set the goal to it."""
        cell = self.grid.number(step.next_obs)
        won = self._won(memory, step.reward)
        goal = torch.where(won & (memory["goal"] < 0), cell, memory["goal"])
        possible = memory["possible"].scatter(-1, cell[:, None], won[:, None])
        refuted = ~possible.any(-1, keepdim=True)
        return memory | {
            "possible": torch.where(refuted, self.support.to(cell.device), possible),
            "goal": goal,
        }

    def _won(self, memory: Memory, reward: Float[Tensor, " B"]) -> Bool[Tensor, " B"]:
        """True if the reward is nearer to that of the goal than to that of other cells."""
        return (reward - self.paid).abs() < (reward - self.unpaid).abs()

    def _first(self, memory: Memory, rank: Tensor) -> Cells:
        """The goal, else the possible cell of the lowest rank."""
        first = torch.where(memory["possible"], rank, len(self.rank) + 1).argmin(-1)
        return torch.where(memory["goal"] < 0, first, memory["goal"])


class SignedSearcher(Searcher):
    """A searcher for a share of tasks with negated rewards, whose goal it avoids.

    The first reward that is possible for one sign only reveals the sign: any reward on gridnavi, the goal's in a
    darkroom. While the sign is unknown the search goes on: a wrong visit costs one step, and a right one gains all
    remaining steps.
    """

    def __init__(self, grid: Grid, order: Order, card: Card, negated: float) -> None:
        super().__init__(grid, order, card)
        self.sign = -1 if negated == 1 else 0
        table = arrivals(grid)
        cells = np.arange(len(table))
        self.neighbour = torch.from_numpy(table[cells, (table != cells[:, None]).argmax(-1)])

    def start(self, clues: Clues, trial: Trial, rng: Rows) -> Memory:
        """``sign [B]`` is 0 while it is unknown."""
        return super().start(clues, trial, rng) | {"sign": filled(rng, self.sign)}

    def _target(self, memory: Memory, cell: Cells) -> Cells:
        """With negated rewards: leave the goal, else stay, as the current cell is the safest."""
        refuge = torch.where(cell == memory["goal"], self.neighbour.to(cell.device)[cell], cell)
        return torch.where(memory["sign"] < 0, refuge, super()._target(memory, cell))

    def learn(self, memory: Memory, step: Step) -> Memory:
        """Infer the sign, then learn as with positive rewards."""
        outcome = step.reward.new_tensor([self.paid, self.unpaid])
        straight = (step.reward[:, None] - outcome).abs().amin(-1)
        negated = (step.reward[:, None] + outcome).abs().amin(-1)
        seen = (negated - straight).sign().long()
        sign = torch.where(memory["sign"] == 0, seen, memory["sign"])
        return super().learn(memory | {"sign": sign}, step)

    def _won(self, memory: Memory, reward: Float[Tensor, " B"]) -> Bool[Tensor, " B"]:
        return super()._won(memory, torch.where(memory["sign"] < 0, -reward, reward))


class PermutedSearcher(Searcher):
    """A searcher for actions that are permuted by one cycle over some of them; it infers the cycle from its moves.

    The belief is exact: a flag for each cycle, True if all moves so far agree with it. It takes the action that comes
    nearer to the target under most possible cycles; a failure refutes these, so that it cannot get stuck.
    """

    def __init__(self, grid: Grid, order: Order, card: Card, displaced: int) -> None:
        super().__init__(grid, order, card)
        orders = torch.tensor(list(permutations(range(len(grid.moves)))), dtype=torch.float32)
        self.maps = cycle(displaced, orders).unique(dim=0)
        """The move of each action under every such cycle, ``[M, A]``."""
        self.moves = one_hot(self.maps, len(grid.moves)).float()
        """1 if a map turns an action into a move, ``[M, A, A]``."""
        distance = distance_table(grid)
        after = distance[arrivals(grid)]
        self.nearer = torch.from_numpy((after < distance[:, None]) | (after == 0))
        """True if a move leads from a cell nearer to another one, or stays there, ``[C, A, C]``."""

    def start(self, clues: Clues, trial: Trial, rng: Rows) -> Memory:
        """``maps [B, M]``: True for permutations that are still possible."""
        return super().start(clues, trial, rng) | {"maps": filled(rng, True, len(self.maps))}

    def _walk(self, memory: Memory, cell: Cells, target: Cells, rng: Rows) -> Cells:
        nearer = self.nearer.to(cell.device)[cell, :, target]  # [B, A]
        count = torch.einsum("bm,mae->bae", memory["maps"].float(), self.moves.to(cell.device))
        return argmax_random_ties((count * nearer[:, None]).sum(-1), rng)

    def learn(self, memory: Memory, step: Step) -> Memory:
        """Refute the permutations that disagree with the move, then learn about the goal."""
        moves = self.maps.to(step.action.device)[:, step.action].T  # [B, M]
        after = arrival_table(self.grid, step.action.device)[self.grid.number(step.obs)]
        agrees = after.gather(-1, moves) == self.grid.number(step.next_obs)[:, None]
        maps = memory["maps"] & agrees
        return super().learn(memory, step) | {"maps": maps | ~maps.any(-1, keepdim=True)}
