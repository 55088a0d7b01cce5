"""What a training writes: ``config.json`` (what is trained, on what, with which seed), ``train.jsonl`` (a line an
update), ``checkpoints/`` and, once the budget is spent, ``model.safetensors``.

Checkpoints are safetensors with JSON rather than ``Accelerator.save_state``, whose files are pickles: nothing that is
loaded here can execute code.
"""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bridge import files, json_files
from bridge.errors import DivergenceError, UserError
from bridge.protocol import Learner
from bridge.tasks.base import SUITE_VERSION
from bridge.training import checkpoint
from bridge.training.budget import Budget, Cost

MODEL = "model.safetensors"
"""The state of a learner whose budget is spent. It is read if there are no checkpoints."""
LOG = "train.jsonl"
"""A line an update."""
_REMEDY = "Put a copy of it back, or train in another folder."
_NO_PART = {"earlier_budgets", "base.run", "base.card.method", "demos"}
"""Keys of config.json that do not tell one run from another: a folder can be spelt in many ways, and other keys say
what it holds."""
_OF_BUDGET = {"schedule.budget.amount", "schedule.evaluation_trials"}
"""Keys that change when a run is trained further."""


def is_claimed(folder: Path) -> bool:
    """Whether a folder says that it is a run's."""
    return (folder / "config.json").exists()


def claim(folder: Path, about: dict[str, Any], *, resume: bool) -> None:
    """Make the folder this run's, or make sure that it already is. A larger budget is no other run: see ``extend``.

    Raises:
        UserError: it holds another run (which key differs is said), this one and ``resume`` was not asked for, or
            weights or a log of which it does not say whose they are.
    """
    path = folder / "config.json"
    if not is_claimed(folder):
        if held := [
            *folder.glob(LOG),
            *checkpoint.paths(folder / "checkpoints"),
            *folder.glob(MODEL),
        ]:
            raise UserError(
                f"{folder} holds {held[-1].relative_to(folder)} without a config.json that says of which run. Put its "
                "config.json back, or choose another --out."
            )
        files.write_text(path, json.dumps(about, indent=1, sort_keys=True) + "\n")
        return
    config = read_config(folder)
    check_config(folder, config, {"earlier_budgets": list}, "earlier_budgets")
    longer = _is_longer(config, about)
    found, ours = _flat(config), _flat(about)
    keys = (found.keys() | ours.keys()) - (_NO_PART | _OF_BUDGET if longer else _NO_PART)
    for key in sorted(keys, key=lambda key: (key not in ("method", "family"), key)):
        if found.get(key) != ours.get(key):
            raise UserError(
                f"{folder} holds another run: its {key} is {found.get(key)!r}, this one's is {ours.get(key)!r}. "
                "Choose another --out."
            )
    if not resume:
        go_on = (
            f"train it further, for {_budget(about)} in place of {_budget(config)}"
            if longer
            else "go on with it"
        )
        raise UserError(
            f"{folder} holds this run already. Add --resume to {go_on}, or choose another --out."
        )


def extend(folder: Path, about: Mapping[str, Any], env_steps: int) -> str:
    """Write down that the folder's run is trained for a larger budget from ``env_steps`` on; returns a sentence that
    says so, empty if the budget is the one that it had."""
    config = read_config(folder)
    if not _is_longer(config, about):
        return ""
    earlier = [
        *config.get("earlier_budgets", ()),
        config["schedule"]["budget"] | {"env_steps": env_steps},
    ]
    now = json.dumps(config | dict(about) | {"earlier_budgets": earlier}, indent=1, sort_keys=True)
    files.write_text(folder / "config.json", now + "\n")
    return (
        f"{folder} is trained further, for {_budget(about)} in place of {_budget(config)}. From {env_steps:,} "
        "environment steps on its schedules go by the new budget: it is another run than one with that from the start."
    )


def is_longer(folder: Path, about: Mapping[str, Any]) -> bool:
    """Whether ``about`` has a larger budget than the run that the folder holds; False if it holds none."""
    return is_claimed(folder) and _is_longer(read_config(folder), about)


def _is_longer(config: Mapping[str, Any], about: Mapping[str, Any]) -> bool:
    """Whether ``about`` has a larger budget, of the same unit."""
    try:
        before, now = config["schedule"]["budget"], about["schedule"]["budget"]
        return before["unit"] == now["unit"] and before["amount"] < now["amount"]
    except (KeyError, TypeError):  # edited, or of something that has no budget
        return False


