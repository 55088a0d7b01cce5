"""What a training writes: ``config.json`` (what is trained, on what, with which seed), ``train.jsonl`` (a line an
update), ``checkpoints/`` and, once the budget is spent, ``model.safetensors``.

Checkpoints are safetensors with JSON rather than ``Accelerator.save_state``, whose files are pickles: nothing that is
loaded here can execute code.
"""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bridge import checkpoint, files
from bridge.budget import Cost
from bridge.errors import DivergenceError, UserError
from bridge.protocol import Learner
from bridge.tasks.base import SUITE_VERSION


def claim(folder: Path, about: dict[str, Any], *, resume: bool) -> None:
    """Make the folder this run's, or make sure that it already is.

    Raises:
        UserError: it holds another run (which key differs is said), or this one and ``resume`` was not asked for.
    """
    path = folder / "config.json"
    if not path.exists():
        files.write_text(path, json.dumps(about, indent=1, sort_keys=True) + "\n")
        return
    found, ours = _flat(read_config(folder)), _flat(about)
    for key in sorted(found.keys() | ours.keys(), key=lambda key: (key not in ("method", "family"), key)):
        if found.get(key) != ours.get(key):
            raise UserError(
                f"{folder} holds another run: its {key} is {found.get(key)!r}, this one's is {ours.get(key)!r}. "
                "Choose another --out."
            )
    if not resume:
        raise UserError(f"{folder} holds this run already. Add --resume to go on with it, or choose another --out.")


_LEFT_OUT = {"refused": "of the tasks (an inner step was refused)", "skipped": "of the outer steps (skipped)"}
"""Metrics of an update that are shares of it which came to no number, or to one too large, and so changed nothing."""


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


def save(folder: Path, learner: Learner, cost: Cost, flops_per_step: float) -> None:
    """Write a checkpoint.

    Raises:
        DivergenceError: the learner holds numbers that are none; the checkpoint before stays the last one.
    """
    state = {"learner": learner.state_dict(), "cost": asdict(cost), "flops_per_step": flops_per_step}
    broken = [n for n, t in checkpoint.pack(state)[1].items() if t.is_floating_point() and not t.isfinite().all()]
    if broken:
        raise diverged(folder, cost.env_steps, f"{broken[0].removeprefix('state.learner.')} is no longer a number.")
    checkpoint.save_step(folder / "checkpoints", learner.env_steps, state)


def restore(folder: Path, learner: Learner, tell: Callable[[str], None]) -> tuple[Cost, float] | None:
    """Give ``learner`` the state of the last checkpoint; its cost and flops a step, or None where there is none yet.

    Raises:
        UserError: the checkpoint is of another version of the method.
    """
    state = checkpoint.load_last(folder / "checkpoints", tell)
    if state is None:
        return None
    try:
        learner.load_state_dict(state["learner"])
        return Cost(**state["cost"]), state["flops_per_step"]
    except (KeyError, RuntimeError, TypeError) as error:
        why = textwrap.shorten(f"{type(error).__name__}: {error}", 200)
        raise UserError(f"{folder} was written by another version of its method ({why}). Train it again.") from None


def read_cost(folder: Path, tell: Callable[[str], None]) -> Cost:
    """What the run has cost up to its last checkpoint.

    Raises:
        UserError: there is no checkpoint, or one of another version.
    """
    try:
        return Cost(**(checkpoint.load_last(folder / "checkpoints", tell) or {})["cost"])
    except (KeyError, TypeError):
        raise UserError(f"{folder} has no checkpoint of this version. Train it again.") from None


class Log:
    """train.jsonl, cut back to what the checkpoint knows, ready for more lines."""

    def __init__(self, folder: Path, done: int, counter: str = "env_steps") -> None:
        self.path = folder / "train.jsonl"
        kept = []
        if self.path.exists():
            for text in self.path.read_text().splitlines():
                try:
                    line = json.loads(text)
                except ValueError:
                    break  # the last line of a killed process
                if line[counter] <= done:
                    kept.append(text + "\n")
        files.write_text(self.path, "".join(kept))

    def write(self, line: dict[str, float | int]) -> None:
        """One update."""
        files.append_line(self.path, json.dumps(line))


def left_out(folder: Path) -> str:
    """What training has left out as it was no number or too long, as a sentence; empty where that is nothing."""
    lines = [json.loads(text) for text in (folder / "train.jsonl").read_text().splitlines()]
    parts = []
    for name, what in _LEFT_OUT.items():
        shares = [line[name] for line in lines if line.get(name)]
        if shares:
            parts.append(f"{sum(shares) / len(lines):.2%} {what}, in {len(shares):,} of {len(lines):,} updates")
    return f"left out of training, as no number or too long: {'; '.join(parts)}." if parts else ""


def refuse_nan(folder: Path, line: dict[str, float | int]) -> None:
    """Stop where a metric is no longer a number.

    Raises:
        DivergenceError: one is.
    """
    bad = [key for key, value in line.items() if not math.isfinite(value)]
    if bad:
        raise diverged(folder, int(line["env_steps"]), f"{', '.join(bad)} is no longer a number.")


def diverged(folder: Path, env_steps: int, why: str) -> DivergenceError:
    """The error that ends a training: where it was, ``why`` (a sentence), what is kept and what to do."""
    kept = any((folder / "checkpoints").glob("*.safetensors"))
    said = f"The last good checkpoint is kept in {folder / 'checkpoints'}" if kept else "There was no checkpoint yet"
    return DivergenceError(
        f"Training stopped at {env_steps:,} environment steps: {why} {said}; train again with a lower learning rate, "
        "in another folder."
    )


def _flat(about: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """``{"config": {"lr": 1}}`` -> ``{"config.lr": 1}``."""
    flat = {}
    for key, value in about.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
