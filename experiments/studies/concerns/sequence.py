"""Tasks in sequence: what each is worth before, right after and long after it was trained.

``R[k, i]`` is the score of task i after the first k + 1 of T tasks. From it (Lopez-Paz and Ranzato 2017, arXiv
1706.08840, with scores in place of accuracies):

* forgotten: ``R[i, i] - R[T - 1, i]``, the mean over all tasks but the last;
* forward transfer: ``R[i - 1, i]``, the mean over all tasks but the first; an untrained policy's score is about 0;
* learned: ``R[i, i]`` less the score of task i alone with as many steps, the mean over all tasks but the first.

Shape letters: S training seeds, T tasks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from bridge.evaluation.stats import Interval
from bridge.tasks import family as make_family
from experiments.cells import Cell
from experiments.studies.concerns import over_seeds
from experiments.studies.concerns.making import Maker, Score
from experiments.studies.concerns.mitigations import Mitigation
from experiments.studies.concerns.testbeds import Testbed
from experiments.studies.markdown import number, table

ALONE = "alone"

Key = tuple[str, int]
"""The name of a mitigation and the number of tasks that it has been trained on; or ``ALONE`` and a task."""


@dataclass(frozen=True)
class Sequence:
    """The measure."""

    make: Maker
    testbed: Testbed
    seeds: tuple[int, ...]
    tuned: Mapping[Mitigation, float]
    """Plain training and what keeps earlier tasks, with the configuration of each."""
    rate: float
    """Learning rate of the tasks alone."""
    whole: Mapping[tuple[Key, int], Cell]
    """The trainings on all tasks, by seed."""

    def cells(self) -> dict[tuple[Key, int], Cell]:
        """Return the trainings on the first tasks of the sequence, and on each task alone, by seed."""
        bed, family = self.testbed, self.testbed.at(self.testbed.top)
        tasks = make_family(family).tasks
        made = dict(self.whole)
        for seed in self.seeds:
            for row, tuned in self.tuned.items():
                for count in range(1, tasks):
                    only = "+".join(map(str, range(count)))
                    first = row.also(f"only={only}").spec(bed, tuned)
                    name, steps = f"{row.name} of {count}", bed.steps * count / tasks
                    made[(row.name, count), seed] = self.make.trained(
                        first, family, name, seed, steps
                    )
            for task in range(1, tasks):
                alone = Mitigation(ALONE, settings=f"only={task}", together=True)
                spec, name, steps = alone.spec(bed, self.rate), f"{ALONE} {task}", bed.steps / tasks
                made[(ALONE, task), seed] = self.make.trained(spec, family, name, seed, steps)
        return made

    def show(self, score: Score, folder: Path) -> str:
        """Return the table. (There is no figure.)"""
        return text(read({key: score(cell) for key, cell in self.cells().items()}))


class Kept(NamedTuple):
    """The measures of a mitigation."""

    last: Interval
    """Mean score of all tasks at the end."""
    forgotten: Interval
    forward: Interval
    learned: Interval


def read(scores: Mapping[tuple[Key, int], Float[np.ndarray, " T"]]) -> dict[str, Kept]:
    """Return what each mitigation keeps, from the scores of the cells by task."""
    by_key: dict[Key, list[np.ndarray]] = {}
    for (key, _), score in scores.items():
        by_key.setdefault(key, []).append(score)
    stacked = {key: np.stack(found) for key, found in by_key.items()}
    names = dict.fromkeys(name for name, _ in stacked if name != ALONE)
    return {name: _kept(name, stacked) for name in names}


def _kept(name: str, stacked: Mapping[Key, Float[np.ndarray, "S T"]]) -> Kept:
    tasks = range(len(next(iter(stacked.values()))[0]))
    after = [stacked[name, task + 1] for task in tasks]
    learned = np.stack([after[task][:, task] for task in tasks], 1)
    before = np.stack([after[task - 1][:, task] for task in tasks[1:]], 1)
    alone = np.stack([stacked[ALONE, task][:, task] for task in tasks[1:]], 1)
    return Kept(
        over_seeds.mean(after[-1]),
        over_seeds.mean((learned - after[-1])[:, :-1]),
        over_seeds.mean(before),
        over_seeds.gain(learned[:, 1:], alone),
    )


def text(found: Mapping[str, Kept]) -> str:
    """Return the table of all mitigations."""
    heads = (
        "mitigation",
        "score at the end (+)",
        "forgotten (-)",
        "forward transfer (+)",
        "learned, less alone (+)",
    )
    rows = [(name, *map(number, kept)) for name, kept in found.items()]
    return (
        "**What is kept of a sequence?** (+) more is better, (-) less is better; docs/methods-and-families.md defines "
        f"the columns\n\n{table(heads, rows, texts=1)}"
    )
