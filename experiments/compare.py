"""Side by side: every method on every family and split, resumable cell by cell.

A cell is one method x family x seed. Its rows are one file, written when it is whole; a cell that is there is not
played again, and one that fails is reported without stopping the others.
"""

from __future__ import annotations

import fnmatch
import json
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bridge import config, files, json_files, parquet
from bridge.errors import StorageError, UserError, unknown
from bridge.evaluation import result_rows, results
from bridge.evaluation.evaluator import evaluate
from bridge.evaluation.footprint import MEMORY
from bridge.evaluation.plan import Plan
from bridge.tasks import family as make_family
from bridge.tasks.base import CONTEXT_AXES, TaskFamily
from bridge.training.budget import Budget
from bridge.training.run_folder import read_cost
from experiments import methods, pool, registry, training, tuning
from experiments.progress import Progress
from experiments.sizes import share


@dataclass(frozen=True)
class Cell:
    """One method on one family with one training seed, on those splits that are not done."""

    family: TaskFamily
    method: str
    seed: int
    plans: tuple[Plan, ...]
    out: Path
    training: training.Run | None
    """How it is trained first; None for references."""
    memory: int = MEMORY
    """Bytes that playing it may need."""

    @property
    def name(self) -> str:
        """How progress and errors call it."""
        return f"{self.method} on {self.family.id}"

    @property
    def learns(self) -> bool:
        """Whether it is trained first."""
        return self.training is not None

    @property
    def env_steps(self) -> int:
        """How many environment steps training and playing it take."""
        played = sum(
            p.trials * (t := self.family.trial(p.split)).episodes * t.horizon for p in self.plans
        )
        return played + (self.training.env_steps if self.training else 0)

    @property
    def places(self) -> list[Path]:
        """Where its rows go, a file for each plan."""
        about = (self.family.id, self.method, self.seed)
        return [
            results.rows_path(self.out, *about, p.track, p.hash, splits=[p.split])
            for p in self.plans
        ]

    def run(self, advance: Callable[[int], None]) -> None:
        """Train what is to be trained, then play every split; rows (and the steps of the first trials) are written as
        each split ends."""
        files.probe(self.places[0])  # a training of hours that cannot be kept is not begun
        made_by, cost = self.method, None
        if self.training:
            training.train_rest(self.training, advance)
            made_by, cost = str(self.training.out), read_cost(self.training.out, lambda _text: None)
        for plan in self.plans:
            agent = methods.agent(made_by, self.family, plan.split)
            agent.card = replace(agent.card, method=self.method)
            played = evaluate(agent, self.family, plan, progress=advance, memory_limit=self.memory)
            table = result_rows.table(played, self.family, agent.card, seed=self.seed, cost=cost)
            path = results.cell_path(self.out, table)
            parquet.write(self.out / "steps" / path.name, result_rows.steps(played))
            parquet.write(path, table)


def expand_splits(
    family: TaskFamily, patterns: tuple[str, ...], *, strict: bool = True, shown: bool = False
) -> tuple[str, ...]:
    """Split names from patterns: ``shift`` is every shifted split, ``shift/gap`` an axis, ``shift/*/4`` a level.

    Args:
        family: whose splits.
        patterns: which of them.
        strict: refuse a pattern that matches nothing (sizes name axes that only some families have).
        shown: whether anything is shown, so that axes of what is shown make sense; they are meant only by their names.

    Raises:
        UserError: a pattern matches nothing, or moves what is shown where nothing is.
    """
    found: dict[str, None] = {}
    for pattern in patterns:
        axis = (*pattern.split("/"), "")[1]
        if axis in CONTEXT_AXES:
            if not shown:
                raise UserError(
                    f"{pattern} moves what is shown on track C: metabridge evaluate ... --track C."
                )
            names = (
                [pattern]
                if pattern.count("/") > 1
                else [f"shift/{axis}/{level}" for level in range(5)]
            )
            found |= {family.split(name).name: None for name in names}
            continue
        if pattern.endswith("/0"):
            if strict or pattern.split("/")[1] in family.axes:
                found[family.split(pattern).name] = None
            continue
        hits = [
            s for s in family.splits if fnmatch.fnmatch(s, pattern) or s.startswith(f"{pattern}/")
        ]
        if not hits and strict:
            family.split(
                pattern if pattern.count("/") != 1 else f"{pattern}/1"
            )  # names the nearest axis or split
            raise unknown(f"split of {family.id}:", pattern, family.splits)
        found |= dict.fromkeys(hits)
    return tuple(found)


