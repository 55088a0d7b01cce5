"""Measures of exploration from the steps of cells, averaged over training seeds.

Shape letters: B trials, T pulls, k arms.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float

from bridge import parquet
from bridge.evaluation import exploration
from bridge.evaluation.assignment import Assignment
from bridge.evaluation.stats import Interval, Resampled, interval
from bridge.tasks.bandit import Bandit
from experiments.cells import Cell
from experiments.studies.prompts.cells import Part

PerTrial = Float[np.ndarray, " B"]


class Measures(NamedTuple):
    """A number for each trial, a mean over training seeds."""

    regret: PerTrial
    """Sum over pulls of the best arm's mean less that of the arm pulled."""
    suffix_failure: PerTrial
    least_played: PerTrial
    greedy_share: PerTrial
    reward: PerTrial
    """The mean reward of a pull, on the scale from the worst arm (0) to the best (1)."""


def read(cells: dict[Cell, Part]) -> dict[Part, Measures]:
    """Return the measures of every place of the tables, of cells that were played."""
    by_part: dict[Part, list[Measures]] = {}
    for cell, part in cells.items():
        by_part.setdefault(part, []).append(of_cell(cell))
    return {part: _mean(several) for part, several in by_part.items()}


def of_cell(cell: Cell) -> Measures:
    """Return the measures of the trials of a cell whose steps were kept."""
    (plan,) = cell.plans
    assert isinstance(cell.family, Bandit)
    rows = parquet.read(
        cell.out / "steps" / cell.place(plan).name,
        ("trial", "episode", "step", "action", "reward"),
        remedy="Remove the folder and play again.",
    )
    columns = {name: rows[name].to_numpy() for name in rows.column_names}
    actions, rewards = exploration.by_trial(columns)
    trials = torch.from_numpy(np.unique(columns["trial"]))
    tasks = cell.family.sample(plan.split, Assignment.of(cell.family, plan).task(trials))
    means = cell.family.mean_rewards(tasks).double().numpy()
    pulled = np.take_along_axis(means, actions, 1)
    return Measures(
        regret=(means.max(1, keepdims=True) - pulled).sum(1),
        suffix_failure=exploration.suffix_failure(actions, means.argmax(1)).astype(float),
        least_played=exploration.least_played(actions, cell.family.k),
        greedy_share=exploration.greedy_share(actions, rewards, cell.family.k),
        reward=exploration.scaled_reward(rewards, means),
    )


def _mean(several: Iterable[Measures]) -> Measures:
    return Measures(*(np.mean(values, 0) for values in zip(*several, strict=True)))


def estimate(values: PerTrial) -> Interval:
    """Return the mean over trials with its 95% interval, for these very weights."""
    return interval(Resampled.mean, values)


def less(found: Measures, other: Measures) -> Interval:
    """Return the mean paired difference in regret, of the trials that both have."""
    both = min(len(found.regret), len(other.regret))
    return estimate(found.regret[:both] - other.regret[:both])
