"""Tabular Q-learning (Watkins & Dayan 1992) from scratch on every task: learning without a prior.

    Q(s, a) += rate * (r + gamma * (1 - terminated) * max_a' Q(s', a') - Q(s, a))

Exploration is epsilon-greedy with random ties; epsilon falls over the episodes of the trial. A time-out does not
terminate. Its main use is as a source of learning histories (Laskin et al. 2022).

Shape letters: B trials, S states, A actions.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bridge.config import PositiveShare, Share, check_bound
from bridge.errors import UserError
from bridge.protocol import Clues, Decision, Step, Trial
from bridge.references.base import (
    Reference,
    argmax_random_ties,
    epsilon_greedy,
    filled,
    reference_card,
)
from bridge.rng import Rows
from bridge.tasks.base import Discrete, TaskFamily, row_entries
from bridge.tasks.goal_grid import GoalGrid


class Memory(NamedTuple):
    """The state of each trial's learner."""

    values: Float[Tensor, "B S A"]
    epsilon: Float[Tensor, " B"]
    """Share of random actions in this episode."""
    episodes: Int[Tensor, " B"]
    """Number of episodes of the trial."""


class QLearning(Reference):
    """Tabular Q-learning on families with numbered states: grids, and those that observe an integer.

    Args:
        family: the family.
        split: ignored.
        rate: step size.
        gamma: discount a step.
        epsilon: share of random actions in the first episode; it falls linearly to 0 at ``greedy_from``.
        greedy_from: share of the trial's episodes after which actions are greedy.
        first: initial value of every action; above the attainable return it causes systematic exploration.
    """

    card = reference_card("q_learning", "heuristic", supervision="none")

    def __init__(
        self,
        family: TaskFamily,
        split: str,
        rate: PositiveShare = 0.5,
        gamma: Share = 0.95,
        epsilon: Share = 1.0,
        greedy_from: PositiveShare = 0.5,
        first: float = 0.0,
    ) -> None:
        self.family, self.rate, self.gamma = family, rate, gamma
        self.epsilon, self.greedy_from, self.first = epsilon, greedy_from, first
        check_bound("q_learning", "above 0", rate=rate, greedy_from=greedy_from)
        check_bound(
            "q_learning",
            "from 0 to 1",
            rate=rate,
            greedy_from=greedy_from,
            gamma=gamma,
            epsilon=epsilon,
        )
        if isinstance(family, GoalGrid):
            self.states = len(family.grid.cells)
        elif isinstance(family.observation, Discrete):
            self.states = family.observation.n
        else:
            raise UserError(
                f"q_learning needs numbered states; {family.id} observes {family.observation}."
            )
        if not isinstance(family.action, Discrete):
            raise UserError(
                f"q_learning needs discrete actions; those of {family.id} are {family.action}."
            )
        self.actions = family.action.n

    def start(self, clues: Clues, trial: Trial, rng: Rows) -> Memory:
        """All values are ``first``."""
        values = filled(rng, self.first, self.states, self.actions)
        return Memory(values, filled(rng, 0.0), filled(rng, trial.episodes))

    def begin(self, memory: Memory, rng: Rows, *, episode: int) -> Memory:
        """Set ``epsilon`` for this episode."""
        share = episode / (self.greedy_from * memory.episodes)
        return memory._replace(epsilon=self.epsilon * (1 - share).clamp(min=0.0))

    def act(self, memory: Memory, obs: Tensor, rng: Rows, *, explore: bool) -> Decision:
        """The action of highest value, or a random one."""
        values = row_entries(memory.values, self._number(obs))
        best = Decision(argmax_random_ties(values, rng.at("tie")))
        if not explore:
            return best
        return epsilon_greedy(best, memory.epsilon, rng.at("explore"), rng.at("any"), self.actions)

    def observe(self, memory: Memory, step: Step, carry: Any = None) -> Memory:
        """Update the value of the action taken, in place."""
        row = torch.arange(len(step.reward), device=step.reward.device)
        before, after = self._number(step.obs), self._number(step.next_obs)
        target = step.reward + self.gamma * ~step.terminated * memory.values[row, after].amax(-1)
        error = self.rate * (target - memory.values[row, before, step.action])
        memory.values[row, before, step.action] += torch.where(step.acted, error, 0.0)
        return memory

    def _number(self, obs: Tensor) -> Int[Tensor, " B"]:
        return self.family.grid.number(obs) if isinstance(self.family, GoalGrid) else obs
