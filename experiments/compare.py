"""The grid of ``metabridge compare``: every method on every family, split and track, as cells in one folder."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from bridge import config, files
from bridge.errors import StorageError, UserError, unknown
from bridge.evaluation import results
from bridge.evaluation.plan import Plan, Track
from bridge.references.registry import DoesNotPlayError
from bridge.tasks import family as make_family
from bridge.tasks.base import CONTEXT_AXES, TaskFamily
from bridge.training.budget import Budget
from experiments import agents, cells, registry, runs, search, sources, specs, zoo
from experiments.cells import Cell, expand_splits
from experiments.markers import claim
from experiments.sizes import share
from experiments.zoo import recipes

MARKER = "plan.json"
"""The file of a results folder that says what all of its rows share."""
CONFIGURATIONS = "tuning configurations of learned methods"
ZOO, AS_THEY_SHIP = "runs of the zoo", "as they ship"


def distinct(families: Iterable[str]) -> tuple[TaskFamily, ...]:
    """Return the families that ``families`` name, each once."""
    return tuple({family.id: family for family in map(make_family, families)}.values())


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Methods side by side. Learned methods are trained first, and searched for if ``configurations`` is above 1."""

    families: tuple[TaskFamily, ...]
    methods: tuple[str, ...]
    splits: tuple[str, ...]
    """Names or patterns; ``bandit:shift/prior`` is a split of the families of that name alone."""
    trials: Callable[[str], int]
    """Trials of a split of a family (its name)."""
    budget: Callable[[str, str], Budget | None]
    """The training of a method on a family (its name); None: it is not trained there."""
    seeds: tuple[int, ...]
    """Training seeds of learned methods, and of the zoo's runs that take gradient steps in every trial, which is slow.
    References have none: theirs is 0."""
    configurations: int
    """Configurations of each learned method to choose from on id_val; 1: its defaults."""
    out: Path
    memory: int
    """Bytes that playing a cell may need."""
    tracks: tuple[Track, ...] = ("O",)
    """Tracks; a method plays those that it can learn on."""
    shots: int = 0
    """Tracks C and F: episodes of context or adaptation; 0: the whole trial."""
    behaviour: str = ""
    """The agent that makes the context of track C; empty: random."""
    fresh: bool = False
    """True to train what ``zoo:METHOD`` names by the recipes of the zoo, instead of playing what ships."""
    size: str = ""
    """The name and version of the size whose trials are played, for the rows; empty: one's own."""
    named_methods: bool = False
    """True if the user named the methods: one that plays nothing here is refused. A size's methods are passed over."""
    named_splits: bool = False
    """True if the user named the splits: one that no family has is refused. A size's splits are passed over."""

    def play(self) -> int:
        """Train, search for and play what is missing in ``out``; return how many cells failed.

        Raises:
            UserError: bad names (before anything is played), or a folder of another suite version or comparison.
            StorageError: ``out`` can no longer be written.
        """
        self._check_splits()
        self._check_methods()
        self._print_left_out()
        results.open_folder(self.out)
        with files.locked(self.out):
            self._claim()
            at_once, later = self.cells
            for cell in (*at_once, *later):
                for plan in cell.plans:
                    files.check_name(cell.place(plan))
            ready, failed = self._searched(cells.missing(at_once, self.out))
            failed += cells.play(ready, self.out)
            there = [cell for cell in later if runs.is_folder(specs.run_in(cell.spec))]
            return failed + cells.play(cells.missing(there, self.out), self.out)

    @property
    def cells(self) -> tuple[list[Cell], list[Cell]]:
        """Every cell; first those that can be played at once, then those of runs that these train."""
        found = [
            cell
            for family in self.families
            for method in self.methods
            if self._plays(method, family)
            for cell in self._cells(family, method)
        ]
        trained = {str(cell.training.out) for cell in found if cell.training}
        later = [c for c in found if not c.training and specs.run_in(c.spec) in trained]
        return [cell for cell in found if cell not in later], later

    @cached_property
    def _names(self) -> dict[str, tuple[str, ...]]:
        """Names of splits, by the family's id."""
        return {family.id: self._matches(family, self.splits) for family in self.families}

    def _matches(self, family: TaskFamily, patterns: tuple[str, ...]) -> tuple[str, ...]:
        """The names of a family's splits that patterns match."""
        own = f"{family.name}:"
        return expand_splits(
            family,
            [p.removeprefix(own) for p in patterns if ":" not in p or p.startswith(own)],
            strict=False,
            with_context="C" in self.tracks,
        )

    def _plays(self, method: str, family: TaskFamily) -> bool:
        """True if a method has cells on a family."""
        if _is_learned(method) and self.budget(method, family.name) is None:
            return False
        return agents.plays(method, family) and bool(self.plans(family, method))

    def plans(self, family: TaskFamily, method: str) -> tuple[Plan, ...]:
        """Return the plans of a method, on each track that it can learn on."""
        source, plans = agents.resolve(method, family), []
        for track in self._tracks(family):
            try:
                source.check_track(track)
            except UserError:
                continue
            plans += [
                Plan(
                    split=split,
                    trials=self.trials(family.name),
                    track=track,
                    shots=0 if track == "O" else self.shots,
                )
                for split in self._names[family.id]
                if source.plays_split(split)
                and (track == "C" or family.split(split).axis not in CONTEXT_AXES)
            ]
        return tuple(plans)

    def _not_modelled(self, method: str, family: TaskFamily) -> list[str]:
        """The splits whose distribution a method would have to know, and does not."""
        source = agents.resolve(method, family)
        return [split for split in self._names[family.id] if not source.plays_split(split)]

    def _tracks(self, family: TaskFamily) -> list[Track]:
        """The tracks of a family: on C only if the agent that makes its context plays it."""
        shown = agents.plays(self.behaviour or "random", family)
        return [track for track in self.tracks if track != "C" or shown]

    def _cells(self, family: TaskFamily, method: str) -> list[Cell]:
        """The cells of a method on a family, one for each training seed."""
        cell = Cell(
            family,
            method,
            specs.label(method),
            0,
            self.plans(family, method),
            self.out,
            behaviour=self.behaviour,
            memory=self.memory,
            size=self.size,
        )
        if _is_learned(method):
            budget = self.budget(method, family.name)
            assert budget is not None
            trainings = [self._training(family, method, seed, budget) for seed in self.seeds]
            return [replace(cell, seed=run.seed, training=run) for run in trainings]
        by_seed = self._seeds(method, family)
        return [self._of_seed(cell, seed, spec) for seed, spec in by_seed.items()]

    def _seeds(self, method: str, family: TaskFamily) -> dict[int, str]:
        """The spec of each training seed that plays: with steps in every trial, those of ``seeds`` that the zoo has.

        Raises:
            UserError: the zoo has none of them.
        """
        by_seed = specs.seeds(method, family)
        if len(by_seed) < 2 or registry.name_of(method) not in registry.TEST_TIME_METHODS:
            return by_seed
        chosen = {seed: spec for seed, spec in by_seed.items() if seed in self.seeds}
        if not chosen:
            raise UserError(
                f"{method} on {family.id} tunes runs of the zoo with seeds {', '.join(map(str, by_seed))}; found "
                f"{', '.join(map(str, self.seeds))}. Name some of the former: --seeds."
            )
        return chosen

    def _of_seed(self, cell: Cell, seed: int, spec: str) -> Cell:
        """The cell of a training seed and its spec; a run of the zoo is trained first if it must be fresh."""
        run = specs.run_in(spec)
        recipe = recipes.of(run) if self.fresh and zoo.is_entry(run) else None
        if recipe is None:
            return replace(cell, seed=seed, spec=spec)
        training = self._training(
            cell.family, recipe.method, seed, Budget(float(recipe.steps), "steps")
        )
        if run == spec:
            return replace(cell, seed=seed, spec=str(training.out), training=training)
        return replace(cell, seed=seed, spec=spec.replace(run, str(training.out)))

    def _training(self, family: TaskFamily, method: str, seed: int, budget: Budget) -> runs.Run:
        folder = files.name_of(family.id, method)
        return runs.Run(
            method=method,
            family=family.id,
            seed=seed,
            budget=budget,
            out=self.out / "runs" / f"{folder}--s{seed}",
        )

    def _check_methods(self) -> None:
        """Refuse unknown methods and keys, and, if methods are named, those that play nothing here."""
        labels: dict[str, str] = {}
        for method in self.methods:
            other = labels.setdefault(specs.label(method), method)
            if other != method:
                raise UserError(
                    f"{other} and {method} are both {specs.label(method)} in results. Compare them in two folders."
                )
            played = [family for family in self.families if agents.plays(method, family)]
            for family in played:
                self._check_source(method, family)
            run = specs.run_in(method)
            if self.fresh and zoo.is_entry(run) and run not in (method, *self.methods):
                raise UserError(
                    f"--fresh trains the runs that --methods names. Add {run}, which {method} tunes."
                )
            if self.named_methods and not any(self.plans(family, method) for family in played):
                self._refuse_idle(method, played)

    def _check_source(self, method: str, family: TaskFamily) -> None:
        """Refuse a tuning folder, and a run that was tuned on tasks that all methods would play."""
        source = agents.resolve(method, family)
        if isinstance(source, sources.Search):
            source.load("id")
        plans = list(self.plans(family, method))
        if any(plan.left_out for plan in source.new_tasks(plans)[0]):
            raise UserError(
                f"{method} was tuned on tasks that all methods would play here. Play it with metabridge evaluate, "
                "which leaves them out."
            )

    def _refuse_idle(self, method: str, played: list[TaskFamily]) -> None:
        """Refuse a method that plays none of the families, or that can learn on none of the tracks."""
        for family in played:
            source = agents.resolve(method, family)
            for track in self.tracks:
                source.check_track(track)
            for split in self._names[family.id]:
                if not source.plays_split(split):
                    source.load(split)  # says why
        if played:
            return
        names = ", ".join(family.id for family in self.families)
        try:
            reason = f"It was trained on {agents.resolve(method, self.families[0]).trained_on}."
        except DoesNotPlayError as error:
            reason = str(error)
        raise UserError(f"{method} plays none of {names}. {reason}")

    def _check_splits(self) -> None:
        """Refuse a split that was named and that no family has, with the nearest name of the first family."""
        for pattern in self.splits if self.named_splits else ():
            name, _, split = pattern.rpartition(":")
            families = {f.name: f for f in self.families if name in ("", f.name)}
            if not families:
                raise unknown("family of --splits", name, [f.name for f in self.families])
            if not any(self._matches(family, (pattern,)) for family in self.families):
                first = next(iter(families.values()))
                expand_splits(first, (split,), with_context="C" in self.tracks)

    def _print_left_out(self) -> None:
        """Print to standard error what was named and has no rows of a family."""
        methods = self.methods if self.named_methods else ()
        splits = self.splits if self.named_splits else ()
        for family in self.families:
            if not self._names[family.id]:
                print(f"{family.id}: left out, as none of --splits is for it", file=sys.stderr)
                continue
            said = []
            if len(self._tracks(family)) < len(self.tracks):
                said.append(f"track C is left out, as {self.behaviour} does not play it")
            if idle := [method for method in methods if not self._plays(method, family)]:
                reason = "methods not made for it, or not trained on it"
                said.append(f"left out, as {reason}: {', '.join(idle)}")
            said += [
                f"{method} is left out on {', '.join(unknown)}, which it does not model"
                for method in methods
                if self._plays(method, family) and (unknown := self._not_modelled(method, family))
            ]
            everywhere = [split for split in splits if ":" not in split]
            if lacking := [split for split in everywhere if not self._matches(family, (split,))]:
                said.append(f"left out, as splits that it does not have: {', '.join(lacking)}")
            for text in said:
                print(f"{family.id}: {text}", file=sys.stderr)

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
        shared |= of_context(self.tracks, self.shots, self.behaviour)
        if self.size:
            shared["size"] = self.size
        if any(zoo.is_entry(specs.run_in(method)) for method in self.methods):
            shared[ZOO] = "trained here" if self.fresh else AS_THEY_SHIP
        for family in {f.name for f in self.families}:
            shared[f"trials a split on {family}"] = self.trials(family)
            for method in filter(_is_learned, self.methods):
                if budget := self.budget(method, family):
                    whose = "" if share(method) == 1 else f"{config.split_spec(method)[0]}'s "
                    shared[f"{whose}training budget on {family}"] = str(budget)
        return shared


def of_context(tracks: Iterable[Track], shots: int, behaviour: str) -> dict[str, str]:
    """Return what is shown or explored before tracks C and F are scored, in words."""
    episodes = f"{shots} episode(s)" if shots else "a whole trial"
    about = {"C": f"{episodes} of {behaviour or 'random'}", "F": f"{episodes} of its own"}
    return {f"track {track}": about[track] for track in tracks if track != "O"}


def _is_learned(method: str) -> bool:
    return registry.name_of(method) in registry.LEARNERS
