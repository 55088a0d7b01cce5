"""The folder of a training run: ``config.json`` (method, family, seed, schedule), ``train.jsonl`` (``train_log.py``),
``checkpoints/`` and, once the budget is spent, ``model.safetensors``.

Checkpoints are safetensors with JSON rather than ``Accelerator.save_state``, whose files are pickles: nothing that is
loaded here can execute code.
"""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import optree
from torch import Tensor

from bridge import files, json_files
from bridge.errors import DivergenceError, UserError
from bridge.protocol import Exportable, Learner
from bridge.tasks.base import SUITE_VERSION
from bridge.training import checkpoint, train_log
from bridge.training.budget import Budget, Cost

MODEL = "model.safetensors"
"""The state of a learner whose budget is spent. It is read if there are no checkpoints."""
_CHECKPOINTS = "checkpoints"
_REMEDY = "Put a copy of it back, or train in another folder."
_NOT_COMPARED = {"earlier_budgets", "base.run", "base.card.method", "demos"}
"""Keys of config.json that may differ within a run: a folder's path can be written in many ways, and other keys
describe what it holds."""
_OF_MODEL = ("model_type", "policy")
"""Keys that describe the network for other libraries. They follow from the method and the family, and their content
depends on the versions of these libraries."""
_OF_BUDGET = {"schedule.budget.amount", "schedule.evaluation_trials"}
"""Keys that change when a run is trained further."""

About = Mapping[str, Any]
"""The content of a ``config.json``."""


def is_claimed(folder: Path) -> bool:
    """True if a folder is that of a run."""
    return (folder / "config.json").exists()


def claim(folder: Path, about: dict[str, Any], *, resume: bool) -> None:
    """Make the folder this run's, or check that it already is. A larger budget is the same run: see ``extend``.

    Raises:
        UserError: the folder holds another run (the message names a key that differs), this run although ``resume`` is
            False, or weights or a log without a config.json.
    """
    if not is_claimed(folder):
        unknown = [*folder.glob(train_log.NAME), *_weights(folder)]
        if unknown:
            raise UserError(
                f"{folder} holds {unknown[-1].relative_to(folder)} without a config.json that describes its run. Put "
                "its config.json back, or choose another --out."
            )
        _write_config(folder, about)
        return
    config = read_config(folder)
    check_config(folder, config, {"earlier_budgets": list}, "earlier_budgets")
    if "exported" in config:
        raise UserError(
            f"{folder} holds an agent without the state of its training, which cannot go on. Train in another --out."
        )
    longer = _is_longer(config, about)
    theirs, ours = (_flat(_without_model(each)) for each in (config, about))
    keys = (theirs.keys() | ours.keys()) - _NOT_COMPARED
    if longer:
        keys -= _OF_BUDGET
    for key in sorted(keys, key=lambda key: (key not in ("method", "family"), key)):
        if theirs.get(key) != ours.get(key):
            raise UserError(
                f"{folder} holds another run: its {key} is {theirs.get(key)!r}, this one's is {ours.get(key)!r}. "
                "Choose another --out."
            )
    if not resume:
        go_on = "go on with it"
        if longer:
            go_on = f"train it further, for {_budget(about)} in place of {_budget(config)}"
        raise UserError(
            f"{folder} holds this run already. Add --resume to {go_on}, or choose another --out."
        )


def extend(folder: Path, about: About, env_steps: int) -> str:
    """Record in config.json that the run is trained for a larger budget from ``env_steps`` on.

    Returns:
        A sentence on this; empty if the budget is the same as before.
    """
    config = read_config(folder)
    if not _is_longer(config, about):
        return ""
    earlier = [
        *config.get("earlier_budgets", ()),
        config["schedule"]["budget"] | {"env_steps": env_steps},
    ]
    _write_config(folder, config | dict(about) | {"earlier_budgets": earlier})
    return (
        f"{folder} is trained further, for {_budget(about)} in place of {_budget(config)}. From {env_steps:,} "
        "environment steps on its schedules follow the new budget: a run with that budget from the start would differ."
    )


def _write_config(folder: Path, config: dict[str, Any]) -> None:
    text = json.dumps(config, indent=1, sort_keys=True)
    files.write_text(folder / "config.json", text + "\n")


def is_longer(folder: Path, about: About) -> bool:
    """True if ``about`` has a larger budget than the run of the folder; False if there is no run."""
    return is_claimed(folder) and _is_longer(read_config(folder), about)