def _budget(about: Mapping[str, Any]) -> Budget:
    budget = about["schedule"]["budget"]
    return Budget(budget["amount"], budget["unit"])


_LEFT_OUT = {
    "refused": "of the tasks (an inner step was refused)",
    "skipped": "of the outer steps (skipped)",
}
"""Metrics of an update that are shares of it which came to no number, or to one too large, and so changed nothing."""


def read_config(folder: Path) -> dict[str, Any]:
    """What a run folder says that it is.

    Raises:
        UserError: no run folder, one that may not be read, or one of another suite version.
    """
    path = folder / "config.json"
    if folder.is_dir() and not path.exists():
        raise UserError(f"{folder} is not a run folder: it has no config.json.")
    about = json_files.read_object(path, _REMEDY)
    if "suite_version" not in about:
        raise UserError(
            f"{folder} is not a run folder: its config.json does not say suite_version. {_REMEDY}"
        )
    if (version := about["suite_version"]) != SUITE_VERSION:
        raise UserError(
            f"{folder} is of suite version {version}; this is {SUITE_VERSION}. Train it again."
        )
    return about


def check_config(
    folder: Path, about: Mapping[str, Any], types: Mapping[str, type], *optional: str
) -> None:
    """Make sure that a ``config.json`` says what is needed, but for what is ``optional``.

    Raises:
        UserError: a key is missing or of another type.
    """
    json_files.check(about, folder / "config.json", types, _REMEDY, optional=optional)


def save(folder: Path, learner: Learner, cost: Cost, flops_per_step: float) -> None:
    """Write a checkpoint.

    Raises:
        DivergenceError: the learner holds numbers that are none; the checkpoint before stays the last one.
    """
    state = {
        "learner": learner.state_dict(),
        "cost": asdict(cost),
        "flops_per_step": flops_per_step,
    }
    broken = [
        n
        for n, t in checkpoint.pack(state)[1].items()
        if t.is_floating_point() and not t.isfinite().all()
    ]
    if broken:
        raise diverged(
            folder,
            cost.env_steps,
            f"{broken[0].removeprefix('state.learner.')} is no longer a number.",
        )
    checkpoint.save_step(folder / "checkpoints", learner.env_steps, state)


def save_model(folder: Path, learner: Learner) -> None:
    """Write ``model.safetensors``, unless it is this learner's already."""
    state = learner.state_dict()
    if not checkpoint.holds(folder / MODEL, state):
        checkpoint.save(folder / MODEL, state)


def restore(
    folder: Path, learner: Learner, tell: Callable[[str], None]
) -> tuple[Cost, float | None] | None:
    """Give ``learner`` the state that the run came to; None if there is none yet.

    Returns its cost and its flops a step (None: not known).

    Raises:
        UserError: the state is of another version of the method, or cannot be read.
    """
    state = _last_state(folder, tell)
    if state is None:
        return None
    try:
        learner.load_state_dict(state["learner"])
        return Cost(**state["cost"]), state["flops_per_step"]
    except (KeyError, RuntimeError, TypeError, ValueError, AttributeError) as error:
        why = textwrap.shorten(f"{type(error).__name__}: {error}", 200)
        raise UserError(
            f"{folder} was written by another version of its method ({why}). Train it again."
        ) from None


def read_cost(folder: Path, tell: Callable[[str], None]) -> Cost:
    """What the run has cost up to the state that it came to; NaN for what nothing says.

    Raises:
        UserError: there is no such state, or one of another version.
    """
    try:
        return Cost(**(_last_state(folder, tell) or {})["cost"])
    except (KeyError, TypeError):
        raise UserError(f"{folder} has no checkpoint of this version. Train it again.") from None


def trained_at(folder: Path) -> float:
    """When the weights that the run came to were written (seconds since 1970), 0 if there are none."""
    found = [*checkpoint.paths(folder / "checkpoints"), *folder.glob(MODEL)]
    return max((path.stat().st_mtime for path in found), default=0.0)