def plan_cells(
    families: tuple[TaskFamily, ...],
    method_specs: tuple[str, ...],
    splits: dict[str, tuple[str, ...]],
    trials: dict[str, int],
    budget: Callable[[str, str], Budget],
    seeds: tuple[int, ...],
    out: Path,
) -> list[Cell]:
    """The cells that are still to be played. References have no training seeds: theirs is 0."""
    known = results.done(out)
    cells = []
    for family in families:
        for method in method_specs:
            if not methods.applies(method, family):
                continue
            plans = [Plan(split=split, trials=trials[family.name]) for split in splits[family.id]]
            for seed in seeds if registry.is_learned(method) else (0,):
                todo = tuple(
                    p
                    for p in plans
                    if (
                        family.id,
                        family.hash,
                        method,
                        seed,
                        p.split,
                        p.track,
                        p.hash,
                    )
                    not in known
                )
                run = None
                if registry.is_learned(method):
                    folder = out / "runs" / f"{files.name_of(family.id, method)}--s{seed}"
                    spent = budget(method, family.name)
                    run = training.Run(
                        method=method, family=family.id, seed=seed, budget=spent, out=folder
                    )
                if todo:
                    cells.append(Cell(family, method, seed, todo, out, run))
    return cells


def compare(
    families: tuple[str, ...],
    method_specs: tuple[str, ...],
    split_patterns: tuple[str, ...],
    trials: dict[str, int],
    budget: Callable[[str, str], Budget],
    seeds: tuple[int, ...],
    tuning_configs: int,
    out: Path,
    *,
    strict_splits: bool,
    memory: int = MEMORY,
    strict_methods: bool = False,
) -> int:
    """Train, tune and play what is missing in ``out``; returns how many cells failed.

    Raises:
        UserError: bad names (before anything is played), a folder of another suite version or plan, a full disk.
    """
    made = tuple({family.id: family for family in map(make_family, families)}.values())
    for method in method_specs:
        methods.check(method, made)
        if strict_methods and not any(methods.applies(method, family) for family in made):
            raise UserError(
                f"{method} plays none of {', '.join(f.id for f in made)}. See: metabridge list methods"
            )
    splits = {f.id: expand_splits(f, split_patterns, strict=False) for f in made}
    if strict_splits:
        for pattern in split_patterns:
            if not any(expand_splits(f, (pattern,), strict=False) for f in made):
                expand_splits(made[0], (pattern,))  # no family has it: the error names the nearest
    _say_left_out(made, method_specs, split_patterns if strict_splits else ())
    results.open_folder(out)
    with files.locked(out):
        _same_plan(out, _settings(made, method_specs, trials, budget, tuning_configs))
        cells = plan_cells(made, method_specs, splits, trials, budget, seeds, out)
        for path in (path for cell in cells for path in cell.places):
            files.check_name(path)
        cells = [replace(cell, memory=memory) for cell in cells]
        cells, failed = _tuned(cells, tuning_configs, out)
        return failed + _play(cells, out)


