"""The reference agents of grids with a hidden goal: told it, sweeping for it, planning for it, guessing it.

* ``Oracle`` is told the task and plays its optimal action values.
* ``Search`` sweeps the room column by column; it knows nothing but the room and what the goal pays.
* ``bayes`` knows the distribution behind the split and follows the best visiting order that we find for it.
* ``bayes_train`` is the same agent for the training distribution and the trained clock, whatever is played.
* ``Thompson`` walks to a uniform draw of the training goals that are not refuted, and draws anew when it is.
* ``Psrl`` draws once an episode and stays there (Osband et al. 2013, "(More) Efficient Reinforcement Learning via
  Posterior Sampling").

A plan that reaches its bound is optimal for the agent's model of the task, and its card says "exact".
"""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor

from bridge.protocol import Card, Clues, Trial
from bridge.references.base import Reference
from bridge.references.grid.oracle import Oracle
from bridge.references.grid.search_plan import Plan, best_plan, serpentine
from bridge.references.grid.searchers import Memory, PermutedSearcher, Searcher, SignedSearcher
from bridge.references.grid.visiting_orders import Hunt, Order, arrivals, toward_table
from bridge.rng import Rows
from bridge.tasks.goal_grid import GoalGrid, Grid

__all__ = ["Oracle", "Psrl", "Search", "Thompson", "bayes", "bayes_train"]


class Search(Searcher):
    """Every cell of the room once, without a prior."""

    def __init__(self, family: GoalGrid, split: str) -> None:
        super().__init__(
            family.grid, serpentine(family.grid), _card("search", "heuristic", supervision="none")
        )


def bayes(family: GoalGrid, split: str) -> Reference:
    """Knows what ``split`` draws: its goals, its clock, and how its axis changes pay and actions.

    Slips change nothing in how it plays: it goes back to the nearest step of its plan, as ``bayes_train`` does, and is
    called near. What a plan that expects slips would earn is not known.
    """
    s, grid, plan = family.split(split), _played(family, split), _plan(family, split)
    if negated := family.value(s, "reward_sign", 0.0):
        exact = negated == 1 or (plan.exact and _sign_is_free(grid, plan))
        return SignedSearcher(
            grid, plan.order, _card("bayes", "exact" if exact else "near"), negated
        )
    if displaced := int(family.value(s, "action_permutation", 0.0)):
        return PermutedSearcher(grid, plan.order, _card("bayes", "near"), displaced)
    exact = plan.exact and not family.value(s, "slip", 0.0)
    card = _card("bayes", "exact" if exact else "near")
    return Searcher(grid, plan.order, card, factor=family.value(s, "reward_scale", 1.0))


def bayes_train(family: GoalGrid, split: str) -> Reference:
    """Takes every split for the training distribution, played as long as in training."""
    plan = _plan(family, "train")
    card = _card("bayes_train", "exact" if plan.exact else "near")
    return Searcher(_played(family, split), plan.order, card)


class Thompson(Searcher):
    """Posterior sampling that draws anew when its draw is refuted, and in every episode.

    Going through the cells in a random order, skipping those refuted on the way, is that very rule.
    """

    def __init__(self, family: GoalGrid, split: str) -> None:
        super().__init__(family.grid, _training_cells(family), _card("thompson", "heuristic"))

    def start(self, clues: Clues, trial: Trial, rng: Rows) -> Memory:
        """``draw [B, C]`` orders the cells."""
        memory = super().start(clues, trial, rng)
        return memory | {"draw": torch.zeros_like(memory["possible"], dtype=torch.float32)}

    def begin(self, memory: Memory, rng: Rows, *, episode: int) -> Memory:
        """A new order."""
        return memory | {"draw": rng.uniform(len(self.rank))}

    def _target(self, memory: Memory, cell: Int[Tensor, " B"]) -> Int[Tensor, " B"]:
        return self._first(memory, memory["draw"])


class Psrl(Searcher):
    """Posterior sampling that draws once an episode and stays there; a goal once found is the next draw."""

    def __init__(self, family: GoalGrid, split: str) -> None:
        super().__init__(family.grid, _training_cells(family), _card("psrl", "heuristic"))

    def start(self, clues: Clues, trial: Trial, rng: Rows) -> Memory:
        """``draw [B]`` is the cell of this episode."""
        memory = super().start(clues, trial, rng)
        return memory | {"draw": torch.zeros_like(memory["goal"])}

    def begin(self, memory: Memory, rng: Rows, *, episode: int) -> Memory:
        """A new draw."""
        return memory | {"draw": self._first(memory, rng.uniform(len(self.rank)))}

    def _target(self, memory: Memory, cell: Int[Tensor, " B"]) -> Int[Tensor, " B"]:
        return memory["draw"]


def _card(method: str, exact: str, supervision: str = "prior") -> Card:
    return Card(
        method=method,
        reference=True,
        supervision=supervision,
        decode_rule="rule",
        exact_reference=exact,
    )


def _played(family: GoalGrid, split: str) -> Grid:
    """The grid with the horizon and the episodes of ``split``."""
    trial = family.trial(split)
    return family.grid._replace(horizon=trial.horizon, episodes=trial.episodes)


def _plan(family: GoalGrid, split: str) -> Plan:
    """The best plan for the goals and the clock of ``split``."""
    return best_plan(Hunt(_played(family, split), family.prior_goals(split)))


def _sign_is_free(grid: Grid, plan: Plan) -> bool:
    """Whether the first step shows the sign and cannot meet the goal, so that either sign is then played optimally."""
    start = grid.start_number
    return (
        grid.elsewhere != 0
        and arrivals(grid)[start, toward_table(grid)[start, plan.order[0]]] not in plan.order
    )


def _training_cells(family: GoalGrid) -> Order:
    return tuple(family.grid.number_of(goal) for goal in family.prior_goals("train"))
