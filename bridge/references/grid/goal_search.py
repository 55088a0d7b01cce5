"""Reference agents without clues on grids with a hidden goal: sweeping, planning and posterior sampling.

* ``Search`` sweeps the room column by column; it knows only the room and the rewards.
* ``bayes`` knows the distribution behind the split and follows the best visiting order found for it.
* ``bayes_train`` is the same agent for the training distribution and the trained lengths, on every split;
  ``bayes_tasks`` for the training tasks of ``tasks=N`` alone.
* ``Thompson`` walks to a uniform draw of the training goals that are not refuted, and draws again when it is.
* ``Psrl`` draws once an episode and stays there (Osband et al. 2013, "(More) Efficient Reinforcement Learning via
  Posterior Sampling").

A plan that reaches its bound is optimal for the agent's model of the task, and its card has "exact".
"""

from __future__ import annotations

from typing import ClassVar

from bridge.protocol import Card
from bridge.references.base import Reference, reference_card
from bridge.references.grid.search_plan import Plan, best_plan, serpentine
from bridge.references.grid.searchers import (
    Cells,
    Memory,
    PermutedSearcher,
    Searcher,
    SignedSearcher,
)
from bridge.references.grid.visiting_orders import SearchProblem, arrivals, toward_table
from bridge.rng import Rows
from bridge.tasks.goal_grid import GoalGrid, Grid


class Search(Searcher):
    """Every cell of the room once, without a prior."""

    def __init__(self, family: GoalGrid, split: str) -> None:
        card = reference_card("search", "heuristic", supervision="none")
        super().__init__(family.grid, serpentine(family.grid), card)


def bayes(family: GoalGrid, split: str) -> Reference:
    """The best plan for the distribution of ``split``: goals, lengths, and the axis of its rewards or actions.

    Slips do not change its plan: it returns to the nearest step of the plan, as ``bayes_train`` does, and is called
    near. The return of a plan that accounts for slips is unknown.
    """
    s, grid, plan = family.split(split), _played(family, split), _plan(family, split)
    if negated := family.value(s, "reward_sign", 0.0):
        exact = negated == 1 or (plan.exact and _sign_is_free(grid, plan))
        return SignedSearcher(grid, plan.order, _card("bayes", exact), negated)
    if displaced := int(family.value(s, "action_permutation", 0.0)):
        return PermutedSearcher(grid, plan.order, _card("bayes", False), displaced)
    card = _card("bayes", plan.exact and not family.value(s, "slip", 0.0))
    return Searcher(grid, plan.order, card, factor=family.value(s, "reward_scale", 1.0))


def bayes_train(family: GoalGrid, split: str) -> Reference:
    """The best plan for the training distribution and the trained lengths, on every split."""
    plan = _plan(family, "train")
    return Searcher(_played(family, split), plan.order, _card("bayes_train", plan.exact))


def bayes_tasks(family: GoalGrid, split: str) -> Reference:
    """The best plan for the goals of the training tasks alone (``tasks=N``) and the trained lengths, on every split."""
    grid = _played(family, "train")
    plan = best_plan(SearchProblem(grid, family.goals("train")[: family.tasks]))
    return Searcher(_played(family, split), plan.order, _card("bayes_tasks", plan.exact))


class _PosteriorSampling(Searcher):
    """A searcher whose prior is uniform over the training goals."""

    name: ClassVar[str]

    def __init__(self, family: GoalGrid, split: str) -> None:
        cells = tuple(family.grid.number_of(goal) for goal in family.prior_goals("train"))
        super().__init__(family.grid, cells, reference_card(self.name, "heuristic"))


class Thompson(_PosteriorSampling):
    """Posterior sampling that draws again when its draw is refuted, and in every episode.

    Equivalently, it visits the cells in a random order, without those refuted on the way.
    """

    name = "thompson"

    def begin(self, memory: Memory, rng: Rows, *, episode: int) -> Memory:
        """A new random order: rank ``draw [B, C]``."""
        return memory | {"draw": rng.uniform(len(self.rank))}

    def _target(self, memory: Memory, cell: Cells) -> Cells:
        return self._first(memory, memory["draw"])


class Psrl(_PosteriorSampling):
    """Posterior sampling that draws once an episode and stays there; after the goal is found it is drawn."""

    name = "psrl"

    def begin(self, memory: Memory, rng: Rows, *, episode: int) -> Memory:
        """A new draw: cell ``draw [B]``."""
        return memory | {"draw": self._first(memory, rng.uniform(len(self.rank)))}

    def _target(self, memory: Memory, cell: Cells) -> Cells:
        return memory["draw"]


def _card(method: str, exact: bool) -> Card:
    return reference_card(method, "exact" if exact else "near")


def _played(family: GoalGrid, split: str) -> Grid:
    """The grid with the horizon and the episodes of ``split``."""
    trial = family.trial(split)
    return family.grid._replace(horizon=trial.horizon, episodes=trial.episodes)


def _plan(family: GoalGrid, split: str) -> Plan:
    """The best plan for the goals and the lengths of ``split``."""
    return best_plan(SearchProblem(_played(family, split), family.prior_goals(split)))


def _sign_is_free(grid: Grid, plan: Plan) -> bool:
    """True if the first step reveals the sign and cannot reach the goal, so that both signs are played optimally."""
    start = grid.start_number
    first = arrivals(grid)[start, toward_table(grid)[start, plan.order[0]]]
    return grid.elsewhere != 0 and first not in plan.order