def _is_longer(config: About, about: About) -> bool:
    """True if ``about`` has a larger budget, of the same unit."""
    try:
        before, now = config["schedule"]["budget"], about["schedule"]["budget"]
        return before["unit"] == now["unit"] and before["amount"] < now["amount"]
    except (KeyError, TypeError):  # edited, or not a training with a budget
        return False


def _budget(about: About) -> Budget:
    budget = about["schedule"]["budget"]
    return Budget(budget["amount"], budget["unit"])


def read_config(folder: Path) -> dict[str, Any]:
    """The ``config.json`` of a run folder.

    Raises:
        UserError: it is no run folder, may not be read, or is of another suite version.
    """
    path = folder / "config.json"
    if folder.is_dir() and not path.exists():
        raise UserError(f"{folder} is not a run folder: it has no config.json.")
    about = json_files.read_object(path, _REMEDY)
    if "suite_version" not in about:
        raise UserError(
            f"{folder} is not a run folder: its config.json has no suite_version. {_REMEDY}"
        )
    if (version := about["suite_version"]) != SUITE_VERSION:
        raise UserError(
            f"{folder} is of suite version {version}; this is {SUITE_VERSION}. Train it again."
        )
    return about


def check_config(folder: Path, about: About, types: Mapping[str, type], *optional: str) -> None:
    """Check the types of keys of a ``config.json``, some of which are ``optional``.

    Raises:
        UserError: a key is missing or of another type.
    """
    json_files.check(about, folder / "config.json", types, _REMEDY, optional=optional)


def save(folder: Path, learner: Learner, cost: Cost, flops_per_step: float) -> None:
    """Write a checkpoint.

    Raises:
        DivergenceError: a number of the learner is not finite; the checkpoint before stays the last one.
    """
    state = {
        "learner": learner.state_dict(),
        "cost": asdict(cost),
        "flops_per_step": flops_per_step,
    }
    _, tensors = checkpoint.pack(state)
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            name = name.removeprefix("state.learner.")
            raise diverged(folder, cost.env_steps, f"{name} is no longer a number.")
    checkpoint.save_step(folder / _CHECKPOINTS, learner.env_steps, state)


def save_model(folder: Path, learner: Learner) -> None:
    """Write ``model.safetensors``, unless it holds this state already."""
    state = learner.state_dict()
    if not checkpoint.holds(folder / MODEL, state):
        checkpoint.save(folder / MODEL, state)


def restore(folder: Path, learner: Learner, notify: files.Tell) -> tuple[Cost, float | None] | None:
    """Restore the last state of the run.

    Returns:
        The cost so far, and the operations of an environment step (None: unknown); None if there is no state yet.

    Raises:
        UserError: the state is of another version of the method, or cannot be read.
    """
    state = last_state(folder, notify)
    if state is None:
        return None
    with _of_this_version(folder):
        learner.load_state_dict(state["learner"])
        return Cost(**state["cost"]), state["flops_per_step"]


def restore_agent(folder: Path, learner: Learner, notify: files.Tell) -> bool:
    """Restore what the learner's agent needs of the last state of the run; False if there is no state yet.

    Raises:
        UserError: as ``restore``.
    """
    state = last_state(folder, notify)
    if state is not None:
        with _of_this_version(folder):
            load = (
                learner.load_agent_state
                if isinstance(learner, Exportable)
                else learner.load_state_dict
            )
            load(state["learner"])
    return state is not None


@contextmanager
def _of_this_version(folder: Path) -> Generator[None]:
    """Inside this context, a state without the expected parts is refused as that of another version."""
    try:
        yield
    except (KeyError, RuntimeError, TypeError, ValueError, AttributeError) as error:
        why = textwrap.shorten(f"{type(error).__name__}: {error}", 200)
        raise UserError(
            f"{folder} was written by another version of its method ({why}). Train it again."
        ) from None


