"""The outer loop around any learner: budget, evaluation on id_val, checkpoints, metrics.

Killing the process at any moment loses the work since the last checkpoint and nothing else. A resumed run with a budget
of steps or flops ends bitwise equal to one that was never stopped, except for clocks: all noise is counter-based
(``bridge.rng``), so there is no generator whose state could be lost. (With a budget of seconds, the clock decides when
training ends and how far its schedules are.)

The last checkpoint of a run is the one that counts. Evaluations on ``id_val`` are for watching and for choosing
configurations, never for choosing a checkpoint of a run.
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
from bridge.evaluation.stats import mean_interval
from bridge.evaluation.sums import Evaluation
from bridge.interrupts import asked_to_stop
from bridge.protocol import Learner
from bridge.tasks.base import SUITE_VERSION, TaskFamily
from bridge.training import run_folder, train_log
from bridge.training.budget import Budget, Cost
from bridge.training.workers import Workers

_OVERRUN = 0.1
"""Largest share of a budget by which it may be exceeded without a notice."""
_MOST = 2
"""Largest first update, in budgets."""
CLOCKS = ("seconds", "steps_per_second")
"""Columns of train.jsonl that differ between equal runs."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Length of a training, and its evaluations and checkpoints."""

    budget: Budget
    """Only budgets of steps and of flops end at the same update on every machine."""
    checkpoint_seconds: float = 300.0
    """Most seconds of work that a kill can lose; it does not identify a run."""
    evaluations: int = 10
    """Evaluations on id_val, evenly over the budget."""
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
    notify: files.Tell = print,
    progress: Callable[[float], None] | None = None,
) -> bool:
    """Train until the budget is spent.

    Args:
        learner: the learner; if a run is resumed, its state is replaced by the checkpoint's.
        family: the tasks; ``id_val`` is evaluated.
        schedule: budget, evaluations, checkpoints.
        about: identifies the run (method, configuration, seed): a folder of another run is refused.
        folder: the run folder.
        resume: go on with the run of the folder.
        workers: the processes that train together, each of which calls this; the first one writes.
        notify: called with sentences for the user (a damaged checkpoint, a larger budget than before).
        progress: called with the share of the budget that is spent, before the first update and after each.

    Returns:
        True if the budget is spent, False if interrupted (the state is saved). An interrupt during the last update also
        returns False, so that callers stop too.

    Raises:
        UserError: the folder holds another run or is being written to.
        DivergenceError: the learner gave up, or a metric is not finite; the last good checkpoint is kept.
    """
    workers = workers or Workers()
    first, budget = workers.index == 0, schedule.budget
    planned = {key: value for key, value in asdict(schedule).items() if key != "checkpoint_seconds"}
    about = {
        "suite_version": SUITE_VERSION,
        "family": family.id,
        "family_hash": family.hash,
        **about,
        "schedule": planned,
        "processes": workers.count,
    }
    lock = files.locked(folder, notify) if first else nullcontext()
    # the others learn of signals from the metrics of the first process
    with lock, asked_to_stop() if first else nullcontext(lambda: False) as asked:
        new = not run_folder.is_claimed(folder)
        if first and not new:
            run_folder.claim(folder, about, resume=resume)
        longer = run_folder.is_longer(folder, about)
        cost, flops_per_step = _start(
            learner, budget, folder, workers, resume, notify, longer=longer
        )
        if first and new:
            run_folder.claim(folder, about, resume=resume)
        elif first:
            _notify_all(notify, run_folder.extend(folder, about, cost.env_steps))
        recorder = None
        if first:
            recorder = _Recorder(
                learner, family, schedule, folder, workers, flops_per_step, notify, progress
            )
        if progress:
            progress(min(cost.share(budget), 1.0))
        stop = False
        while not cost.spends(budget) and not stop:
            before, spent = learner.env_steps, cost.share(budget)
            with _divergence_located(folder, learner):
                metrics, seconds, stop = _update(learner, spent, workers, asked)
            steps = learner.env_steps - before
            flops = cost.flops + flops_per_step * steps
            cost = Cost(learner.env_steps, learner.grad_steps, cost.seconds + seconds, flops)
            line = {"env_steps": learner.env_steps, **metrics, "flops": flops}
            line |= {"seconds": seconds, "steps_per_second": steps / seconds}
            run_folder.refuse_nan(folder, line)
            if recorder:
                recorder.record(line, cost, spent)
        finished = cost.spends(budget)
        if recorder:
            recorder.finish(cost)
        if recorder and finished:
            notices = (_overrun(cost, budget), train_log.left_out(folder))
            _notify_all(notify, *(f"{folder}: {notice}" for notice in notices if notice))
        return finished and not asked()


def _notify_all(notify: files.Tell, *notices: str) -> None:
    """Call ``notify`` with each sentence that is not empty."""
    for notice in filter(None, notices):
        notify(notice)


