"""The first steps of episodes of a family under random actions, with all arguments and results of each step.

Shape letters: B rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from bridge.protocol import Step
from bridge.references.random import Random
from bridge.rng import Rows
from bridge.tasks.base import Discrete, Outcome, TaskFamily, Tasks

ROWS = 8
SUBSETS = ([0], [ROWS - 1], list(range(ROWS - 1, -1, -1)), [2, 5], list(range(ROWS)))
"""Rows that are compared with the same rows of a whole batch."""
_STEPS = 12


class Moment(NamedTuple):
    """One step: the arguments of ``TaskFamily.step``, the observation before it, and its outcome."""

    t: int
    tasks: Tasks
    state: Any
    obs: Tensor
    action: Tensor
    noise: Rows
    outcome: Outcome

    def step(self) -> Step:
        """The transition in the contract's form; the horizon does not end it."""
        outcome = self.outcome
        step = Step(self.obs, self.action, outcome.reward, outcome.obs, *outcome.ends())
        return step._replace(succeeded=outcome.succeeded)


def noise_of(rows: Int[Tensor, " B"]) -> Rows:
    """The noise of rows by number."""
    return Rows.of("conformance", rows)


def walk(
    family: TaskFamily,
    split: str = "id",
    tasks: Tasks | None = None,
    noise: Rows | None = None,
    steps: int = _STEPS,
) -> Iterator[Moment]:
    """The first steps of an episode of the first tasks (or of these); rows that end go on, as nothing masks them."""
    rows = torch.arange(ROWS)
    tasks = family.sample(split, rows) if tasks is None else tasks
    noise = noise_of(rows) if noise is None else noise
    state, obs = family.reset(tasks, noise.at("reset"))
    agent = Random(family)
    for t in range(min(steps, family.trial(split).horizon)):
        action = agent.act(None, obs, noise.at("act", t), explore=True).action
        here = noise.at("step", t)
        outcome = family.step(tasks, state, action, here)
        yield Moment(t, tasks, state, obs, action, here, outcome)
        state, obs = outcome.state, outcome.obs


def walk_everywhere(family: TaskFamily) -> Iterator[tuple[str, Moment]]:
    """``walk`` on every split, each step with the name of its split."""
    for split in family.splits:
        for moment in walk(family, split):
            yield split, moment


def other_action(family: TaskFamily, action: Tensor) -> Tensor:
    """Another action in every row: the next one, or the mirror image in a box."""
    space = family.action
    if isinstance(space, Discrete):
        return (action + 1) % space.n
    return action.new_tensor(space.low) + action.new_tensor(space.high) - action