def export(folder: Path, out: Path, learner: Exportable, about: About) -> None:
    """Write a folder that plays as ``folder`` does, and is small: half-precision weights, without training state.

    Its ``config.json`` is that of ``folder`` with ``about`` as ``exported``; its log has a line for each evaluation.

    Args:
        folder: a run folder.
        out: a new folder.
        learner: the learner of the run, to be restored.
        about: the origin of the run, such as the command that made it.

    Raises:
        UserError: ``out`` is there already, or ``folder`` has no state.
    """
    if out.exists():
        raise UserError(f"{out} is there already. Choose another folder.")
    if not restore_agent(folder, learner, files.say):
        raise UserError(f"{folder} has no checkpoint to export. Train it first.")
    config = read_config(folder) | {"exported": {"weights": "float16", **about}}

    def write(made: Path) -> None:
        checkpoint.save(made / MODEL, _half(learner.agent_state()))
        _write_config(made, config)
        train_log.write_summary(folder, made)

    files.write_folder(out, write)


def _half(state: Any) -> Any:
    """The state with its float tensors in half precision."""
    return optree.tree_map(
        lambda part: part.half() if isinstance(part, Tensor) and part.is_floating_point() else part,
        state,
    )


def read_cost(folder: Path, notify: files.Tell) -> Cost:
    """The cost of the run up to its last state; NaN for unknown parts.

    Raises:
        UserError: there is no state, or one of another version.
    """
    try:
        return Cost(**(last_state(folder, notify) or {})["cost"])
    except (KeyError, TypeError):
        raise UserError(f"{folder} has no checkpoint of this version. Train it again.") from None


def trained_at(folder: Path) -> float:
    """Time at which the run's last weights were written, in seconds since 1970; 0 if there are none."""
    return max((path.stat().st_mtime for path in _weights(folder)), default=0.0)


def _weights(folder: Path) -> list[Path]:
    """The checkpoints of a run, oldest first, and its model."""
    return [*checkpoint.paths(folder / _CHECKPOINTS), *folder.glob(MODEL)]


def last_state(folder: Path, notify: files.Tell) -> dict[str, Any] | None:
    """The last checkpoint that is whole; without checkpoints, the model; None without both.

    Raises:
        UserError: none of the files can be read. Training does not begin anew, since there may be a sound copy.
    """
    checkpoints = folder / _CHECKPOINTS
    try:
        state = checkpoint.load_last(checkpoints, notify)
        if state is not None or not (folder / MODEL).exists():
            return state
        learner = checkpoint.load(folder / MODEL)
    except checkpoint.DamagedError as error:
        which = "them" if checkpoint.paths(checkpoints) else "it"
        raise UserError(
            f"{error}. Put a copy back. Without one, move {which} away: the run then goes on from its {MODEL} if it "
            "has one, or begins anew."
        ) from error
    return {"learner": learner, "cost": asdict(_cost_of(folder, learner)), "flops_per_step": None}


def _cost_of(folder: Path, learner: Mapping[str, Any]) -> Cost:
    """The cost of a model: steps from its counters, the rest from train.jsonl if that is as long, else NaN."""
    env_steps, grad_steps = learner.get("env_steps", 0), learner.get("grad_steps", 0)
    lines, damaged = train_log.read(folder)
    lines = [
        line
        for line in lines
        if line["env_steps"] <= env_steps and {"seconds", "flops"} <= line.keys()
    ]
    if damaged or not lines or lines[-1]["env_steps"] != env_steps:
        return Cost(env_steps, grad_steps, math.nan, math.nan)
    return Cost(env_steps, grad_steps, sum(line["seconds"] for line in lines), lines[-1]["flops"])


def refuse_nan(folder: Path, line: dict[str, float | int]) -> None:
    """Refuse metrics that are not finite.

    Raises:
        DivergenceError: a metric of ``line`` is not finite.
    """
    bad = [key for key, value in line.items() if not math.isfinite(value)]
    if bad:
        raise diverged(folder, int(line["env_steps"]), f"{', '.join(bad)} is no longer a number.")


def diverged(folder: Path, env_steps: int, why: str) -> DivergenceError:
    """The error that ends a training; ``why`` is a sentence."""
    checkpoints, kept = folder / _CHECKPOINTS, "There was no checkpoint yet"
    if checkpoint.paths(checkpoints):
        kept = f"The last good checkpoint is kept in {checkpoints}"
    return DivergenceError(
        f"Training stopped at {env_steps:,} environment steps: {why} {kept}; train again with a lower learning rate, "
        "in another folder."
    )


def _without_model(about: About) -> dict[str, Any]:
    return {key: value for key, value in about.items() if key not in _OF_MODEL}


def _flat(about: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """``{"config": {"lr": 1}}`` -> ``{"config.lr": 1}``."""
    flat = {}
    for key, value in about.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
