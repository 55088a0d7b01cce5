"""The study: methods explore trials, and signals from their first half are scored on failures at their end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from bridge.errors import UserError
from bridge.files import write_text
from experiments import agents
from experiments.cells import Cell
from experiments.registry import LEARNERS
from experiments.studies.arguments import play
from experiments.studies.detection import figure, tables
from experiments.studies.detection.scores import Scored, scored
from experiments.studies.histories import Histories, Responses, Size
from experiments.studies.players import Player

HOME = "id_val"
"""Trials of training tasks' distribution, from which signals and thresholds are known."""
RULE = "ucb1"
"""The fallback of methods that take gradient steps anyway."""
SIZES = {
    "smoke": Size((0, 1), 60),
    "quick": Size((0, 1, 2), 256),
    "small": Size((0, 1, 2, 3, 4), 512),
}


@dataclass(frozen=True)
class Study:
    """Methods, and the fallback that each could switch to."""

    histories: Histories

    @property
    def fallbacks(self) -> dict[Player, str]:
        """The fallback of each method that adapts, by its name in the rows.

        A method that adapts by its memory falls back on gradient steps on the same run, one that takes steps anyway on
        a rule without a prior.
        """
        tuned = {player: _tuned(player) for player in self.histories.methods}
        rule = agents.plays(RULE, self.histories.made)
        return {
            player: steps.name if steps else RULE
            for player, steps in tuned.items()
            if steps or (rule and LEARNERS[player.method].takes_steps)
        }

    def cells(self) -> list[list[Cell]]:
        """Return all cells; the second list tunes runs that the first one trains."""
        tuned = [steps for player in self.fallbacks if (steps := _tuned(player))]
        splits = (HOME, *self.histories.splits)
        return self.histories.cells([*self.fallbacks, *tuned], ("random", RULE), splits, track="F")

    def play(self) -> None:
        """Play what is missing.

        Raises:
            UserError: histories that cannot be played, a family without methods that could switch, a folder of another
                study, or a cell failed.
        """
        self.histories.check()
        if not self.fallbacks:
            raise UserError(
                f"No method of the zoo on {self.histories.made.id} could switch. Choose another family, such as bandit."
            )
        for cells in self.cells():
            if cells:
                play(cells, self.histories.out, self.histories.about | {"track": "F"})

    def scores(self) -> dict[tuple[str, str], Scored]:
        """Return the scores of signals on each axis, by the axis and the method's name."""
        cells = [cell for some in self.cells() for cell in some]
        home = self.histories.read(cells, HOME)
        return {
            (axis, player.name): scored(
                home[player.name],
                [found[player.name] for found in by_split],
                [found[fallback] for found in by_split],
                floor=home["random"],
                of_steps=_keeps_changes(player),
            )
            for axis, by_split in self._by_axis(cells)
            for player, fallback in self.fallbacks.items()
        }

    def _by_axis(self, cells: list[Cell]) -> Iterator[tuple[str, list[Mapping[str, Responses]]]]:
        """Each axis, with the responses on ``id`` and on its levels."""
        at_home = self.histories.read(cells, "id")
        axes = dict.fromkeys(split.split("/")[1] for split in self.histories.splits[1:])
        for axis in axes:
            levels = [s for s in self.histories.splits if s.startswith(f"shift/{axis}/")]
            yield axis, [at_home, *(self.histories.read(cells, split) for split in levels)]


def _tuned(player: Player) -> Player | None:
    """The same runs with gradient steps at test; None for a method that does not adapt by its memory of a trial."""
    method = LEARNERS[player.method]
    if method.reads != "trial" or not method.can_be_tuned:
        return None
    return replace(player, tuned="lora_reward" if method.transformer else "full_reward")


def _keeps_changes(player: Player) -> bool:
    """True if the states of a method are changes of its weights; those of transformers are hidden states."""
    method = LEARNERS[player.method]
    return method.takes_steps and not method.transformer


def run(study: Study) -> None:
    """Play what is missing of a study, then print and write its tables, and draw its figure.

    Raises:
        UserError: as ``Study.play``.
    """
    study.play()
    found, out = study.scores(), study.histories.out
    fallbacks = {player.name: name for player, name in study.fallbacks.items()}
    text = tables.markdown(study.histories.made.id, found, fallbacks)
    write_text(out / "detection.md", text)
    write_text(out / "detection.csv", tables.comma_separated(found))
    drawn = figure.draw(found, out / "figures")
    print(text)
    print(f"Written into {out}: detection.md and detection.csv. Drawn: {drawn}")