def _say_left_out(
    families: tuple[TaskFamily, ...], method_specs: tuple[str, ...], patterns: tuple[str, ...]
) -> None:
    """Say on standard error what of a comparison a family has no rows of: methods not made for it, splits it lacks."""
    for family in families:
        others = [method for method in method_specs if not methods.applies(method, family)]
        lacking = [
            pattern for pattern in patterns if not expand_splits(family, (pattern,), strict=False)
        ]
        for what, names in (
            ("methods not made for it", others),
            ("splits that it does not have", lacking),
        ):
            if names:
                print(f"{family.id}: left out, as {what}: {', '.join(names)}", file=sys.stderr)


def _tuned(cells: list[Cell], configs: int, out: Path) -> tuple[list[Cell], int]:
    """The cells with what tuning chose, each learned method on each family from as many configurations; and how many
    cells failed because it could not choose."""
    if configs == 1:
        return cells, 0
    ready, failed = [], 0
    for cell in cells:
        if cell.training is None:
            ready.append(cell)
            continue
        folder = out / "tuning" / files.name_of(cell.family.id, cell.method)
        try:
            if not tuning.has_chosen(folder, configs):
                run = cell.training
                tuning.tune(
                    run.method, run.family, configs=configs, seed=0, budget=run.budget, out=folder
                )
            spec, count = tuning.chosen(str(folder), cell.family.id)
        except StorageError:
            raise
        except UserError as error:
            failed += 1
            _report_failure(cell, error, out, print)
        else:
            ready.append(
                replace(cell, training=replace(cell.training, method=spec, tuning_configs=count))
            )
    return ready, failed


def _play(cells: list[Cell], out: Path) -> int:
    """Play the cells; returns how many failed."""
    failed = 0
    with Progress(sum(cell.env_steps for cell in cells), "environment steps") as progress:
        for cell, error in pool.each(cells, progress):
            if isinstance(error, StorageError):
                raise error
            if error is not None:
                failed += 1
                _report_failure(cell, error, out, progress.print)
    return failed


def _report_failure(
    cell: Cell, error: BaseException, out: Path, tell: Callable[[str], None]
) -> None:
    """Say that a cell failed and keep its traceback in ``errors.log``."""
    log = out / "errors.log"
    notes = getattr(error, "__notes__", None) or traceback.format_exception(error)
    files.append_line(log, f"--- {cell.name}, seed {cell.seed}\n{''.join(notes)}")
    tell(f"failed: {cell.name}: {error} (the other cells go on; details in {log})")


_TUNING = "tuning configurations of learned methods"


def _settings(
    families: tuple[TaskFamily, ...],
    method_specs: tuple[str, ...],
    trials: dict[str, int],
    budget: Callable[[str, str], Budget],
    tuning_configs: int,
) -> dict[str, Any]:
    """What all rows of a folder have in common, in words."""
    found: dict[str, Any] = {_TUNING: tuning_configs}
    for family in {f.name for f in families}:
        found[f"trials a split on {family}"] = trials[family]
        for method in filter(registry.is_learned, method_specs):
            whose = "" if share(method) == 1 else f"{config.split_spec(method)[0]}'s "
            found[f"{whose}training budget on {family}"] = str(budget(method, family))
    return found


def _same_plan(out: Path, now: dict[str, Any]) -> None:
    """A folder holds one number of trials and one budget a family, and one of tuning configurations: its tables compare
    like with like."""
    marker = out / "plan.json"
    remedy = "Choose another --out, or remove it with the rows beside it."
    before = json_files.read_object(marker, remedy) if marker.exists() else {}
    if before and _TUNING not in before:
        raise UserError(f"{marker} cannot be read (another version wrote it). {remedy}")
    if not before and results.files(out):
        raise UserError(
            f"{out} holds rows without a plan.json that says how they were played. Choose another --out."
        )
    for key, value in now.items():
        if before.get(key, value) != value:
            raise UserError(
                f"{out} holds results of another comparison: its {key} were {before[key]}, this one's are {value}. Use "
                "the same size, trials, budget and tuning, or choose another --out."
            )
    files.write_text(marker, json.dumps(before | now, sort_keys=True, indent=1) + "\n")
