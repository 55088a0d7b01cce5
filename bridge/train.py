"""The outer loop around any learner: budget, evaluation on id_val, checkpoints, metrics. The method's own loop is in
its file.

A run folder holds ``config.json`` (what is trained, on what, with which seed), ``train.jsonl`` (a line an update),
``checkpoints/`` and, once the budget is spent, ``model.safetensors``. Killing the process at any moment loses the
work since the last checkpoint and nothing else: a resumed run ends bitwise equal to one that was never stopped, but
for clocks, because all noise is counted (``bridge.rng``) and so there is no generator whose state could be lost.

The last checkpoint of a run is the one that counts; evaluations on ``id_val`` are for watching and for choosing
configurations, never for choosing a moment of a run.

Checkpoints are safetensors with JSON rather than ``Accelerator.save_state``, whose files are pickles: nothing that is
loaded here can execute code.
"""

from __future__ import annotations

import json
import math
import signal
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from bridge import checkpoint, results
from bridge.budget import Budget, Cost
from bridge.errors import UserError
from bridge.evaluate import Plan, evaluate
from bridge.protocol import Learner
from bridge.tasks.base import SUITE_VERSION, TaskFamily
from bridge.workers import Workers

CLOCKS = ("seconds", "steps_per_second")
"""Columns of train.jsonl that differ between equal runs."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """When the loop does what."""

    budget: Budget
    """How long to train. Only budgets of steps and of flops end at the same update on every machine."""
    checkpoint_seconds: float = 300.0
    """Most work that a kill can lose."""
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
    """Train until the budget is spent; True then, False where a signal asked to stop first (the state is saved).

    Args:
        learner: who learns; its state is replaced by the checkpoint's where a run is resumed.
        family: on what; ``id_val`` is evaluated.
        schedule: budget and cadence.
        about: what identifies the run (method, configuration, seed): a folder of another run is refused.
        folder: the run folder.
        resume: go on with the run that the folder holds.
        workers: the processes that train together, each of which calls this; the first one writes.
        tell: hears of what a user should know (a damaged checkpoint).
        progress: called after each update with the share of the budget that is spent.

    Raises:
        UserError: the folder holds another run, or a loss is no longer a number (the last good checkpoint is kept).
    """
    workers = workers or Workers()
    writes = workers.index == 0
    about = {"suite_version": SUITE_VERSION, "family": family.id, "family_hash": family.hash, **about}
    about |= {"schedule": asdict(schedule), "processes": workers.count}
    if writes:
        _claim(folder, about, resume)
    meter = _Meter()
    if resume and (state := _restore(learner, folder, tell)):
        meter = _Meter(Cost(**state["cost"]), state["flops_per_step"])
    log = _Log(folder / "train.jsonl", learner.env_steps) if writes else None
    saved = time.monotonic()
    with _asked_to_stop() if writes else nullcontext(lambda: False) as asked:
        stop = False
        while (spent := meter.cost.share(schedule.budget)) < 1 and not stop:
            line, stop = meter.update(learner, spent, workers, asked)
            _refuse_nan(line, folder)
            share = meter.cost.share(schedule.budget)
            if log is None:
                continue
            if math.floor(share * schedule.evaluations) > math.floor(spent * schedule.evaluations):
                plan = Plan(split="id_val", trials=schedule.evaluation_trials)
                line["id_val_trial_return"] = evaluate(learner.agent(), family, plan).mean("trial_return")
            log.write(line)
            workers.log(line, learner.env_steps)
            if progress:
                progress(min(share, 1.0))
            if time.monotonic() - saved > schedule.checkpoint_seconds:
                _save(learner, meter, folder)
                saved = time.monotonic()
    done = meter.cost.share(schedule.budget) >= 1
    if writes:
        _save(learner, meter, folder)
        if done:
            checkpoint.save(folder / "model.safetensors", learner.state_dict())
    return done


@dataclass
class _Meter:
    """Runs updates and counts what they cost."""

    cost: Cost = field(default_factory=Cost)
    flops_per_step: float | None = None
    """As the first update of the run showed: counting slows an update down, and all of them have the same shapes."""

    def update(
        self, learner: Learner, spent: float, workers: Workers, asked: Callable[[], bool]
    ) -> tuple[dict[str, float | int], bool]:
        """One update: its line for the log, the average over workers, and whether any of them was asked to stop."""
        began, before = time.monotonic(), learner.env_steps
        if self.flops_per_step is not None:
            metrics = dict(learner.update(spent))
        else:
            with FlopCounterMode(display=False) as counter:
                metrics = dict(learner.update(spent))
            self.flops_per_step = workers.count * counter.get_total_flops() / (learner.env_steps - before)
        seconds = time.monotonic() - began
        if workers.count > 1:
            own = torch.tensor([*metrics.values(), seconds, asked()], dtype=torch.float64, device=workers.device)
            *values, seconds, stop = workers.mean(own).tolist()
            metrics = dict(zip(metrics, values, strict=True))
        else:
            stop = asked()
        steps = learner.env_steps - before
        flops = self.cost.flops + self.flops_per_step * steps
        self.cost = Cost(learner.env_steps, learner.grad_steps, self.cost.seconds + seconds, flops)
        clocks = {"seconds": seconds, "steps_per_second": steps / seconds}
        return {"env_steps": learner.env_steps, **metrics, "flops": flops, **clocks}, bool(stop)


def read_cost(folder: Path) -> Cost:
    """What the run in a folder has cost up to its last checkpoint."""
    state = checkpoint.load_last(folder / "checkpoints", print)
    return Cost(**state["cost"]) if state else Cost()


def restore(learner: Learner, folder: Path, tell: Callable[[str], None]) -> bool:
    """Give ``learner`` the state of a run's last checkpoint; False where there is none yet.

    Raises:
        UserError: the checkpoint is of another version of the method.
    """
    return _restore(learner, folder, tell) is not None


def _restore(learner: Learner, folder: Path, tell: Callable[[str], None]) -> dict[str, Any] | None:
    state = checkpoint.load_last(folder / "checkpoints", tell)
    if state is None:
        return None
    try:
        learner.load_state_dict(state["learner"])
    except (KeyError, RuntimeError, TypeError) as error:
        raise UserError(f"{folder} was written by another version of its method ({error!r}). Train it again.") from None
    return state


def _save(learner: Learner, meter: _Meter, folder: Path) -> None:
    state = {"learner": learner.state_dict(), "cost": asdict(meter.cost), "flops_per_step": meter.flops_per_step}
    checkpoint.save_step(folder / "checkpoints", learner.env_steps, state)


def read_config(folder: Path) -> dict[str, Any]:
    """What a run folder says that it is.

    Raises:
        UserError: no run folder, or one of another suite version.
    """
    try:
        about = json.loads((folder / "config.json").read_text())
        version = about["suite_version"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder} is not a run folder: config.json cannot be read ({error}).") from None
    if version != SUITE_VERSION:
        raise UserError(f"{folder} is of suite version {version}; this is {SUITE_VERSION}. Train it again.")
    return about


def _claim(folder: Path, about: dict[str, Any], resume: bool) -> None:
    """Make the folder this run's, or make sure that it already is."""
    path = folder / "config.json"
    if not path.exists():
        results.write_text(path, json.dumps(about, indent=1, sort_keys=True) + "\n")
        return
    found = read_config(folder)
    for key in sorted(found.keys() | about.keys()):
        if found.get(key) != about.get(key):
            raise UserError(
                f"{folder} holds another run: its {key} is {found.get(key)!r}, this one's is {about.get(key)!r}. "
                "Choose another --out."
            )
    if not resume:
        raise UserError(f"{folder} holds this run already. Add --resume to go on with it, or choose another --out.")


