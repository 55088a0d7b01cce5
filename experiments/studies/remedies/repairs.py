"""The cost of remedies in distribution, and their gain at each level of the axes that they are for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from bridge.report.summary import Results
from experiments.cells import Cell
from experiments.studies import players
from experiments.studies.markdown import number, table
from experiments.studies.measures import Less, Score
from experiments.studies.players import Player

LEVELS = (1, 2, 3, 4)
"""The levels of an axis."""


class Remedy(NamedTuple):
    """A remedy of one method."""

    name: str
    player: Player
    plain: Player
    """The method without it."""
    axis: str = ""
    """The axis that it is for; empty: all."""


@dataclass(frozen=True)
class Repairs:
    """Remedies on one family."""

    family: str
    """The name of a family of the zoo."""
    methods: tuple[str, ...]
    axes: tuple[str, ...]
    trials: int
    seeds: tuple[int, ...]
    share: float
    """The share of their budget that all runs get; below 1, none that ships is played."""
    out: Path

    def remedies(self) -> Iterator[Remedy]:
        """Return every remedy of the methods."""
        for method in self.methods:
            plain = Player(method, on=self.family)
            for axis in self.axes:
                wide = Player(method, on=self.family, variant=f"wide={axis}")
                yield Remedy("wider training", wide, plain, axis)
            if method in ("rl2", "icl_rl"):
                replay = Player(method, on=self.family, settings="replay=0.5")
                yield Remedy("level replay", replay, plain)
            if method == "icl_rl":
                for tuned, name in (
                    ("lora_reward", "LoRA steps at test"),
                    ("icl_then_lora", "switch from context to LoRA"),
                ):
                    yield Remedy(name, Player(method, on=self.family, tuned=tuned), plain)

    def cells(self) -> tuple[list[Cell], list[Cell]]:
        """Return all cells; first those of runs that the second ones tune."""
        needs = [
            (player, split)
            for remedy in self.remedies()
            for player in (remedy.plain, remedy.player)
            for axis in ((remedy.axis,) if remedy.axis else self.axes)
            for split in _splits(axis)
        ]
        return players.cells(needs, self.seeds, self.trials, self.out, shorter=self.share)

    def markdown(self, results: Results) -> str:
        """Return a table for each axis."""
        rows, blocks = _Rows(results), []
        for axis in self.axes:
            lines = []
            for remedy in self.remedies():
                if remedy.axis in ("", axis):
                    changes = [
                        Less(Score(remedy.player, split), Score(remedy.plain, split)).read(rows)
                        for split in _splits(axis)
                    ]
                    shown = (number(change) if change else "" for change in changes)
                    lines.append((remedy.plain.method, remedy.name, *shown))
            family = Player(self.methods[0], on=self.family).family
            values = [f"{value:g}" for value in family.axes[axis].values[1:]]
            heads = ("method", "remedy", "id", *values)
            blocks += [
                f"**{family.id}, {axis}** ({family.axes[axis].unit})",
                table(heads, lines, texts=2),
            ]
        return "\n\n".join(blocks)


def _splits(axis: str) -> tuple[str, ...]:
    return ("id", *(f"shift/{axis}/{level}" for level in LEVELS))


class _Rows(NamedTuple):
    """Rows of one folder."""

    results: Results

    def of(self, player: Player) -> Results:
        """Return them, whatever the player."""
        return self.results
