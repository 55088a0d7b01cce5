"""Side by side: every method on every family and split, resumable cell by cell.

A cell is one method x family x seed. Its rows are one file, written when it is whole; a cell that is there is not
played again, and one that fails is reported without stopping the others.
"""

from __future__ import annotations

import fcntl
import fnmatch
import json
import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from bridge import results
from bridge.errors import StorageError, UserError, unknown
from bridge.evaluate import Plan, evaluate
from bridge.tasks import family as make_family
from bridge.tasks.base import TaskFamily
from experiments import methods, training
from experiments.progress import Progress

_WORTH_PROCESSES = 20_000_000
"""Environment steps from which on starting a process a core (two seconds each) pays."""


@dataclass(frozen=True)
class Cell:
    """One method on one family with one training seed, on those splits that are not done."""

    family: TaskFamily
    method: str
    seed: int
    plans: tuple[Plan, ...]
    budget: int
    """Environment steps to train for; 0 for references."""

    @property
    def name(self) -> str:
        """How progress and errors call it."""
        return f"{self.method} on {self.family.id}"

    @property
    def env_steps(self) -> int:
        """How many environment steps training and playing it take."""
        return self.budget + sum(p.trials * (t := self.family.trial(p.split)).episodes * t.horizon for p in self.plans)


def expand_splits(family: TaskFamily, patterns: tuple[str, ...], *, strict: bool = True) -> tuple[str, ...]:
    """Split names from patterns: ``shift`` is every shifted split, ``shift/gap`` an axis, ``shift/*/4`` a level.

    Raises:
        UserError: a pattern matches nothing (unless not ``strict``: sizes name axes that only some families have).
    """
    found: dict[str, None] = {}
    for pattern in patterns:
        if pattern.endswith("/0"):
            if strict or pattern.split("/")[1] in family.axes:
                found[family.split(pattern).name] = None
            continue
        hits = [s for s in family.splits if fnmatch.fnmatch(s, pattern) or s.startswith(f"{pattern}/")]
        if not hits and strict:
            family.split(pattern if pattern.count("/") != 1 else f"{pattern}/1")  # names the nearest axis or split
            raise unknown(f"split of {family.id}:", pattern, family.splits)
        found |= dict.fromkeys(hits)
    return tuple(found)


