"""Cells of the study: a training on the known tasks of a family, which is then played on them.

Shape letters: T tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float

from bridge import files
from bridge.evaluation.plan import Plan
from bridge.tasks import family as make_family
from bridge.training.budget import Budget
from experiments import agents, runs
from experiments.cells import Cell

REFERENCES = ("random", "oracle")
"""The 0 and the 1 of scores, on families that have them."""


Score = Callable[[Cell], Float[np.ndarray, " T"]]
"""The score of a cell by task, once it has been played."""


class Measure(Protocol):
    """One more question to the same testbeds: a list of cells, and a reader of them."""

    def cells(self) -> Mapping[Any, Cell]:
        """Return the cells that it needs."""
        ...

    def show(self, score: Score, folder: Path) -> str:
        """Draw its figure, if it has one, into ``folder``, and return its table as Markdown."""
        ...


@dataclass(frozen=True)
class Maker:
    """Makes the cells of one folder."""

    out: Path
    trials: int
    """Trials of an evaluation."""
    share: float = 1.0
    """Share of the budgets that is trained."""
    eval_seed: int = 0
    """Seed of the noise of evaluation."""

    def trained(self, method: str, family: str, name: str, seed: int, steps: float) -> Cell:
        """Return the cell of a method with its settings, trained for ``steps`` environment steps.

        Args:
            method: with its settings.
            family: with its known tasks.
            name: the method's name in the rows.
            seed: the training seed.
            steps: the whole budget, of which ``share`` is trained.
        """
        made = make_family(family)
        training = runs.Run(
            method=method,
            family=made.id,
            seed=seed,
            budget=Budget(float(round(self.share * steps)), "steps"),
            evaluations=0,  # of tasks that are not known, which this study does not ask about
            out=self.out / "runs" / f"{files.name_of(made.id, method)}--s{seed}",
        )
        return Cell(made, method, name, seed, (self._plan,), self.out, training=training)

    def references(self, families: Iterable[str]) -> list[Cell]:
        """Return the cells of random play and of the oracle, if there is one, on each family."""
        made = [make_family(family) for family in dict.fromkeys(families)]
        return [
            Cell(family, name, name, 0, (self._plan,), self.out)
            for family in made
            for name in REFERENCES
            if agents.plays(name, family)
        ]

    @property
    def _plan(self) -> Plan:
        """The known tasks."""
        return Plan(split="train", trials=self.trials, eval_seed=self.eval_seed)
