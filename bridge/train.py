"""The outer loop around any learner: budget, evaluation on id_val, checkpoints, metrics. The method's own loop is in
its file.

A run folder holds ``config.json`` (what is trained, on what, with which seed), ``train.jsonl`` (a line an update),
``checkpoints/`` and, once the budget is spent, ``model.safetensors``. Killing the process at any moment loses the
work since the last checkpoint and nothing else: a resumed run ends bitwise equal to one that was never stopped, but
for clocks, because all noise is counted (``bridge.rng``) and so there is no generator whose state could be lost.

The last checkpoint of a run is the one that counts; evaluations on ``id_val`` are for watching and for choosing
configurations, never for choosing a moment of a run.
"""

from __future__ import annotations

import json
import math
import signal
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from bridge import checkpoint, results
from bridge.errors import UserError
from bridge.evaluate import Plan, evaluate
from bridge.protocol import Learner
from bridge.tasks.base import SUITE_VERSION, TaskFamily

CLOCKS = ("seconds", "steps_per_second")
"""Columns of train.jsonl that differ between equal runs."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """When the loop does what."""

    budget: int
    """Environment steps to train for, inner loops and all."""
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
    tell: Callable[[str], None] = print,
    progress: Callable[[int], None] | None = None,
) -> bool:
    """Train until the budget is spent; True then, False where a signal asked to stop first (the state is saved).

    Args:
        learner: who learns; its state is replaced by the checkpoint's where a run is resumed.
        family: on what; ``id_val`` is evaluated.
        schedule: budget and cadence.
        about: what identifies the run (method, configuration, seed): a folder of another run is refused.
        folder: the run folder.
        resume: go on with the run that the folder holds.
        tell: hears of what a user should know (a damaged checkpoint).
        progress: called with the environment steps of each update.

    Raises:
        UserError: the folder holds another run, or a loss is no longer a number (the last good checkpoint is kept).
    """
    about = {"suite_version": SUITE_VERSION, "family": family.id, "family_hash": family.hash, **about}
    about |= {"schedule": asdict(schedule)}
    _claim(folder, about, resume)
    if resume:
        restore(learner, folder, tell)
    log = _open_log(folder / "train.jsonl", learner.env_steps)
    saved = time.monotonic()
    with _asked_to_stop() as stop, log:
        while learner.env_steps < schedule.budget and not stop():
            began, before = time.monotonic(), learner.env_steps
            line = {"env_steps": 0, **learner.update()}
            line["env_steps"] = learner.env_steps
            _refuse_nan(line, folder)
            seconds = time.monotonic() - began
            line |= {"seconds": seconds, "steps_per_second": (learner.env_steps - before) / seconds}
            if _crossed(before, learner.env_steps, schedule):
                plan = Plan(split="id_val", trials=schedule.evaluation_trials)
                line["id_val_trial_return"] = evaluate(learner.agent(), family, plan).mean("trial_return")
            log.write(json.dumps(line) + "\n")
            log.flush()
            if progress:
                progress(learner.env_steps - before)
            if time.monotonic() - saved > schedule.checkpoint_seconds:
                checkpoint.save_step(folder / "checkpoints", learner.env_steps, learner.state_dict())
                saved = time.monotonic()
    checkpoint.save_step(folder / "checkpoints", learner.env_steps, learner.state_dict())
    if learner.env_steps < schedule.budget:
        return False
    checkpoint.save(folder / "model.safetensors", learner.state_dict())
    return True


def restore(learner: Learner, folder: Path, tell: Callable[[str], None]) -> bool:
    """Give ``learner`` the state of a run's last checkpoint; False where there is none yet.

    Raises:
        UserError: the checkpoint is of another version of the method.
    """
    state = checkpoint.load_last(folder / "checkpoints", tell)
    if state is None:
        return False
    try:
        learner.load_state_dict(state)
    except (KeyError, RuntimeError, TypeError) as error:
        raise UserError(f"{folder} was written by another version of its method ({error!r}). Train it again.") from None
    return True


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


def _open_log(path: Path, env_steps: int) -> Any:
    """The log, cut back to what the checkpoint knows, ready for more lines."""
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
    return path.open("a")


def _crossed(before: int, after: int, schedule: Schedule) -> bool:
    """Whether an evaluation is due between two counts of environment steps."""
    every = schedule.budget / schedule.evaluations
    return math.floor(after / every) > math.floor(before / every)


def _refuse_nan(line: dict[str, Any], folder: Path) -> None:
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
