"""Cells: one agent on one family with one training seed, played on some splits. Every comparison is a list of them.

The rows of a cell are a file for each split, written when it is whole. A cell that is there is not played again; one
that fails is reported without stopping the others. Cells run in the one pool of processes (``experiments/pool.py``).
"""

from __future__ import annotations

import fnmatch
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bridge import files, parquet, user_code
from bridge.errors import StorageError, UserError, unknown
from bridge.evaluation import result_rows, results
from bridge.evaluation.evaluator import evaluate
from bridge.evaluation.footprint import MEMORY
from bridge.evaluation.plan import Plan, shot_points
from bridge.evaluation.policies import PolicyDetail
from bridge.evaluation.sums import Evaluation
from bridge.flops import counter
from bridge.protocol import Card
from bridge.references.registry import REFERENCES
from bridge.report import learning
from bridge.tasks.base import CONTEXT_AXES, TaskFamily
from bridge.test_time.carried_over import CarriedOver
from bridge.training.run_folder import read_cost
from bridge.words import counted
from experiments import agents, pool, registry, runs, sources, specs
from experiments.markers import claim
from experiments.progress import Progress

POLICIES = "policies"
"""The folder of kept policies, whose files are named after those of their rows."""


@dataclass(frozen=True)
class Cell:
    """One agent on one family with one training seed, on those splits that are not done."""

    family: TaskFamily
    spec: str
    """The agent, as ``agents.resolve`` reads it; what ``training`` makes, if that is given."""
    method: str
    """The method's name in the rows."""
    seed: int
    plans: tuple[Plan, ...]
    out: Path
    training: runs.Run | None = None
    """The training that makes the agent; None if there is one."""
    behaviour: str = ""
    """The agent that makes the context of track C; empty: random."""
    decode: str = ""
    """The rule by which the agent's distributions become actions; empty: its own."""
    tuned_on: Plan | None = None
    """A plan whose split and shots each trial explores first, keeping the weights that its gradient steps leave."""
    policies: bool = False
    """True to keep policies after shots, on tracks C and F."""
    signs: tuple[str, ...] = ()
    """Signs of what the agent makes of its shots that are kept with them."""
    signs_on: tuple[str, ...] = ()
    """The splits on which they are."""
    count_flops: bool = False
    """True to count the operations of a trial, on two trials that are played again."""
    memory: int = MEMORY
    """Bytes that playing it may need."""
    size: str = ""
    """The name and version of the size of the comparison that it is of, for its rows."""

    @property
    def name(self) -> str:
        """The name in progress and errors."""
        return f"{self.method} on {self.family.id}"

    @property
    def learns(self) -> bool:
        """True if it is trained first."""
        return self.training is not None

    @property
    def by_network(self) -> bool:
        """True if no reference decides."""
        return registry.name_of(self.spec) not in REFERENCES

    @property
    def reads_text(self) -> bool:
        """True if a language model decides."""
        return specs.reads_text(self.training.method if self.training else self.spec)

    @property
    def env_steps(self) -> int:
        """Environment steps of training and playing it."""
        played = sum(steps_of(self.family, plan) for plan in self.plans)
        return played + (self.training.env_steps if self.training else 0)

    def place(self, plan: Plan) -> Path:
        """Return the path of the rows of one plan."""
        return results.rows_path(
            self.out,
            self.family.id,
            self.method,
            self.seed,
            plan.track,
            plan.hash,
            splits=[plan.split],
        )

    def policies_place(self, plan: Plan) -> Path:
        """Return the path of the kept policies of one plan."""
        return self.out / POLICIES / self.place(plan).name

    def run(self, advance: Callable[[int], None]) -> None:
        """Train the agent if ``training`` is given, then play every plan.

        The learning curve of its training is written first, rows (and kept steps and policies) as each plan ends.
        ``advance`` is called with the number of environment steps taken.
        """
        files.probe(
            self.place(self.plans[0])
        )  # an hour of training that cannot be kept is not begun
        spec, cost = self.spec, None
        if self.training:
            runs.train_rest(self.training, advance)
            spec = str(self.training.out)
            cost = read_cost(self.training.out, lambda _text: None)
        source = agents.resolve(spec, self.family)
        if source.run_folder:
            about = {"family": self.family.id, "method": self.method, "seed": self.seed}
            learning.write(self.out, source.run_folder, **about)
        for evaluation, card, flops in self.play(source, advance):
            table = result_rows.table(
                evaluation,
                self.family,
                card,
                seed=self.seed,
                size=self.size,
                cost=cost,
                flops=flops,
            )
            path = results.cell_path(self.out, table)
            for folder, kept in (("steps", evaluation.detail), (POLICIES, evaluation.policies)):
                if kept:
                    parquet.write(self.out / folder / path.name, result_rows.details(kept))
            parquet.write(path, table)

    def play(
        self, source: sources.Source, advance: Callable[[int], None]
    ) -> Iterator[tuple[Evaluation, Card, np.ndarray | None]]:
        """Play every plan by the agent of ``source``; yield each evaluation, the agent's card and its operations.

        ``advance`` is called with the number of environment steps taken. Operations are None unless they are counted.
        """
        behaviour = None
        if self.policies or any(plan.track == "C" for plan in self.plans):
            behaviour = agents.Behaviour.of(self.behaviour, self.family)
        for plan in self.plans:
            agent: Any = source.load(plan.split)
            if self.tuned_on:
                agent = CarriedOver(agent, self.family, self.tuned_on)
            agent.card = replace(
                agent.card, method=self.method, decode_rule=self.decode or agent.card.decode_rule
            )
            asked = self.policies or plan.track == "C"
            shown_by = behaviour.load(plan.split) if behaviour and asked else None
            play = partial(
                evaluate, agent, self.family, behaviour=shown_by, memory_limit=self.memory
            )
            signs = self.signs if plan.split in self.signs_on else ()
            kept = PolicyDetail(signs) if self.policies else None
            evaluation, flops = play(plan, progress=advance, policies=kept), None
            if self.count_flops:
                with counter() as counted:
                    clock = counted.get_total_flops
                    flops = play(replace(plan, trials=2), clock=clock).cost["clock"]
            yield evaluation, agent.card, flops


