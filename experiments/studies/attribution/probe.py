"""A linear probe of a memory: the regret of the actions that are best by what can be read off the state.

The probe predicts the expected reward of each action from the state after all shots. It is fitted on ``id``, so that it
knows what a state means in training, and is read on any split; on ``id`` it is fitted on one half of the trials and
read on the other one. So it errs: compare its regret with that of a probe of the exact learner's memory.

Shape letters: S training seeds, N trials, T blocks of tasks, A actions, D features of a state.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float

from bridge.evaluation.assignment import Assignment
from bridge.evaluation.plan import Plan
from bridge.protocol import Step
from bridge.report.gaps import Regrets
from bridge.similarity.states import predicted_elsewhere, predicted_from
from bridge.tasks.base import Discrete, TaskFamily
from experiments.studies.histories import Responses


def regrets(
    family: TaskFamily, plan: Plan, responses: Responses, at_home: Plan, trained_on: Responses
) -> Regrets | None:
    """Return the regret of a probe of each seed's memory, on each block of tasks of a plan's rows.

    None if episodes have several steps, or if the method has no states.

    Args:
        family: the family.
        plan: of the split that the probe is read on.
        responses: of the method on that split.
        at_home: of ``id``.
        trained_on: of the method on ``id``.
    """
    here, home = _worth(family, plan), _worth(family, at_home)
    if here is None or home is None or responses.state is None or trained_on.state is None:
        return None
    rows = []
    for state, known in zip(responses.state[:, -1], trained_on.state[:, -1], strict=True):
        elsewhere = plan != at_home
        predicted = (
            predicted_from(known, home, state) if elsewhere else predicted_elsewhere(state, here)
        )
        rows.append(here.max(1) - here[np.arange(len(here)), predicted.argmax(1)])
    return _by_block(np.stack(rows), Assignment.of(family, plan))


def _worth(family: TaskFamily, plan: Plan) -> Float[np.ndarray, "N A"] | None:
    """The expected reward of each action in each trial; None unless an episode is a single step."""
    if family.trial(plan.split).horizon > 1 or not isinstance(family.action, Discrete):
        return None
    tasks = family.sample(plan.split, Assignment.of(family, plan).task(torch.arange(plan.trials)))
    obs, no = torch.zeros(plan.trials, dtype=torch.int64), torch.zeros(plan.trials) > 0
    columns = []
    for action in range(family.action.n):
        step = Step(obs, torch.full_like(obs, action), torch.zeros(plan.trials), obs, no, no)
        columns.append(family.expected_reward(tasks, step))
    return torch.stack(columns, 1).double().numpy()


def _by_block(values: Float[np.ndarray, "S N"], assignment: Assignment) -> Regrets:
    """The mean over the trials of each block of tasks."""
    trials = torch.arange(assignment.plan.trials)
    block = (assignment.cell(trials) // assignment.parts).numpy()
    count = np.bincount(block, minlength=assignment.blocks)
    return np.stack([np.bincount(block, row, assignment.blocks) / count for row in values])
