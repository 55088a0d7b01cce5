"""The transfer matrix: does a task gain from being trained with another, rather than alone?

Standley et al. 2020 (arXiv 1905.07553) show that the answer depends on the budget. Both of theirs are here: a network
for two tasks against a network of the same size for each of them, and against one of half as many multiplications for
each, so that the two together are as large as the one for both. Every network takes as many gradient steps, and sees as
many environment steps of each of its tasks. Entries are differences of scores rather than ratios, since returns of RL
may be 0.

Shape letters: S training seeds, T tasks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from jaxtyping import Float

from bridge.evaluation.stats import Interval
from bridge.report.figures.drawing import WIDTH, save, style
from experiments.cells import Cell
from experiments.studies.concerns import over_seeds
from experiments.studies.concerns.making import Maker, Score
from experiments.studies.markdown import number, table

TASKS = 4
FAMILY = f"contextual_bandit:opposed=0.5,own=0.25,tasks={TASKS}"
"""Tasks 0 and 2 agree on most contexts, and so do 1 and 3, whose best actions are the opposite ones."""
STEPS = 6_000
"""Environment steps of each task."""
SLOTS = 20
"""Slots of a batch for each task: with two tasks a gradient step sees as much of each as with one."""
WIDTHS = {"the same size": 64, "half the size": 44}
"""Hidden units of a network for one task, by budget: 8 x 64 + 64 x 64 + 64 x 4 multiplications, and half of that."""

Key = tuple[str, tuple[int, ...]]
"""A size of networks, and the tasks that one is trained on."""


Gains = dict[str, dict[tuple[int, int], Interval]]
"""By budget, then by (other, task): the score of ``task`` trained with ``other`` less that alone."""


@dataclass(frozen=True)
class Transfer:
    """The measure."""

    make: Maker
    seeds: tuple[int, ...]
    rate: float
    """Learning rate of every training: nothing is tuned here."""

    def cells(self) -> dict[tuple[Key, int], Cell]:
        """Return the trainings of every task alone and of every pair, by seed."""
        alone = [(size, (task,)) for size in WIDTHS for task in range(TASKS)]
        pairs = [("the same size", pair) for pair in combinations(range(TASKS), 2)]
        return {
            (key, seed): self._cell(key, seed) for key in [*alone, *pairs] for seed in self.seeds
        }

    def _cell(self, key: Key, seed: int) -> Cell:
        size, tasks = key
        only = "+".join(map(str, tasks))
        settings = f"hidden={WIDTHS[size]},lr={self.rate:g},only={only}"
        method = f"mtrl:{settings},tasks_per_update={SLOTS * len(tasks)}"
        return self.make.trained(method, FAMILY, f"{size} {only}", seed, STEPS * len(tasks))

    def show(self, score: Score, folder: Path) -> str:
        """Draw the heat maps; return the matrices."""
        found = read({key: score(cell) for key, cell in self.cells().items()})
        draw(found, folder)
        return text(found)


def read(scores: Mapping[tuple[Key, int], Float[np.ndarray, " T"]]) -> Gains:
    """Return the gains from the scores of the cells by task."""
    by_key: dict[Key, list[np.ndarray]] = {}
    for (key, _), score in scores.items():
        by_key.setdefault(key, []).append(score)
    stacked = {key: np.stack(found) for key, found in by_key.items()}
    gain: Gains = {size: {} for size in WIDTHS}
    for _, pair in (key for key in stacked if len(key[1]) == 2):
        for other, task in (pair, pair[::-1]):
            together = stacked["the same size", pair][:, [task]]
            for size, gains in gain.items():
                alone = stacked[size, (task,)][:, [task]]
                gains[other, task] = over_seeds.gain(together, alone)
    return gain


def text(found: Gains) -> str:
    """Return a matrix for each budget."""
    parts = []
    for size, gains in found.items():
        rows = [
            (f"task {other}", *(_entry(gains, other, task) for task in range(TASKS)))
            for other in range(TASKS)
        ]
        heads = ("trained with", *(f"task {task} (+)" for task in range(TASKS)))
        parts.append(
            f"Less networks of {size}, one for each task:\n\n{table(heads, rows, texts=1)}"
        )
    return (
        "**Does a task gain from another?** Score of the task in the column if trained with that of the row, less its "
        f"score alone, on {FAMILY}; + is better\n\n" + "\n\n".join(parts)
    )


def _entry(gains: Mapping[tuple[int, int], Interval], other: int, task: int) -> str:
    return "" if other == task else number(gains[other, task])


def draw(found: Gains, folder: Path) -> Path:
    """Draw a heat map for each budget, bold where the interval is clear of 0; return the path of the PNG."""
    from matplotlib.figure import Figure

    means = {size: _means(gains) for size, gains in found.items()}
    most = max(np.nanmax(np.abs(mean)) for mean in means.values()) or 1.0
    with style():
        figure = Figure(figsize=(WIDTH, 3.0), layout="constrained")
        panels = figure.subplots(1, len(means), squeeze=False)[0]
        for (size, mean), panel in zip(means.items(), panels, strict=True):
            image = panel.imshow(mean, cmap="RdBu", vmin=-most, vmax=most)
            for (other, task), gain in found[size].items():
                clear = gain.low > 0 or gain.high < 0
                panel.text(
                    task,
                    other,
                    f"{gain.mean:+.2f}",
                    ha="center",
                    va="center",
                    fontweight="bold" if clear else "normal",
                    color="white" if abs(gain.mean) > 0.6 * most else "black",
                )
            panel.grid(visible=False)
            panel.set_xticks(range(TASKS))
            panel.set_yticks(range(TASKS))
            panel.set_xlabel("task")
            panel.set_ylabel("trained with")
            panel.set_title(f"less networks of {size}, one a task")
        figure.colorbar(image, ax=panels, label="score gained")
        return save(figure, folder / "transfer")


def _means(gains: Mapping[tuple[int, int], Interval]) -> Float[np.ndarray, "T T"]:
    """The means, NaN on the diagonal."""
    mean = np.full((TASKS, TASKS), np.nan)
    for (other, task), gain in gains.items():
        mean[other, task] = gain.mean
    return mean
