"""The grid of ``metabridge compare``: every method on every family and split, as cells in one folder."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from bridge import config, files
from bridge.errors import StorageError, UserError
from bridge.evaluation import results
from bridge.evaluation.plan import Plan
from bridge.tasks import family as make_family
from bridge.tasks.base import TaskFamily
from bridge.training.budget import Budget
from experiments import agents, cells, registry, runs, search
from experiments.cells import Cell, expand_splits
from experiments.claims import claim
from experiments.sizes import share

MARKER = "plan.json"
"""The file of a results folder that says what all of its rows share."""
CONFIGURATIONS = "tuning configurations of learned methods"


def distinct(specs: Iterable[str]) -> tuple[TaskFamily, ...]:
    """Return the families that specs name, each once."""
    return tuple({family.id: family for family in map(make_family, specs)}.values())


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Methods side by side. Learned methods are trained first, and searched for if ``configurations`` is above 1."""

    families: tuple[TaskFamily, ...]
    methods: tuple[str, ...]
    splits: tuple[str, ...]
    """Names or patterns."""
    trials: Callable[[str], int]
    """Trials of a split of a family (its name)."""
    budget: Callable[[str, str], Budget]
    """The training of a method on a family (its name)."""
    seeds: tuple[int, ...]
    """Training seeds of learned methods; references have none: theirs is 0."""
    configurations: int
    """Configurations of each learned method to choose from on id_val; 1: its defaults."""
    out: Path
    memory: int
    """Bytes that playing a cell may need."""
    named_methods: bool = False
    """True if a method that plays no family is refused; a size names methods for some families."""
    named_splits: bool = False
    """True if a split that no family has is refused."""

    def play(self) -> int:
        """Train, search for and play what is missing in ``out``; return how many cells failed.

        Raises:
            UserError: bad names (before anything is played), or a folder of another suite version or comparison.
            StorageError: ``out`` can no longer be written.
        """
        self._check_methods()
        self._check_splits()
        self._print_left_out()
        results.open_folder(self.out)
        with files.locked(self.out):
            self._claim()
            missing = cells.missing(self.cells, self.out)
            for cell in missing:
                for plan in cell.plans:
                    files.check_name(cell.place(plan))
            ready, failed = self._searched(missing)
            return failed + cells.play(ready, self.out)

    @property
    def cells(self) -> list[Cell]:
        """Every cell."""
        return [
            cell
            for family in self.families
            for method in self.methods
            if agents.plays(method, family)
            for cell in self._cells(family, method)
        ]

    @cached_property
    def _names(self) -> dict[str, tuple[str, ...]]:
        """Names of splits, by the family's id."""
        return {f.id: expand_splits(f, self.splits, strict=False) for f in self.families}

    def _cells(self, family: TaskFamily, method: str) -> list[Cell]:
        """The cells of a method on a family, one for each training seed."""
        trials = self.trials(family.name)
        plans = tuple(Plan(split=split, trials=trials) for split in self._names[family.id])
        cell = Cell(family, method, method, 0, plans, self.out, memory=self.memory)
        if not _is_learned(method):
            return [cell]
        folder, budget = files.name_of(family.id, method), self.budget(method, family.name)
        return [
            replace(
                cell,
                seed=seed,
                training=runs.Run(
                    method=method,
                    family=family.id,
                    seed=seed,
                    budget=budget,
                    out=self.out / "runs" / f"{folder}--s{seed}",
                ),
            )
            for seed in self.seeds
        ]

    def _check_methods(self) -> None:
        """Refuse unknown methods and keys, and those that ``compare`` does not play."""
        for method in self.methods:
            families = [family for family in self.families if agents.plays(method, family)]
            for family in families:
                source = agents.resolve(method, family)
                if not isinstance(source, agents.Reference | agents.Own | agents.Untrained):
                    raise UserError(
                        f"{method} names a trained run, and compare trains learned methods itself. Play it with "
                        "metabridge evaluate."
                    )
                source.check_track("O")
            if self.named_methods and not families:
                names = ", ".join(family.id for family in self.families)
                raise UserError(f"{method} plays none of {names}. See: metabridge list methods")

    def _check_splits(self) -> None:
        """Refuse a split that was named and that no family has, with the nearest name of the first family."""
        for pattern in self.splits if self.named_splits else ():
            if not any(expand_splits(f, (pattern,), strict=False) for f in self.families):
                expand_splits(self.families[0], (pattern,))

    def _print_left_out(self) -> None:
        """Print to standard error the methods and splits of which a family will have no rows."""
        for family in self.families:
            methods = [method for method in self.methods if not agents.plays(method, family)]
            splits = [
                pattern
                for pattern in (self.splits if self.named_splits else ())
                if not expand_splits(family, (pattern,), strict=False)
            ]
            for reason, names in (
                ("methods not made for it", methods),
                ("splits that it does not have", splits),
            ):
                if names:
                    print(
                        f"{family.id}: left out, as {reason}: {', '.join(names)}", file=sys.stderr
                    )

    def _searched(self, missing: list[Cell]) -> tuple[list[Cell], int]:
        """The cells with the configurations that searches chose, and the number of cells whose search failed."""
        if self.configurations == 1:
            return missing, 0
        ready, failed = [], 0
        for cell in missing:
            try:
                ready.append(self._chosen(cell))
            except StorageError:
                raise
            except UserError as error:
                failed += 1
                cells.report_failure(cell, error, self.out, print)
        return ready, failed

    def _chosen(self, cell: Cell) -> Cell:
        """A cell with the configuration that a search of equal size chose for its method and family."""
        run = cell.training
        if run is None:
            return cell
        folder = self.out / "tuning" / files.name_of(cell.family.id, cell.method)
        if not search.has_chosen(folder, self.configurations):
            search.tune(
                run.method,
                run.family,
                configs=self.configurations,
                seed=0,
                budget=run.budget,
                out=folder,
            )
        method, count = search.chosen(str(folder), cell.family.id)
        return replace(cell, training=replace(run, method=method, tuning_configs=count))

    def _claim(self) -> None:
        """Make the folder this comparison's: its tables compare like with like.

        Raises:
            UserError: the folder holds another comparison, or rows that nothing describes.
        """
        marker = self.out / MARKER
        if not marker.exists() and results.files(self.out):
            raise UserError(
                f"{self.out} holds rows without a {MARKER} that says how they were played. Choose another --out."
            )
        claim(marker, self._shared(), "comparison")

    def _shared(self) -> dict[str, Any]:
        """Settings that all rows of the folder share, in words."""
        shared: dict[str, Any] = {CONFIGURATIONS: self.configurations}
        for family in {f.name for f in self.families}:
            shared[f"trials a split on {family}"] = self.trials(family)
            for method in filter(_is_learned, self.methods):
                whose = "" if share(method) == 1 else f"{config.split_spec(method)[0]}'s "
                shared[f"{whose}training budget on {family}"] = str(self.budget(method, family))
        return shared


def _is_learned(method: str) -> bool:
    return registry.name_of(method) in registry.LEARNERS
