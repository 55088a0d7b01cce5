"""How a family is probed: the first steps of an episode under random actions, with all that went into each step.

Shape letters: B rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from bridge.conformance.compare import first_difference
from bridge.conformance.rules import demand
from bridge.protocol import Step
from bridge.references.random import Random
from bridge.rng import Rows
from bridge.tasks.base import Discrete, Outcome, TaskFamily, Tasks

ROWS = 8
SUBSETS = ([0], [ROWS - 1], list(range(ROWS - 1, -1, -1)), [2, 5], list(range(ROWS)))
"""Rows that are compared with the same rows of a whole batch."""
_STEPS = 12


class Moment(NamedTuple):
    """One step of a walk: where it began, what was done, under which noise, and what came of it."""

    t: int
    state: Any
    obs: Tensor
    action: Tensor
    noise: Rows
    outcome: Outcome

    def step(self) -> Step:
        """As the contract has it, with no time-out."""
        never = torch.zeros(len(self.action), dtype=torch.bool)
        ended = self.outcome.terminated
        return Step(
            self.obs,
            self.action,
            self.outcome.reward,
            self.outcome.obs,
            never if ended is None else ended,
            never,
        )


def noise_of(rows: Int[Tensor, " B"]) -> Rows:
    """The noise of rows by number."""
    return Rows.of("conformance", rows)


def tasks_of(family: TaskFamily, split: str, rows: int = ROWS) -> tuple[Tasks, Rows]:
    """The first tasks of a split and the noise of as many rows."""
    ids = torch.arange(rows)
    return family.sample(split, ids), noise_of(ids)


def walk(
    family: TaskFamily, split: str, tasks: Tasks, noise: Rows, steps: int = _STEPS
) -> Iterator[Moment]:
    """The first steps of an episode; rows that end go on, since nobody masks them here."""
    state, obs = family.reset(tasks, noise.at("reset"))
    agent = Random(family)
    for t in range(min(steps, family.trial(split).horizon)):
        action = agent.act(None, obs, noise.at("act", t), explore=True).action
        here = noise.at("step", t)
        outcome = family.step(tasks, state, action, here)
        yield Moment(t, state, obs, action, here, outcome)
        state, obs = outcome.state, outcome.obs


def other_action(family: TaskFamily, action: Tensor) -> Tensor:
    """Another action in every row: the next one, or the mirror image in a box."""
    space = family.action
    if isinstance(space, Discrete):
        return (action + 1) % space.n
    return action.new_tensor(space.low) + action.new_tensor(space.high) - action


def demand_same(found: Any, expected: Any, what: str, remedy: str, step: int | None = None) -> None:
    """Demand that two trees are the same, bit for bit."""
    difference = first_difference(found, expected)
    if difference is not None:
        row, shown = difference
        demand(False, expected=what, found=shown, remedy=remedy, row=row, step=step)
