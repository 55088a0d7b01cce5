"""The study: methods observe the same histories, and their responses are compared."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from experiments.cells import Cell
from experiments.studies.histories import Size
from experiments.studies.history_study import HistoryStudy, Report
from experiments.studies.mirror import figure, tables
from experiments.studies.mirror.likeness import BEST, LEARNER
from experiments.studies.mirror.numbers import Numbers, numbers
from experiments.studies.players import Player

REFERENCES = ("random", "ucb1", LEARNER, BEST)
"""The floor, and the exact learners."""
ON_LORA = ("icl_rl", "mt")
"""Methods whose runs are fine-tuned by LoRA."""


class Study(HistoryStudy):
    """What is compared."""

    name = "mirror"
    levels = (1, 2, 3, 4)
    sizes: ClassVar[dict[str, Size]] = {
        "smoke": Size((0, 1, 2), 40),
        "quick": Size((0, 1, 2), 256),
        "small": Size((0, 1, 2, 3, 4), 512),
    }

    @property
    def players(self) -> list[Player]:
        """The learned methods of the zoo, and those of ``ON_LORA`` with gradient steps on adapters at test."""
        plain = self.histories.methods
        return plain + [replace(p, tuned="lora_reward") for p in plain if p.method in ON_LORA]

    def cells(self, splits: tuple[str, ...] = ()) -> list[list[Cell]]:
        """Return the cells of splits (empty: of all); the second list tunes runs that the first one trains."""
        return self.histories.cells(
            self.players, REFERENCES, splits, signs=("order",), signs_on=("id",)
        )

    def numbers(self) -> dict[str, Numbers]:
        """Return the numbers of each split, one after another: states take memory."""
        return {split: self._numbers(split) for split in self.histories.splits}

    def _numbers(self, split: str) -> Numbers:
        cells = [cell for some in self.cells((split,)) for cell in some]
        return numbers(self.histories.read(cells, split))

    def report(self) -> Report:
        """Return the tables, the numbers by name, and the figure."""
        found, extremes = self.numbers(), self.histories.extremes
        return Report(
            tables.markdown(self.histories.made.id, found, extremes),
            ("split", "measure", "one", "other"),
            tables.named(found),
            figure.draw(
                {split: found[split] for split in extremes}, self.histories.out / "figures"
            ),
        )