class _Log:
    """train.jsonl, cut back to what the checkpoint knows, ready for more lines."""

    def __init__(self, path: Path, env_steps: int) -> None:
        kept = []
        if path.exists():
            for text in path.read_text().splitlines():
                try:
                    line = json.loads(text)
                except ValueError:
                    break  # the last line of a killed process
                if line["env_steps"] <= env_steps:
                    kept.append(text + "\n")
        results.write_text(path, "".join(kept))
        self.path = path

    def write(self, line: dict[str, float | int]) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")


def _refuse_nan(line: dict[str, float | int], folder: Path) -> None:
    bad = [key for key, value in line.items() if not math.isfinite(value)]
    if bad:
        raise UserError(
            f"Training stopped at {line['env_steps']:,} environment steps: {', '.join(bad)} is no longer a number. "
            f"The last good checkpoint is kept in {folder / 'checkpoints'}; train again with a lower learning rate."
        )


@contextmanager
def _asked_to_stop() -> Generator[Callable[[], bool]]:
    """Ctrl-C and SIGTERM ask the loop to stop after the update that is running; a second one stops at once."""
    asked: list[int] = []

    def ask(number: int, _frame: FrameType | None) -> None:
        asked.append(number)
        for name in (signal.SIGINT, signal.SIGTERM):
            signal.signal(name, before[name])

    before = {name: signal.signal(name, ask) for name in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