def steps_of(family: TaskFamily, plan: Plan) -> int:
    """Return the environment steps of all trials of a plan."""
    trial = family.trial(plan.split)
    episodes = trial.episodes
    if plan.track != "O":
        shots = plan.shots or trial.episodes
        episodes = shots + len(shot_points(shots))
    return plan.trials * episodes * trial.horizon


def expand_splits(
    family: TaskFamily, patterns: Iterable[str], *, strict: bool = True, with_context: bool = False
) -> tuple[str, ...]:
    """Return the split names that patterns match: ``shift`` is every shifted split, ``shift/gap`` an axis,
    ``shift/*/4`` a level.

    Args:
        family: the family of the splits.
        patterns: names or patterns.
        strict: True to refuse a pattern that matches nothing (sizes name axes that only some families have).
        with_context: True on track C, whose axes of the context are matched by their names alone.

    Raises:
        UserError: a pattern matches nothing, or moves a context where there is none.
    """
    splits: dict[str, None] = {}
    for pattern in patterns:
        axis = (*pattern.split("/"), "")[1]
        if axis in CONTEXT_AXES:
            if not with_context:
                raise UserError(
                    f"{pattern} moves what is shown on track C: metabridge evaluate ... --track C."
                )
            levels = range(5) if pattern.count("/") == 1 else ()
            names = [f"shift/{axis}/{level}" for level in levels] or [pattern]
        elif pattern.endswith("/0"):
            names = [pattern] if strict or axis in family.axes else []
        else:
            names = [
                name
                for name in family.splits
                if fnmatch.fnmatch(name, pattern) or name.startswith(f"{pattern}/")
            ]
            if not names and strict:
                family.split(
                    pattern if pattern.count("/") != 1 else f"{pattern}/1"
                )  # names the nearest axis or split
                raise unknown(f"split of {family.id}:", pattern, family.splits)
        splits |= {family.split(name).name: None for name in names}
    return tuple(splits)


def missing(cells: Iterable[Cell], out: Path) -> list[Cell]:
    """Return the cells that have plans without rows in ``out``, with these plans alone.

    Rows are played again if the run that they are of, or code of a user's own, has changed since.
    """
    done = results.done(out)

    def is_done(cell: Cell, plan: Plan, changed_at: float) -> bool:
        family, split = cell.family, cell.family.split(plan.split)
        about = (family.id, family.hash, cell.method, cell.seed, split.name, split.value)
        if (*about, plan.track, plan.hash) not in done:
            return False
        place = cell.place(plan)
        if cell.policies and not cell.policies_place(plan).exists():
            return False
        return not place.exists() or place.stat().st_mtime >= changed_at

    left = []
    for cell in cells:
        changed_at = 0.0 if cell.training else agents.resolve(cell.spec, cell.family).changed_at
        if cell.family.place:
            changed_at = max(changed_at, user_code.changed_at(cell.family.place))
        plans = tuple(plan for plan in cell.plans if not is_done(cell, plan, changed_at))
        if plans:
            left.append(replace(cell, plans=plans))
    return left


def play(cells: Sequence[Cell], out: Path) -> int:
    """Play the cells in the pool; return how many failed.

    Raises:
        StorageError: ``out`` can no longer be written.
    """
    failed = 0
    with Progress(sum(cell.env_steps for cell in cells), "environment steps") as progress:
        for cell, error in pool.each(cells, progress):
            if isinstance(error, StorageError):
                raise error
            if error is not None:
                failed += 1
                report_failure(cell, error, out, progress.print)
    return failed


def keep(
    wanted: Iterable[Cell], out: Path, marker: str, about: Mapping[str, Any], what: str
) -> None:
    """Play the cells that have no rows in ``out`` yet, a folder that holds one thing, as ``claim`` sees to.

    Raises:
        UserError: the folder holds something else, or a cell failed.
        StorageError: ``out`` can no longer be written.
    """
    results.open_folder(out)
    with files.locked(out):
        claim(out / marker, about, what)
        if failed := play(missing(wanted, out), out):
            raise UserError(
                f"{counted(failed, 'cell')} failed; see {out / 'errors.log'}. The same command tries them again."
            )


def report_failure(
    cell: Cell, error: BaseException, out: Path, report: Callable[[str], None]
) -> None:
    """Report a failed cell in a line, and keep its traceback in ``errors.log``."""
    log = out / "errors.log"
    notes = getattr(error, "__notes__", None) or traceback.format_exception(error)
    files.append_line(log, f"--- {cell.name}, seed {cell.seed}\n{''.join(notes)}")
    report(f"failed: {cell.name}: {error} (the other cells go on; details in {log})")
