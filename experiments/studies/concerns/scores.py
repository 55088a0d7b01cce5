"""Scores by task from the rows of the study, and what they say: differences with intervals.

Shape letters: S training seeds, T tasks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float

from bridge.evaluation import results
from bridge.evaluation.stats import Interval
from bridge.tasks.base import TaskFamily
from experiments.cells import Cell
from experiments.studies.concerns import over_seeds
from experiments.studies.concerns.making import Score
from experiments.studies.concerns.mitigations import Mitigation
from experiments.studies.concerns.testbeds import Testbed


class Entry(NamedTuple):
    """A mitigation on a testbed at a value of its dial."""

    testbed: Testbed
    value: str
    row: Mitigation

    @property
    def family(self) -> str:
        """The family that is played."""
        return self.testbed.at(self.value)

    @property
    def key(self) -> tuple[str, str, str]:
        """The names of testbed, value and mitigation."""
        return self.testbed.name, self.value, self.row.name


class Found(NamedTuple):
    """What an entry earned, and what it cost."""

    score: Float[np.ndarray, "S T"]
    """Of a trial, by seed and task: 0 is random play, 1 the oracle."""
    seconds: float
    """Of a gradient step, on average over the trainings."""
    tuned: float
    """The configuration that was chosen."""


@dataclass(frozen=True)
class Results:
    """All entries."""

    found: dict[tuple[str, str, str], Found]
    """By ``Entry.key``."""
    entries: tuple[Entry, ...]

    def score(self, entry: Entry) -> Interval:
        """Return the mean score of an entry."""
        return over_seeds.mean(self.found[entry.key].score)

    def by_task(self, entry: Entry) -> list[Interval]:
        """Return the mean score of an entry on each task."""
        return [over_seeds.mean(task[:, None]) for task in self.found[entry.key].score.T]

    def gain(self, entry: Entry, other: Entry) -> Interval:
        """Return the mean score of an entry less that of another on the same tasks."""
        return over_seeds.gain(*(self.found[which.key].score for which in (entry, other)))


def best(tuning: Mapping[tuple[Entry, float], Cell], score: Score) -> dict[tuple[str, str], float]:
    """Return the configuration with the highest mean score, by names of testbed and mitigation; ties: the first."""
    chosen: dict[tuple[str, str], tuple[float, float]] = {}
    for (entry, tuned), cell in tuning.items():
        key = entry.testbed.name, entry.row.name
        mean = float(score(cell).mean())
        if key not in chosen or mean > chosen[key][0]:
            chosen[key] = mean, tuned
    return {key: tuned for key, (_, tuned) in chosen.items()}


def read(
    final: Mapping[tuple[Entry, int], Cell],
    score: Score,
    tuned: Mapping[tuple[str, str], float],
) -> Results:
    """Return the scores of the cells, which have been played."""
    by_entry: dict[tuple[str, str, str], list[Cell]] = {}
    entries = {entry.key: entry for entry, _ in final}
    for (entry, _), cell in final.items():
        by_entry.setdefault(entry.key, []).append(cell)
    found = {
        key: Found(
            np.stack([score(cell) for cell in cells]),
            float(np.mean([_seconds(cell) for cell in cells])),
            tuned[key[0], key[2]],
        )
        for key, cells in by_entry.items()
    }
    return Results(found, tuple(entries.values()))


def scorer(references: Iterable[Cell]) -> Score:
    """Return the score of cells on the families of ``references``: random play and the oracle, which are played.

    On a family without an oracle, 1 is the largest possible return.
    """
    returns = {(cell.family.id, cell.method): _returns(cell) for cell in references}

    def score(cell: Cell) -> Float[np.ndarray, " T"]:
        low = returns[cell.family.id, "random"]
        high = returns.get((cell.family.id, "oracle"))
        if high is None:
            high = _bound(cell.family)
        return (_returns(cell) - low) / (high - low)

    return score


def _bound(family: TaskFamily) -> Float[np.ndarray, " T"]:
    """The largest possible return of a trial of each known task."""
    tasks, trial = family.sample("train", torch.arange(family.tasks)), family.trial("train")
    return family.optimal_return(tasks, trial).double().numpy() * trial.episodes


def _returns(cell: Cell) -> Float[np.ndarray, " T"]:
    """The mean return of a trial of each task."""
    task, point, n, total = _columns(
        cell, "task_id", "k_episodes", "trial_return_n", "trial_return_sum"
    )
    last = point == point.max()
    sums = [np.bincount(task[last], part[last]) for part in (total, n)]
    return sums[0] / sums[1]


def _seconds(cell: Cell) -> float:
    """Seconds of training for each gradient step."""
    seconds, steps = _columns(cell, "train_seconds", "train_grad_steps")
    return float(seconds[0] / steps[0])


def _columns(cell: Cell, *names: str) -> list[np.ndarray]:
    (plan,) = cell.plans
    table = results.read_file(cell.place(plan), names)
    return [table[name].to_numpy() for name in names]
