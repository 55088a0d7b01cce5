"""Tabular Q-learning (Watkins & Dayan 1992) from scratch on every task: what learning without a prior looks like.

    Q(s, a) += rate * (r + gamma * (1 - terminated) * max_a' Q(s', a') - Q(s, a))

Exploration is epsilon-greedy with fair ties; epsilon falls over the episodes of the trial. A time-out is no end. More
than a competitor it is a source of learning histories (Laskin et al. 2022), slow and honest.

Shape letters: B trials, S states, A actions.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bridge.errors import UserError
from bridge.protocol import Card, Clues, Decision, Step, Trial
from bridge.references.base import Reference, argmax_random_ties
from bridge.rng import Rows
from bridge.tasks.base import Discrete, TaskFamily
from bridge.tasks.goal_grid import GoalGrid


class Memory(NamedTuple):
    """What each trial's learner knows."""

    values: Float[Tensor, "B S A"]
    epsilon: Float[Tensor, " B"]
    """Of this episode."""
    episodes: Int[Tensor, " B"]
    """That the trial has."""


class QLearning(Reference):
    """On families whose states can be numbered: grids, and those that observe a number.

    Args:
        family: whose observations are numbered.
        split: is not looked at.
        rate: step size, in (0, 1].
        gamma: discount a step, in [0, 1].
        epsilon: share of random actions in the first episode; it falls linearly to 0 at ``greedy_from``.
        greedy_from: share of the trial's episodes after which actions are greedy, in (0, 1].
        first: value of what was never tried; above what can be had, it makes for systematic exploration.
    """

    def __init__(
        self,
        family: TaskFamily,
        split: str,
        rate: float = 0.5,
        gamma: float = 0.95,
        epsilon: float = 1.0,
        greedy_from: float = 0.5,
        first: float = 0.0,
    ) -> None:
        self.family, self.rate, self.gamma = family, rate, gamma
        self.epsilon, self.greedy_from, self.first = epsilon, greedy_from, first
        if not (0 < rate <= 1 and 0 <= gamma <= 1 and 0 <= epsilon <= 1 and 0 < greedy_from <= 1):
            raise UserError(
                "q_learning needs rate and greedy_from above 0 and up to 1, gamma and epsilon from 0 to 1; found "
                f"rate={rate}, greedy_from={greedy_from}, gamma={gamma}, epsilon={epsilon}."
            )
        self.states = _number_of_states(family)
        if not isinstance(family.action, Discrete):
            raise UserError(
                f"q_learning numbers actions; those of {family.id} are {family.action}."
            )
        self.actions = family.action.n
        self.card = Card(
            method="q_learning",
            reference=True,
            supervision="none",
            decode_rule="rule",
            exact_reference="heuristic",
        )

    def start(self, clues: Clues, trial: Trial, rng: Rows) -> Memory:
        """Nothing is known."""
        values = torch.full((len(rng), self.states, self.actions), self.first, device=rng.device)
        whole = torch.full((len(rng),), trial.episodes, device=rng.device)
        return Memory(values, torch.zeros(len(rng), device=rng.device), whole)

    def begin(self, memory: Memory, rng: Rows, *, episode: int) -> Memory:
        """As random as this episode is."""
        share = episode / (self.greedy_from * memory.episodes)
        return memory._replace(epsilon=self.epsilon * (1 - share).clamp(min=0.0))

    def act(self, memory: Memory, obs: Tensor, rng: Rows, *, explore: bool) -> Decision:
        """The best action known, or any."""
        values = memory.values[torch.arange(len(rng), device=rng.device), self._number(obs)]
        best = argmax_random_ties(values, rng.at("tie"))
        if not explore:
            return Decision(best)
        any_action = rng.at("any").integers(self.actions)
        return Decision(torch.where(rng.at("explore").uniform() < memory.epsilon, any_action, best))

    def observe(self, memory: Memory, step: Step, carry: Any = None) -> Memory:
        """One step of learning."""
        row, before, after = (
            torch.arange(len(step.reward)),
            self._number(step.obs),
            self._number(step.next_obs),
        )
        row = row.to(step.reward.device)
        target = step.reward + self.gamma * ~step.terminated * memory.values[row, after].amax(-1)
        error = self.rate * (target - memory.values[row, before, step.action])
        if step.live is not None:
            error = torch.where(step.live, error, 0.0)
        memory.values[row, before, step.action] += error
        return memory

    def _number(self, obs: Tensor) -> Int[Tensor, " B"]:
        return self.family.grid.number(obs) if isinstance(self.family, GoalGrid) else obs


def _number_of_states(family: TaskFamily) -> int:
    if isinstance(family, GoalGrid):
        return len(family.grid.cells)
    if isinstance(family.observation, Discrete):
        return family.observation.n
    raise UserError(f"q_learning numbers states; {family.id} observes {family.observation}.")
