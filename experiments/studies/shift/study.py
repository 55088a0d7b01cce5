"""The study: play what is missing, then print tables and draw the figure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from bridge import files
from bridge.errors import UserError, unknown
from bridge.files import write_text
from bridge.report import figures
from bridge.report.summary import Results
from bridge.tasks import family as make_family
from bridge.tasks.base import CONTEXT_AXES, TaskFamily
from bridge.words import counted
from experiments import agents, cells, specs, zoo
from experiments.cells import Cell
from experiments.compare import Grid
from experiments.sizes import PLAYED, ZOO
from experiments.studies import by_recipe
from experiments.studies.shift import tables

ALL = (*PLAYED, *ZOO)
"""Every reference that plays fast, and every learned kind, by runs that ship: what the name ``all`` stands for."""
BOUNDS = ("random", "oracle", "bayes", "bayes_train", "bayes_tasks")
"""References that scores and the parts of falls are measured by; they are played beside any method."""


@dataclass(frozen=True)
class Size:
    """How much is played."""

    trials: Mapping[str, int]
    """Trials of a split by the family's name; the fewest for a family that is not there."""
    seeds: tuple[int, ...]
    """Training seeds of runs that take gradient steps in every trial, which is slow; of other runs all are played."""
    trained: tuple[int, ...] = ()
    """Training seeds that the zoo lacks, trained first by its recipes in ``TRAINED_FAST``."""


SIZES = {
    "smoke": Size({"": 40}, (0,)),
    "quick": Size({"bandit": 512, "gridnavi": 105, "darkroom": 40, "": 16}, (0,)),
    "small": Size(
        {"bandit": 2_048, "gridnavi": 420, "darkroom": 200, "": 64}, (0, 1, 2), tuple(range(3, 10))
    ),
}
TRAINED_FAST = {
    "bandit": ("rl2", "pearl", "maml", "mtrl", "mtrl_finetune", "icl_rl", "icl_dpt", "icl_ad"),
}
"""Methods whose recipe on a family (its name) takes at most two and a half minutes a seed, measured."""


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

    @property
    def on_context(self) -> bool:
        """True if the axis moves the context of track C."""
        return any(axis in CONTEXT_AXES for axis in self.axes)

    def chosen(self) -> tuple[str, ...]:
        """The axes that are played.

        Raises:
            UserError: the family lacks one of them, or has no oracle; or one moves a context and another one tasks.
        """
        known = {**self.family.axes, **CONTEXT_AXES}
        for axis in self.axes:
            if axis not in known:
                raise unknown(f"axis of {self.family.id}:", axis, known)
        if not (self.axes or self.family.axes):
            raise UserError(f"{self.family.id} has no shift axis. See: metabridge list axes")
        if not agents.plays("oracle", self.family):
            raise UserError(
                f"{self.family.id} has no oracle, whose score would be 1. Compare returns instead: metabridge compare "
                "--splits id,shift."
            )
        if self.on_context and len(self.axes) > 1:
            raise UserError(
                f"{', '.join(CONTEXT_AXES)} moves the context of track C, other axes move tasks. Ask for it alone."
            )
        return self.axes or tuple(self.family.axes)

    def played(self) -> tuple[str, ...]:
        """The methods that are played: those asked for, and the bounds that the family has."""
        asked = self.methods or ("all",)
        named = [each for name in asked for each in (ALL if name == "all" else (name,))]
        bounds = [name for name in BOUNDS if agents.plays(name, self.family)]
        return tuple(dict.fromkeys([*bounds, *named]))

    def grid(self) -> Grid:
        """The comparison that plays them, on id and on every level of the axes."""
        trials = self.size.trials
        levels = (f"shift/{axis}/{level}" for axis in self.chosen() for level in range(1, 5))
        return Grid(
            families=(self.family,),
            methods=self.played(),
            splits=("id", *levels),
            trials=lambda family: trials.get(family, min(trials.values())),
            budget=lambda method, family: None,
            seeds=self.size.seeds,
            configurations=1,
            out=self.out,
            memory=self.memory,
            tracks=("C",) if self.on_context else ("O",),
            behaviour="oracle" if self.on_context else "",
            named_methods="all" not in (self.methods or ("all",)),
        )

    def more(self) -> list[Cell]:
        """Return the cells of training seeds that the zoo lacks, under the names of those that ship."""
        made = []
        for method in self.played():
            name = method.removeprefix(zoo.PREFIX)
            if zoo.is_method(method) and name in TRAINED_FAST.get(self.family.name, ()):
                recipe = by_recipe.of(name, self.family.name)
                if self.family == make_family(recipe.family):
                    plans = self.grid().plans(self.family, method)
                    made += [
                        replace(cell, method=specs.label(method), memory=self.memory)
                        for cell in by_recipe.cells(
                            recipe, self.family, self.size.trained, plans, self.out
                        )
                    ]
        return made


def run(study: Study) -> int:
    """Play what is missing of a study, print its tables and draw its figures; return 1 if cells failed.

    Raises:
        UserError: an axis or a method that is not there, or a folder of another comparison.
    """
    failed = study.grid().play()
    with files.locked(study.out):
        failed += cells.play(cells.missing(study.more(), study.out), study.out)
    found = Results(study.out)
    text = tables.markdown(found, study.family.id, study.chosen())
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