def _last_state(folder: Path, tell: Callable[[str], None]) -> dict[str, Any] | None:
    """The last checkpoint that is whole; without checkpoints, the model; None without both.

    Raises:
        UserError: there are files, and none can be read: they may be sound elsewhere, so that nothing begins anew.
    """
    places = folder / "checkpoints"
    try:
        state = checkpoint.load_last(places, tell)
        if state is not None or not (folder / MODEL).exists():
            return state
        learner = checkpoint.load(folder / MODEL)
    except checkpoint.DamagedError as error:
        raise UserError(
            f"{error}. Put a copy back. Without one, move {'them' if checkpoint.paths(places) else 'it'} away: the run "
            f"then goes on from its {MODEL} if it has one, or begins anew."
        ) from error
    return {"learner": learner, "cost": asdict(_cost_of(folder, learner)), "flops_per_step": None}


def _cost_of(folder: Path, learner: Mapping[str, Any]) -> Cost:
    """What a model has cost: steps by its counters, the rest by train.jsonl if that goes so far, else NaN."""
    env_steps, grad_steps = learner.get("env_steps", 0), learner.get("grad_steps", 0)
    lines, damaged = _read_log(folder)
    lines = [
        line
        for line in lines
        if line["env_steps"] <= env_steps and {"seconds", "flops"} <= line.keys()
    ]
    if damaged or not lines or lines[-1]["env_steps"] != env_steps:
        return Cost(env_steps, grad_steps, math.nan, math.nan)
    return Cost(env_steps, grad_steps, sum(line["seconds"] for line in lines), lines[-1]["flops"])


class Log:
    """train.jsonl, cut back to the lines whose ``counter`` is at most ``done``, ready for more.

    ``tell`` hears of damaged lines, which are left out.
    """

    def __init__(
        self,
        folder: Path,
        done: int,
        counter: str = "env_steps",
        tell: Callable[[str], None] = print,
    ) -> None:
        self.path = folder / LOG
        lines, damaged = _read_log(folder, counter)
        if damaged:
            tell(
                f"{self.path} is damaged: line {', '.join(map(str, damaged))} is left out. The training goes on."
            )
        kept = "".join(json.dumps(line) + "\n" for line in lines if line[counter] <= done).encode()
        if not self.path.exists() or self.path.read_bytes() != kept:
            files.write_text(self.path, kept.decode())

    def write(self, line: dict[str, float | int]) -> None:
        """One update."""
        files.append_line(self.path, json.dumps(line))


def _read_log(
    folder: Path, counter: str = "env_steps"
) -> tuple[list[dict[str, float | int]], list[int]]:
    """The lines of train.jsonl that have a ``counter``, and the numbers of damaged ones.

    A last one that a killed process broke off is neither.

    Raises:
        UserError: it may not be read.
    """
    path, good, damaged = folder / LOG, [], []
    if not path.exists():
        return [], []
    try:
        texts = path.read_bytes().split(b"\n")
    except OSError as error:
        raise files.unreadable(path, error) from error
    for number, text in enumerate(
        texts[:-1], 1
    ):  # the last one ends with no newline: it is empty, or was broken off
        try:
            line = json.loads(text)
            if not all(isinstance(value, int | float) for value in line.values()):
                raise ValueError("not all of it are numbers")
            int(line[counter])
            good.append(line)
        except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError):
            damaged.append(number)
    return good, damaged


def last(folder: Path, key: str) -> int:
    """What the last whole line of train.jsonl that has ``key`` says of it; 0 if there is none.

    Raises:
        UserError: it may not be read.
    """
    lines, _ = _read_log(folder, key)
    return int(lines[-1][key]) if lines else 0


def left_out(folder: Path) -> str:
    """What training has left out as it was no number or too long, as a sentence; empty where that is nothing."""
    lines, _ = _read_log(folder)
    parts = []
    for name, what in _LEFT_OUT.items():
        shares = [line[name] for line in lines if line.get(name)]
        if shares:
            parts.append(
                f"{sum(shares) / len(lines):.2%} {what}, in {len(shares):,} of {len(lines):,} updates"
            )
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
    kept = checkpoint.paths(folder / "checkpoints")
    said = (
        f"The last good checkpoint is kept in {folder / 'checkpoints'}"
        if kept
        else "There was no checkpoint yet"
    )
    return DivergenceError(
        f"Training stopped at {env_steps:,} environment steps: {why} {said}; train again with a lower learning rate, "
        "in another folder."
    )


def _flat(about: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """``{"config": {"lr": 1}}`` -> ``{"config.lr": 1}``."""
    flat = {}
    for key, value in about.items():
        flat |= (
            _flat(value, f"{prefix}{key}.")
            if isinstance(value, dict)
            else {f"{prefix}{key}": value}
        )
    return flat