def plan_cells(
    families: tuple[TaskFamily, ...],
    method_specs: tuple[str, ...],
    splits: dict[str, tuple[str, ...]],
    trials: dict[str, int],
    budget: dict[str, int],
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
            for seed in seeds if methods.is_learned(method) else (0,):
                todo = tuple(
                    p
                    for p in plans
                    if (family.id, family.hash, method, seed, p.split, p.track, results.plan_hash(p)) not in known
                )
                if todo:
                    steps = budget[family.name] if methods.is_learned(method) else 0
                    cells.append(Cell(family, method, seed, todo, steps))
    return cells


def play_cell(cell: Cell, out: Path, advance: Callable[[int], None]) -> None:
    """Play every split of a cell; a split's rows (and the step detail of its first trials) are written when it ends."""
    run = _trained(cell, out, advance) if cell.budget else None
    costs = training.costs(run) if run else None
    for plan in cell.plans:
        agent = methods.agent(str(run) if run else cell.method, cell.family, plan.split)
        agent.card = replace(agent.card, method=cell.method)
        played = evaluate(agent, cell.family, plan, progress=advance)
        table = results.rows(played, cell.family, agent.card, seed=cell.seed, costs=costs)
        path = results.cell_path(out, table)
        results.write_table(out / "steps" / path.name, pa.table(played.detail))
        results.write_table(path, table)


def _trained(cell: Cell, out: Path, advance: Callable[[int], None]) -> Path:
    """The run folder of a learned cell, trained for its whole budget; a run that was stopped is gone on with."""
    run = out / "runs" / f"{results.slug(cell.family.id, cell.method)}--s{cell.seed}"
    if not (run / "model.safetensors").exists():
        begun = training.is_run(str(run))
        ended = training.train_run(
            cell.method,
            cell.family,
            cell.seed,
            cell.budget,
            run,
            resume=begun,
            tell=lambda _text: None,
            advance=advance,
        )
        if not ended:
            raise KeyboardInterrupt
    return run


def compare(
    families: tuple[str, ...],
    method_specs: tuple[str, ...],
    split_patterns: tuple[str, ...],
    trials: dict[str, int],
    budget: dict[str, int],
    seeds: tuple[int, ...],
    out: Path,
    *,
    strict_splits: bool,
) -> int:
    """Play what is missing in ``out``; returns how many cells failed.

    Raises:
        UserError: bad names (before anything is played), a folder of another suite version or plan, a full disk.
    """
    made = tuple(make_family(spec) for spec in families)
    for method in method_specs:
        methods.check(method, made)
    splits = {f.id: expand_splits(f, split_patterns, strict=False) for f in made}
    if strict_splits:
        for pattern in split_patterns:
            if not any(expand_splits(f, (pattern,), strict=False) for f in made):
                expand_splits(made[0], (pattern,))  # no family has it: the error names the nearest
    results.open_folder(out)
    with _locked(out):
        _same_trials(out, {f.name: trials[f.name] for f in made})
        return _play(plan_cells(made, method_specs, splits, trials, budget, seeds, out), out)


def _play(cells: list[Cell], out: Path) -> int:
    """Play the cells; returns how many failed."""
    failed = 0
    with Progress(sum(cell.env_steps for cell in cells), "environment steps") as progress:
        for cell, error in _played(cells, out, progress):
            if isinstance(error, StorageError):
                raise error
            if error is not None:
                failed += 1
                _report_failure(cell, error, out, progress)
    return failed


def _played(cells: list[Cell], out: Path, progress: Progress) -> Iterator[tuple[Cell, BaseException | None]]:
    """Each cell as it ends, with its error if it failed: one process a core where the work is worth starting them."""
    workers = min(os.cpu_count() or 1, len(cells))
    if workers < 2 or sum(cell.env_steps for cell in cells) < _WORTH_PROCESSES:
        for number, cell in enumerate(cells, 1):
            progress.describe(f"[{number}/{len(cells)}] {cell.name}")
            yield cell, _attempt(cell, out, progress.advance)
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy torch's threads and duckdb's locks
    count = context.Value("q", 0)
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker, initargs=(count,)) as pool:
        try:
            cell_of = {pool.submit(_work, cell, out): cell for cell in cells}
            waiting = set(cell_of)
            while waiting:
                progress.what = f"[{len(cells) - len(waiting)}/{len(cells)} done]"
                ended, waiting = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
                progress.advance(count.value - progress.count)
                for future in ended:
                    yield cell_of[future], future.exception() or future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _attempt(cell: Cell, out: Path, advance: Callable[[int], None]) -> Exception | None:
    """Play a cell; its error as a value, with the traceback as a note (which outlives pickling)."""
    try:
        play_cell(cell, out, advance)
    except Exception as error:
        error.add_note("".join(traceback.format_exception(error)))
        return error
    return None


def _start_worker(count: Any) -> None:
    """Prepare a worker process: one torch thread, Ctrl-C left to the parent, and the shared counter of steps."""
    import torch

    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    global _count
    _count = count


_count: Any = None


def _work(cell: Cell, out: Path) -> Exception | None:
    def advance(steps: int) -> None:
        with _count.get_lock():
            _count.value += steps

    return _attempt(cell, out, advance)


@contextmanager
def _locked(out: Path) -> Generator[None]:
    """Hold a folder: two comparisons at once would play the same cells twice."""
    with (out / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(f"Another comparison is writing to {out}. Wait for it, or choose another --out.") from None
        yield


def _report_failure(cell: Cell, error: BaseException, out: Path, progress: Progress) -> None:
    """Say that a cell failed and keep its traceback in ``errors.log``."""
    log = out / "errors.log"
    with log.open("a") as file:
        notes = getattr(error, "__notes__", None) or traceback.format_exception(error)
        file.write(f"--- {cell.name}, seed {cell.seed}\n{''.join(notes)}\n")
    progress.print(f"failed: {cell.name}: {error} (the other cells go on; details in {log})")


def _same_trials(out: Path, trials: dict[str, int]) -> None:
    """A folder holds one number of trials a family, so that its tables compare like with like."""
    marker = out / "plan.json"
    try:
        before = json.loads(marker.read_text()) if marker.exists() else {}
    except (OSError, ValueError):
        raise UserError(
            f"{marker} cannot be read. Choose another --out, or remove it with the rows beside it."
        ) from None
    if not before and results.files(out):
        raise UserError(f"{out} holds rows without a plan.json that says how they were played. Choose another --out.")
    for name, count in trials.items():
        if before.get(name, count) != count:
            raise UserError(
                f"{out} holds results of {before[name]:,} trials a split on {name}; this run would play {count:,}. "
                f"Use the same size and trials, or choose another --out."
            )
    results.write_text(marker, json.dumps(before | trials, sort_keys=True) + "\n")
