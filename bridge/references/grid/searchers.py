"""How a hidden goal on a grid is searched for, and what is remembered: where it cannot be, and where it was found.

A reward is read as the nearest one that the agent's model can pay, whatever the cell: an agent whose model pays 0 or 1
reads 0.3 as 0 and 10 as 1. If that refutes every cell, the refutations are forgotten and the search begins again.

Shape letters: B trials, C cells, A actions, M action maps.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations, permutations
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from bridge import memory as tree
from bridge.protocol import Card, Clues, Decision, Step, Trial
from bridge.references.base import Reference, argmax_random_ties
from bridge.references.grid.visiting_orders import Order, distance_table, toward_table
from bridge.rng import Rows
from bridge.tasks.goal_grid import Grid, arrival_table

Memory = dict[str, Tensor]
"""``possible [B, C]``: cells that may hold the goal; ``goal [B]``: the cell where it was found, else -1; and more."""


class Searcher(Reference):
    """Walks to the first possible cell of an order until one pays; from then on walks there and stays."""

    def __init__(self, grid: Grid, order: Order, card: Card, factor: float = 1.0) -> None:
        self.grid, self.card = grid, card
        self.paid, self.unpaid = factor * grid.at_goal, factor * grid.elsewhere
        self.rank = torch.full((len(grid.cells),), len(order))
        self.rank[list(order)] = torch.arange(len(order))
        self.support = self.rank < len(order)

    def start(self, clues: Clues, trial: Trial, rng: Rows) -> Memory:
        """Every cell of the order may hold the goal."""
        nowhere = torch.full((len(rng),), -1, device=rng.device)
        return {"possible": self.support.to(rng.device).repeat(len(rng), 1), "goal": nowhere}

    def act(self, memory: Memory, obs: Tensor, rng: Rows, *, explore: bool) -> Decision:
        """One step of a shortest walk; frozen scoring still searches, for nothing else is worth more."""
        cell = self.grid.number(obs)
        return Decision(self._walk(memory, cell, self._target(memory, cell), rng))

    def observe(self, memory: Memory, step: Step, carry: Any = None) -> Memory:
        """The arrival cell is the goal, or it is not."""
        return tree.where(step.live, self._learn(memory, step), memory)

    def _target(self, memory: Memory, cell: Int[Tensor, " B"]) -> Int[Tensor, " B"]:
        """Where to go: the goal, else the first possible cell of the order."""
        return self._first(memory, self.rank.to(cell.device))

    def _walk(
        self, memory: Memory, cell: Int[Tensor, " B"], target: Int[Tensor, " B"], rng: Rows
    ) -> Int[Tensor, " B"]:
        return _toward(self.grid, cell.device)[cell, target]

    def _learn(self, memory: Memory, step: Step) -> Memory:
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
        """Whether the reward is nearer to what the goal pays than to what other cells pay."""
        return (reward - self.paid).abs() < (reward - self.unpaid).abs()

    def _first(self, memory: Memory, rank: Tensor) -> Int[Tensor, " B"]:
        """The goal, else the possible cell of the lowest rank."""
        first = torch.where(memory["possible"], rank, len(self.rank) + 1).argmin(-1)
        return torch.where(memory["goal"] < 0, first, memory["goal"])


class SignedSearcher(Searcher):
    """Knows that a share of the tasks pays everything negated, and keeps away from the goal of those.

    The first reward that only one sign can pay tells which: any reward on gridnavi, the goal's in a darkroom. While the
    sign is open the search goes on, for a wrong visit costs one step and a right one gains all that are left.
    """

    def __init__(self, grid: Grid, order: Order, card: Card, negated: float) -> None:
        super().__init__(grid, order, card)
        self.sign = -1 if negated == 1 else 0
        table = arrival_table(grid, torch.device("cpu"))
        away = (table != torch.arange(len(table))[:, None]).long().argmax(-1)
        self.neighbour = table.gather(-1, away[:, None]).squeeze(-1)

    def start(self, clues: Clues, trial: Trial, rng: Rows) -> Memory:
        """``sign [B]`` is 0 while it is open."""
        return super().start(clues, trial, rng) | {
            "sign": torch.full((len(rng),), self.sign, device=rng.device)
        }

    def _target(self, memory: Memory, cell: Int[Tensor, " B"]) -> Int[Tensor, " B"]:
        """With negated rewards: off the goal, and else stay, for the cell one stands on is the safest."""
        refuge = torch.where(cell == memory["goal"], self.neighbour.to(cell.device)[cell], cell)
        return torch.where(memory["sign"] < 0, refuge, super()._target(memory, cell))

    def _learn(self, memory: Memory, step: Step) -> Memory:
        outcome = step.reward.new_tensor([self.paid, self.unpaid])
        straight = (step.reward[:, None] - outcome).abs().amin(-1)
        negated = (step.reward[:, None] + outcome).abs().amin(-1)
        seen = (negated - straight).sign().long()
        sign = torch.where(memory["sign"] == 0, seen, memory["sign"])
        return super()._learn(memory | {"sign": sign}, step)

    def _won(self, memory: Memory, reward: Float[Tensor, " B"]) -> Bool[Tensor, " B"]:
        return super()._won(memory, torch.where(memory["sign"] < 0, -reward, reward))


class PermutedSearcher(Searcher):
    """Knows that the actions were permuted by one cycle over some of them, and learns which from the moves it sees.

    The belief is exact: one flag for each cycle that all moves so far agree with. It takes the action that most of them
    say comes nearer; every failure refutes those, so it cannot be stuck.
    """

    def __init__(self, grid: Grid, order: Order, card: Card, displaced: int) -> None:
        super().__init__(grid, order, card)
        self.maps = torch.tensor(_cycles(len(grid.moves), displaced))
        self.says = one_hot(
            self.maps, len(grid.moves)
        ).float()  # [M, A, A]: this map has this action make this move

    def start(self, clues: Clues, trial: Trial, rng: Rows) -> Memory:
        """``maps [B, M]``: which permutations are still possible."""
        maps = torch.ones(len(rng), len(self.maps), dtype=torch.bool, device=rng.device)
        return super().start(clues, trial, rng) | {"maps": maps}

    def _walk(
        self, memory: Memory, cell: Int[Tensor, " B"], target: Int[Tensor, " B"], rng: Rows
    ) -> Int[Tensor, " B"]:
        nearer = _nearer(self.grid, cell.device)[cell, target]  # [B, A]
        count = torch.einsum("bm,mae->bae", memory["maps"].float(), self.says.to(cell.device))
        return argmax_random_ties((count * nearer[:, None]).sum(-1), rng)

    def _learn(self, memory: Memory, step: Step) -> Memory:
        moves = self.maps.to(step.action.device)[:, step.action].T  # [B, M]
        arrival = arrival_table(self.grid, step.action.device)[self.grid.number(step.obs)].gather(
            -1, moves
        )
        maps = memory["maps"] & (arrival == self.grid.number(step.next_obs)[:, None])
        return super()._learn(memory, step) | {"maps": maps | ~maps.any(-1, keepdim=True)}


@lru_cache
def _toward(grid: Grid, device: torch.device) -> Int[Tensor, "C C"]:
    return torch.from_numpy(toward_table(grid)).to(device)


@lru_cache
def _nearer(grid: Grid, device: torch.device) -> Bool[Tensor, "C C A"]:
    """Whether an action leads from a cell nearer to another, or keeps one who is there."""
    distance = torch.from_numpy(distance_table(grid))
    after = distance[arrival_table(grid, torch.device("cpu"))].transpose(
        1, 2
    )  # [C, A, C] -> [C, C, A]
    return ((after < distance[..., None]) | (after == 0)).to(device)


def _cycles(actions: int, displaced: int) -> list[list[int]]:
    """All permutations of ``actions`` that are one cycle over ``displaced`` of them and keep the others."""
    maps = []
    for first, *others in combinations(range(actions), displaced):
        for rest in permutations(others):
            follower = dict(zip((first, *rest), (*rest, first), strict=True))
            maps.append([follower.get(action, action) for action in range(actions)])
    return maps
