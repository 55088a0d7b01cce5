"""The study: play what is missing, then print tables and draw the figure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bridge.errors import UserError, unknown
from bridge.files import write_text
from bridge.report import figures
from bridge.report.summary import Results
from bridge.tasks.base import CONTEXT_AXES, TaskFamily
from bridge.words import counted
from experiments import specs
from experiments.compare import Grid
from experiments.sizes import PLAYED, ZOO
from experiments.studies.shift import tables

ALL = (*PLAYED, *ZOO)
"""Every reference that plays fast, and every learned kind, by runs that ship."""


@dataclass(frozen=True)
class Size:
    """How much is played."""

    trials: Mapping[str, int]
    """Trials of a split by the family's name; the fewest for a family that is not there."""
    seeds: tuple[int, ...]
    """Training seeds of runs that take gradient steps in every trial, which is slow; of other runs all are played."""


SIZES = {
    "smoke": Size({"": 40}, (0,)),
    "quick": Size({"bandit": 512, "gridnavi": 105, "darkroom": 40, "": 16}, (0,)),
    "small": Size({"bandit": 4_096, "gridnavi": 420, "darkroom": 200, "": 64}, (0, 1, 2)),
}


@dataclass(frozen=True, kw_only=True)
class Study:
    """Axes of a family, methods, and the folder of the results."""

    family: TaskFamily
    axes: tuple[str, ...]
    """Names of axes; empty: all that move tasks."""
    methods: tuple[str, ...]
    """As in a comparison; empty: all."""
    size: Size
    out: Path
    memory: int

    def chosen(self) -> tuple[str, ...]:
        """The axes that are played.

        Raises:
            UserError: the family lacks one of them.
        """
        for axis in self.axes:
            if axis not in self.family.axes and axis not in CONTEXT_AXES:
                raise unknown(
                    f"axis of {self.family.id}:", axis, {**self.family.axes, **CONTEXT_AXES}
                )
        if not (self.axes or self.family.axes):
            raise UserError(f"{self.family.id} has no shift axis. See: metabridge list axes")
        return self.axes or tuple(self.family.axes)

    def grid(self) -> Grid:
        """The comparison that plays them: on id and on every level, with a context if an axis moves one."""
        axes, trials = self.chosen(), self.size.trials
        shows = any(axis in CONTEXT_AXES for axis in axes)
        return Grid(
            families=(self.family,),
            methods=self.methods or ALL,
            splits=("id", *(f"shift/{axis}" for axis in axes)),
            trials=lambda family: trials.get(family, min(trials.values())),
            budget=lambda method, family: None,
            seeds=self.size.seeds,
            configurations=1,
            out=self.out,
            memory=self.memory,
            tracks=("O", "C") if shows else ("O",),
            behaviour="oracle" if shows else "",
            named_methods=bool(self.methods),
        )


def run(study: Study) -> int:
    """Play what is missing of a study, print its tables and draw its figures; return 1 if cells failed.

    Raises:
        UserError: an axis or a method that is not there, or a folder of another comparison.
    """
    failed = study.grid().play()
    found = Results(study.out)
    text = tables.markdown(found, study.family.id)
    write_text(study.out / "tables" / "shift.md", text)
    write_text(study.out / "tables" / "shift.csv", tables.comma_separated(found, study.family.id))
    drawn = figures.draw(found, study.out / "figures", specs.names())
    print(text)
    print(
        f"{study.out}/tables/: shift.md, shift.csv. {study.out}/figures/: {counted(len(drawn), 'figure')}."
    )
    if failed:
        print(
            f"{counted(failed, 'cell')} failed; see {study.out / 'errors.log'}. The same command tries them again."
        )
    return 1 if failed else 0
