"""Measures of exploration from the steps of cells, of every training seed and trial.

Shape letters: S training seeds, B trials, T pulls, k arms.
"""

from __future__ import annotations

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

PerTrial = Float[np.ndarray, "S B"]


class Measures(NamedTuple):
    """A number for each training seed and trial; seeds play the same trials."""

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
    return {
        part: Measures(*(np.concatenate(values) for values in zip(*several, strict=True)))
        for part, several in by_part.items()
    }


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
    measures = Measures(
        regret=(means.max(1, keepdims=True) - pulled).sum(1),
        suffix_failure=exploration.suffix_failure(actions, means.argmax(1)).astype(float),
        least_played=exploration.least_played(actions, cell.family.k),
        greedy_share=exploration.greedy_share(actions, rewards, cell.family.k),
        reward=exploration.scaled_reward(rewards, means),
    )
    return Measures(*(values[None] for values in measures))


def estimate(values: PerTrial) -> Interval:
    """Return the mean over trials with its 95% interval, for these very weights."""
    return interval(Resampled.mean, values.mean(0))


def median(values: PerTrial) -> float:
    """Return the median over trials, a mean over seeds."""
    return float(np.median(values, 1).mean())


def less(found: Measures, other: Measures) -> Interval:
    """Return the mean paired difference in regret, of the trials that both have."""
    both = min(found.regret.shape[1], other.regret.shape[1])
    return interval(Resampled.mean, found.regret[:, :both].mean(0) - other.regret[:, :both].mean(0))
