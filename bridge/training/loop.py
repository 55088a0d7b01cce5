"""The outer loop around any learner: budget, evaluation on id_val, checkpoints, metrics. The method's own loop is in
its file.

Killing the process at any moment loses the work since the last checkpoint and nothing else. A resumed run of so many
steps or flops ends bitwise equal to one that was never stopped, but for clocks, because all noise is counted
(``bridge.rng``) and so there is no generator whose state could be lost. (Where the budget is of seconds, the clock
itself decides when training ends and how far its schedules are.)

The last checkpoint of a run is the one that counts; evaluations on ``id_val`` are for watching and for choosing
configurations, never for choosing a moment of a run.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from bridge import files, flops
from bridge.errors import DivergenceError, UserError
from bridge.evaluation.evaluator import evaluate
from bridge.evaluation.plan import Plan
from bridge.interrupts import asked_to_stop
from bridge.protocol import Learner
from bridge.tasks.base import SUITE_VERSION, TaskFamily
from bridge.training import run_folder
from bridge.training.budget import Budget, Cost
from bridge.training.workers import Workers

_FAR = 0.1
"""Share of a budget by which it may be exceeded without a word."""
_MOST = 2
"""How many budgets the first update may take."""
CLOCKS = ("seconds", "steps_per_second")
"""Columns of train.jsonl that differ between equal runs."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """When the loop does what."""

    budget: Budget
    """How long to train. Only budgets of steps and of flops end at the same update on every machine."""
    checkpoint_seconds: float = 300.0
    """Most work that a kill can lose; no part of what a run is."""
    evaluations: int = 10
    """How often to evaluate on id_val, evenly over the budget."""
    evaluation_trials: int = 1000
    """Trials of each."""


def train(
    learner: Learner,
    family: TaskFamily,
    schedule: Schedule,
    about: dict[str, Any],
    folder: Path,
    *,
    resume: bool = False,
    workers: Workers | None = None,
    tell: Callable[[str], None] = print,
    progress: Callable[[float], None] | None = None,
) -> bool:
    """Train until the budget is spent; True then, False where a signal asked to stop (the state is saved), even if that
    was in the last update: whoever has more to train should not begin it.

    Args:
        learner: who learns; its state is replaced by the checkpoint's where a run is resumed.
        family: on what; ``id_val`` is evaluated.
        schedule: budget and cadence.
        about: what identifies the run (method, configuration, seed): a folder of another run is refused.
        folder: the run folder.
        resume: go on with the run that the folder holds.
        workers: the processes that train together, each of which calls this; the first one writes.
        tell: hears of what a user should know (a damaged checkpoint, a larger budget than before).
        progress: called with the share of the budget that is spent, before the first update and after each.

    Raises:
        UserError: the folder holds another run or is being written to.
        DivergenceError: the learner gave up, or a metric is no longer a number; the last good checkpoint is kept.
    """
    workers = workers or Workers()
    first = workers.index == 0
    about = {
        "suite_version": SUITE_VERSION,
        "family": family.id,
        "family_hash": family.hash,
        **about,
    }
    planned = {key: value for key, value in asdict(schedule).items() if key != "checkpoint_seconds"}
    about |= {"schedule": planned, "processes": workers.count}
    lock = files.locked(folder, tell) if first else nullcontext()
    with lock, asked_to_stop() if first else nullcontext(_never) as asked:
        new = not run_folder.is_claimed(folder)
        if first and not new:
            run_folder.claim(folder, about, resume=resume)
        longer = run_folder.is_longer(folder, about)
        cost, flops_per_step = _start(
            learner, schedule.budget, folder, workers, resume, tell, longer=longer
        )
        if first and new:
            run_folder.claim(folder, about, resume=resume)
        elif first and (said := run_folder.extend(folder, about, cost.env_steps)):
            tell(said)
        kept = (folder, workers, flops_per_step, tell, progress)
        recorder = _Recorder(learner, family, schedule, *kept) if first else None
        if progress:
            progress(min(cost.share(schedule.budget), 1.0))
        stop = False
        while not cost.spends(schedule.budget) and not stop:
            before, spent = learner.env_steps, cost.share(schedule.budget)
            with _told_where_it_ends(folder, learner):
                metrics, seconds, stop = _update(learner, spent, workers, asked)
            steps = learner.env_steps - before
            flops = cost.flops + flops_per_step * steps
            cost = Cost(learner.env_steps, learner.grad_steps, cost.seconds + seconds, flops)
            line = {"env_steps": learner.env_steps, **metrics, "flops": flops}
            line |= {"seconds": seconds, "steps_per_second": steps / seconds}
            run_folder.refuse_nan(folder, line)
            if recorder:
                recorder.record(line, cost, spent)
        whole = cost.spends(schedule.budget)
        if recorder:
            recorder.finish(cost)
            for said in (
                filter(None, (_overrun(cost, schedule.budget), run_folder.left_out(folder)))
                if whole
                else ()
            ):
                tell(f"{folder}: {said}")
        return whole and not asked()


def _start(
    learner: Learner,
    budget: Budget,
    folder: Path,
    workers: Workers,
    resume: bool,
    tell: Callable[[str], None],
    *,
    longer: bool,
) -> tuple[Cost, float]:
    """Restore what the folder holds, if asked to; the cost so far, and the operations of an environment step.

    ``longer``: the budget is larger than the one that the folder names.

    Raises:
        UserError: the budget is far too small for one update, or what was trained before cannot be gone on with.
    """
    restored = run_folder.restore(folder, learner, tell) if resume else None
    cost, flops_per_step = restored or (Cost(), None)
    if math.isnan(cost.flops) and (longer or not cost.spends(budget)):
        raise UserError(
            f"{folder} does not say what its training has cost: it has neither checkpoints nor a whole train.jsonl. It "
            "can be played, but not trained further. Choose another --out."
        )
    if restored and (flops_per_step is not None or cost.spends(budget)):
        return cost, flops_per_step or 0.0
    with _told_where_it_ends(folder, learner):
        one = _first_update(learner, workers)
    if not restored:
        _refuse_short(budget, one)
        if resume and (folder / run_folder.LOG).exists():
            tell(f"{folder} has no checkpoint yet: training begins at its first step.")
    return cost, one.flops / one.env_steps


def _overrun(cost: Cost, budget: Budget) -> str:
    """What is to be said where the last update went far past the budget."""
    past, steps = cost.share(budget) - 1, f"{cost.env_steps:,} environment steps"
    return (
        ""
        if past < _FAR
        else f"trained for {steps}, {past:.0%} past the budget of {budget}: updates are that long."
    )


@contextmanager
def _told_where_it_ends(folder: Path, learner: Learner) -> Generator[None]:
    """A learner that gives up says why; this adds where it was and what is kept."""
    try:
        yield
    except DivergenceError as error:
        raise run_folder.diverged(folder, learner.env_steps, str(error)) from None


def _update(
    learner: Learner, spent: float, workers: Workers, asked: Callable[[], bool]
) -> tuple[dict[str, float], float, bool]:
    """One update: its metrics and wall time, averages over workers, and whether any of them was asked to stop."""
    began = time.monotonic()
    metrics = dict(learner.update(spent))
    seconds = time.monotonic() - began
    if workers.count == 1:
        return metrics, seconds, asked()
    own = torch.tensor(
        [*metrics.values(), seconds, asked()], dtype=torch.float64, device=workers.device
    )
    *values, seconds, stop = workers.mean(own).tolist()
    return dict(zip(metrics, values, strict=True)), seconds, stop > 0


def _refuse_short(budget: Budget, one: Cost) -> None:
    """Refuse a budget that the first update would leave far behind.

    Raises:
        UserError: it takes more than twice the budget (which none of seconds is known to be).
    """
    if budget.unit != "seconds" and one.share(budget) > _MOST:
        least, unit = (
            (one.env_steps, "") if budget.unit == "steps" else (math.ceil(one.flops), "flops")
        )
        raise UserError(
            f"One update takes {Budget(float(least), budget.unit)}, {one.share(budget):,.1f} times the budget of "
            f"{budget}. Give --budget {least}{unit} or more, or make updates shorter by the method's settings."
        )


def _first_update(learner: Learner, workers: Workers) -> Cost:
    """Environment steps and operations of the first update, which is then undone: counting slows it down.

    All updates have the shapes of the first one, unless episodes can end early: then what padding costs may grow.
    """
    before = copy.deepcopy(learner.state_dict())
    begun = learner.env_steps
    with flops.counter() as counted:
        learner.update(0.0)
    steps = learner.env_steps - begun
    learner.load_state_dict(before)
    return Cost(env_steps=steps, flops=float(workers.count * counted.get_total_flops()))


class _Recorder:
    """What the first process does after each update: evaluation when it is due, log, trackers, checkpoints."""

    def __init__(
        self,
        learner: Learner,
        family: TaskFamily,
        schedule: Schedule,
        folder: Path,
        workers: Workers,
        flops_per_step: float,
        tell: Callable[[str], None],
        progress: Callable[[float], None] | None,
    ) -> None:
        self.learner, self.family, self.schedule, self.folder, self.workers = (
            learner,
            family,
            schedule,
            folder,
            workers,
        )
        self.flops_per_step, self.progress = flops_per_step, progress
        self.log = run_folder.Log(folder, learner.env_steps, tell=tell)
        self.saved, self.saved_at = time.monotonic(), learner.env_steps

    def record(self, line: dict[str, float | int], cost: Cost, spent: float) -> None:
        """After an update that took the share of the budget from ``spent`` to what ``cost`` says."""
        share, times = cost.share(self.schedule.budget), self.schedule.evaluations
        if math.floor(share * times) > math.floor(spent * times):
            plan = Plan(split="id_val", trials=self.schedule.evaluation_trials)
            played = evaluate(self.learner.agent(), self.family, plan, device=self.workers.device)
            line["id_val_trial_return"] = played.mean("trial_return")
        self.log.write(line)
        self.workers.log(line, self.learner.env_steps)
        if self.progress:
            self.progress(min(share, 1.0))
        if time.monotonic() - self.saved > self.schedule.checkpoint_seconds:
            self._save(cost)

    def finish(self, cost: Cost) -> None:
        """At the end of the budget, or where a signal asked to stop."""
        if self.learner.env_steps != self.saved_at:
            self._save(cost)
        if cost.spends(self.schedule.budget):
            run_folder.save_model(self.folder, self.learner)

    def _save(self, cost: Cost) -> None:
        run_folder.save(self.folder, self.learner, cost, self.flops_per_step)
        self.saved, self.saved_at = time.monotonic(), self.learner.env_steps


def _never() -> bool:
    """A helper is not asked to stop: the first process is, and tells."""
    return False