def _start(
    learner: Learner,
    budget: Budget,
    folder: Path,
    workers: Workers,
    resume: bool,
    notify: files.Tell,
    *,
    longer: bool,
) -> tuple[Cost, float]:
    """Restore the state of the folder if ``resume``. Returns the cost so far and the operations of an environment step.

    Args:
        learner: the learner.
        budget: the budget.
        folder: the run folder.
        workers: the processes that train together.
        resume: True to restore the state.
        notify: called with sentences for the user.
        longer: True if the budget is larger than that of the folder's config.json.

    Raises:
        UserError: the budget is far too small for one update, or the folder's run cannot be trained further.
    """
    restored = run_folder.restore(folder, learner, notify) if resume else None
    cost, flops_per_step = restored or (Cost(), None)
    if math.isnan(cost.flops) and (longer or not cost.spends(budget)):
        raise UserError(
            f"The cost of training {folder} is unknown: it has neither checkpoints nor a whole train.jsonl. It can be "
            "played, but not trained further. Choose another --out."
        )
    if restored and (flops_per_step is not None or cost.spends(budget)):
        return cost, flops_per_step or 0.0
    with _divergence_located(folder, learner):
        one = _first_update(learner, workers)
    if not restored:
        _refuse_short(budget, one)
        if resume and (folder / train_log.NAME).exists():
            notify(f"{folder} has no checkpoint yet: training begins at its first step.")
    return cost, one.flops / one.env_steps


def _half_width(evaluation: Evaluation) -> float:
    """Half of the 95% interval of the mean return of a trial."""
    n, total, squares = evaluation.pooled("trial_return")
    return mean_interval(total, squares, int(n)).half


def _overrun(cost: Cost, budget: Budget) -> str:
    """A notice if the last update went far past the budget, else an empty string."""
    past, steps = cost.share(budget) - 1, f"{cost.env_steps:,} environment steps"
    if past < _OVERRUN:
        return ""
    return f"trained for {steps}, {past:.0%} past the budget of {budget}: updates are that long."


@contextmanager
def _divergence_located(folder: Path, learner: Learner) -> Generator[None]:
    """A context that adds to a divergence its environment step and the checkpoint that is kept."""
    try:
        yield
    except DivergenceError as error:
        raise run_folder.diverged(folder, learner.env_steps, str(error)) from None


def _update(
    learner: Learner, spent: float, workers: Workers, asked: Callable[[], bool]
) -> tuple[dict[str, float], float, bool]:
    """One update: metrics and wall time, averaged over workers, and True if any of them is to stop."""
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
    """Refuse a budget that the first update would exceed by far.

    Raises:
        UserError: one update takes more than twice the budget (unknown for budgets of seconds).
    """
    if budget.unit != "seconds" and one.share(budget) > _MOST:
        least, unit = one.env_steps, ""
        if budget.unit == "flops":
            least, unit = math.ceil(one.flops), "flops"
        raise UserError(
            f"One update takes {Budget(float(least), budget.unit)}, {one.share(budget):,.1f} times the budget of "
            f"{budget}. Give --budget {least}{unit} or more, or make updates shorter by the method's settings."
        )


def _first_update(learner: Learner, workers: Workers) -> Cost:
    """Environment steps and operations of the first update, which is then undone: counting slows it down.

    All updates have the shapes of the first one, unless episodes can end early: then the cost of padding may grow.
    """
    state = copy.deepcopy(learner.state_dict())
    before = learner.env_steps
    with flops.counter() as counter:
        learner.update(0.0)
    steps = learner.env_steps - before
    learner.load_state_dict(state)
    return Cost(env_steps=steps, flops=float(workers.count * counter.get_total_flops()))


@dataclass
class _Recorder:
    """The work of the first process after each update: evaluation if it is due, log, trackers, checkpoints."""

    learner: Learner
    family: TaskFamily
    schedule: Schedule
    folder: Path
    workers: Workers
    flops_per_step: float
    notify: files.Tell
    progress: Callable[[float], None] | None

    def __post_init__(self) -> None:
        self.log = train_log.Log(self.folder, self.learner.env_steps, notify=self.notify)
        self.saved, self.saved_at = time.monotonic(), self.learner.env_steps

    def record(self, line: dict[str, float | int], cost: Cost, spent: float) -> None:
        """Called after an update that raised the share of the budget from ``spent`` to that of ``cost``."""
        share, times = cost.share(self.schedule.budget), self.schedule.evaluations
        if math.floor(share * times) > math.floor(spent * times):
            plan = Plan(split="id_val", trials=self.schedule.evaluation_trials)
            agent, device = self.learner.agent(), self.workers.device
            evaluation = evaluate(agent, self.family, plan, device=device)
            line["id_val_trial_return"] = evaluation.mean("trial_return")
            line["id_val_trial_return_half"] = _half_width(evaluation)
        self.log.write(line)
        self.workers.log(line, self.learner.env_steps)
        if self.progress:
            self.progress(min(share, 1.0))
        if time.monotonic() - self.saved > self.schedule.checkpoint_seconds:
            self._save(cost)

    def finish(self, cost: Cost) -> None:
        """Called at the end of the budget, or after an interrupt."""
        if self.learner.env_steps != self.saved_at:
            self._save(cost)
        if cost.spends(self.schedule.budget):
            run_folder.save_model(self.folder, self.learner)

    def _save(self, cost: Cost) -> None:
        run_folder.save(self.folder, self.learner, cost, self.flops_per_step)
        self.saved, self.saved_at = time.monotonic(), self.learner.env_steps
