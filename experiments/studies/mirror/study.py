"""The study: methods observe the same histories, and their responses are compared."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bridge.files import write_text
from experiments.cells import Cell
from experiments.studies.arguments import play
from experiments.studies.histories import Histories, Responses, Size
from experiments.studies.mirror import figure, tables
from experiments.studies.mirror.likeness import BEST, LEARNER
from experiments.studies.mirror.numbers import Numbers, numbers
from experiments.studies.players import Player

REFERENCES = ("random", "ucb1", LEARNER, BEST)
"""The floor, and the exact learners."""
ON_LORA = ("icl_rl", "mt")
"""Methods whose runs are fine-tuned by LoRA."""
SIZES = {
    "smoke": Size((0, 1, 2), 40),
    "quick": Size((0, 1, 2), 256),
    "small": Size((0, 1, 2, 3, 4), 512),
}


@dataclass(frozen=True)
class Study:
    """What is compared."""

    histories: Histories

    @property
    def players(self) -> list[Player]:
        """The learned methods of the zoo, and those of ``ON_LORA`` with gradient steps on adapters at test."""
        plain = self.histories.methods
        return plain + [replace(p, tuned="lora_reward") for p in plain if p.method in ON_LORA]

    def forward(self, splits: tuple[str, ...] = ()) -> list[list[Cell]]:
        """Return the cells of splits (empty: of all); the second list tunes runs that the first one trains."""
        return self.histories.cells(self.players, REFERENCES, splits)

    def backward(self) -> list[Cell]:
        """Return those of ``id`` with the episodes of histories in reverse order. Their runs have to be there."""
        out = self.histories.out / "reversed"
        lists = self.forward(("id",))
        return [replace(cell, out=out, policies="backward") for cells in lists for cell in cells]

    def play(self) -> None:
        """Play what is missing.

        Raises:
            UserError: histories that cannot be played, a folder of another study, or a cell failed.
        """
        self.histories.check()
        for cells in self.forward():
            if cells:
                play(cells, self.histories.out, self.histories.about)
        backward, about = self.backward(), self.histories.about | {"reversed": True}
        play(backward, backward[0].out, about)

    def numbers(self) -> dict[str, Numbers]:
        """Return the numbers of each split, one after another: states take memory."""
        return {split: numbers(self._responses(split)) for split in self.histories.splits}

    def orders(self) -> tuple[dict[str, Responses], dict[str, Responses]]:
        """Return the responses to the histories of ``id``, and to the same in reverse order."""
        return self._responses("id"), self.histories.read(self.backward(), "id")

    def _responses(self, split: str) -> dict[str, Responses]:
        cells = [cell for some in self.forward((split,)) for cell in some]
        return self.histories.read(cells, split)


def run(study: Study) -> None:
    """Play what is missing of a study, then print and write its tables, and draw its figure.

    Raises:
        UserError: as ``Study.play``.
    """
    study.play()
    found, out, extremes = study.numbers(), study.histories.out, study.histories.extremes
    text = tables.markdown(study.histories.made.id, found, extremes, study.orders())
    write_text(out / "mirror.md", text)
    write_text(out / "mirror.csv", tables.comma_separated(found))
    drawn = figure.draw({split: found[split] for split in extremes}, out / "figures")
    print(text)
    print(f"Written into {out}: mirror.md and mirror.csv. Drawn: {drawn}")
