"""A run as its folder describes it: state, cost, configuration, learning curve, and the commands that come next."""

from __future__ import annotations

import math
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from bridge.config import joined
from bridge.errors import UserError, unknown
from bridge.tasks import family as make_family
from bridge.training import run_folder, train_log
from bridge.training.budget import Budget, Cost, Unit
from experiments import listing, registry, runs, search, specs, zoo
from experiments.commands.finetune import Finetune
from llm_adapt.local_files import is_tuned

Summary = dict[str, Any]

CURVES = {
    "id_val_trial_return": "return of a trial on id_val",
    "trial_return": "return of a trial in training",
    "loss": "loss",
}
"""Columns of train.jsonl that may be the learning curve, the best one first, in words."""
_POINTS = 20
"""Most points of a curve; of more, means are given."""
_UNUSUAL = {"tuning_configs": 1, "processes": 1, "device": "cpu", "precision": "no"}
"""Settings of a training that are given if they differ from these."""
_TRAINED = {"family": str, "config": dict, "seed": int, "schedule": dict, "exported": dict}
_BUDGET = {"amount": float, "unit": str}
_TUNED = {
    "family": str,
    "method": str,
    "config": dict,
    "base": dict,
    "split": str,
    "tasks": list,
    "demos": str,
    "params_total": int,
    "params_trained": int,
}
"""Keys of ``config.json`` and of objects in it, and their types."""


def summary(place: str) -> Summary:
    """Return what the folder of a run, trained or fine-tuned, says of it: an object in the order of reading.

    Args:
        place: the folder, or ``zoo:METHOD/FAMILY``.

    Raises:
        UserError: it is no run folder, or a file in it cannot be read.
    """
    if search.is_folder(place):
        raise UserError(
            f"{place} is a tuning folder, and its run folders are in it: metabridge show {place}/000"
        )
    if specs.is_name(place) and not runs.is_folder(place):
        raise UserError(
            f"{place} is no run folder but a method. Describe it: metabridge describe {registry.name_of(place)}"
        )
    run = runs.read(place)
    return _trained(place, run) if run.method else _tuned(place, run)


def _trained(place: str, run: runs.Folder) -> Summary:
    folder, about, notices = run.path, run.about, []
    run_folder.check_config(folder, about, _TRAINED, "exported")
    budget, cost, origin = _budget(run), _cost(folder, notices), about.get("exported", {})
    defaults = next(
        each["keys"] for each in listing.entries("methods") if each["name"] == about["method"]
    )
    changed = {key: value for key, value in about["config"].items() if value != defaults.get(key)}
    unusual = {key: about[key] for key, usual in _UNUSUAL.items() if about.get(key, usual) != usual}
    curve = _curve(folder, "env_steps", notices)
    done = cost.spends(budget)
    return {
        "name": place,
        "kind": "run that ships" if zoo.is_entry(place) else "trained run",
        "method": about["method"],
        "family": about["family"],
        "seed": about["seed"],
        "state": "trained" if done else "unfinished",
        "budget": str(budget),
        "spent": cost.share(budget),
        "cost": {key: None if math.isnan(each) else each for key, each in asdict(cost).items()},
        **unusual,
        "earlier_budgets": about.get("earlier_budgets", []),
        "commit": origin.get("commit", ""),
        "command": origin.get("command", ""),
        "changed": changed,
        "by_default": _without(changed, about["config"]),
        "curve": curve,
        "notices": [*notices, *filter(None, [train_log.left_out(folder)])],
        "next": _after_training(place, run)
        if done
        else [_resumed(place, about, changed, unusual, budget)],
    }


def _budget(run: runs.Folder) -> Budget:
    """The budget of a run.

    Raises:
        UserError: its ``config.json`` has none.
    """
    schedule = run.about["schedule"]
    run_folder.check_config(run.path, schedule, {"budget": dict})
    run_folder.check_config(run.path, schedule["budget"], _BUDGET)
    amount, unit = schedule["budget"]["amount"], schedule["budget"]["unit"]
    if unit not in get_args(Unit):
        raise unknown(f"unit of the budget in {run.path}/config.json:", unit, get_args(Unit))
    return Budget(float(amount), unit)


def _cost(folder: Path, notices: list[str]) -> Cost:
    """The cost up to the last checkpoint, from which a training goes on.

    Raises:
        UserError: no checkpoint can be read.
    """
    if run_folder.trained_at(folder):
        return run_folder.read_cost(folder, notices.append)
    steps = train_log.last(folder, "env_steps")
    notices.append(
        f"There is no checkpoint yet. A resumed training begins at its first step; {steps:,} are in its log."
    )
    return Cost()


def _resumed(place: str, about: Summary, changed: Summary, unusual: Summary, budget: Budget) -> str:
    """The command that goes on with a training."""
    spec = f"{about['method']}:{joined(changed)}" if changed else about["method"]
    if "tuning_configs" in unusual:
        spec = "TUNED"  # the folder of the search, whose name the run does not hold
    flags = {"family": about["family"], "seed": about["seed"], "budget": budget.spec, "out": place}
    return _command("train", spec, flags | _without({"tuning_configs": 0}, unusual), "--resume")


def _after_training(place: str, run: runs.Folder) -> list[str]:
    """Commands for a run whose budget is spent."""
    assert run.method is not None
    axis = _first_axis(run.about["family"])
    trials = {"splits": f"id,shift/{axis}" if axis else "id", "trials": 1000}
    commands = [_command("evaluate", place, trials)]
    if run.method.transformer and not (run.method.takes_steps or run.method.reads_text):
        base = place.rstrip("/")
        if zoo.is_entry(place):
            base = f"runs/{place.removeprefix(zoo.PREFIX).replace('/', '-')}"
        flags = {"split": f"shift/{axis}/4" if axis else "train", "out": f"{base}-tuned"}
        commands.append(_command("finetune", place, flags))
    if run.method.can_be_tuned:
        weights = "lora" if run.method.transformer else "full"
        commands.append(_command("evaluate", f"{weights}_reward:run={place}", trials))
    return commands


def _first_axis(family: str) -> str:
    """The first shift axis of a family; empty if it has none, or cannot be made here."""
    try:
        return next(iter(make_family(family).axes), "")
    except UserError:
        return ""


def _tuned(place: str, run: runs.Folder) -> Summary:
    folder, about, notices = run.path, run.about, []
    run_folder.check_config(folder, about, _TUNED)
    run_folder.check_config(folder, about["base"], {"run": str})
    run_folder.check_config(folder, about["config"], {"steps": int, "seed": int})
    settings, demos, base = about["config"], about["demos"], about["base"]["run"]
    changed = {
        key: value for key, value in settings.items() if value != getattr(Finetune, key, None)
    }
    source = {"demos": demos} if demos else {"split": about["split"]}
    taken, done = train_log.last(folder, "grad_steps"), is_tuned(folder)
    if done:
        split = {"splits": ",".join(dict.fromkeys(["id", about["split"]]))}
        commands = [_command("evaluate", each, split) for each in (place, base)]
    else:
        flags = (
            {"family": about["family"]} | source | _without({"tasks": 0} if demos else {}, changed)
        )
        commands = [_command("finetune", base, flags | {"out": place}, "--resume")]
    return {
        "name": place,
        "kind": "fine-tuned run",
        "method": about["method"],
        "family": about["family"],
        "seed": settings["seed"],
        "state": "tuned" if done else "unfinished",
        "budget": f"{settings['steps']:,} gradient steps",
        "spent": 1.0 if done else taken / settings["steps"],
        "cost": {"env_steps": train_log.last(folder, "env_steps"), "grad_steps": taken},
        "base": base,
        **source,
        "tasks": len(about["tasks"]),
        "weights": f"{about['params_trained']:,} of {about['params_total']:,} trained",
        "changed": changed,
        "by_default": _without(changed, settings),
        "curve": _curve(folder, "grad_steps", notices),
        "notices": notices,
        "next": commands,
    }


def _curve(folder: Path, counter: str, notices: list[str]) -> Summary:
    """The learning curve: the name of its column in train.jsonl, and pairs of steps so far and value."""
    lines, damaged = train_log.read(folder, counter)
    if damaged:
        numbers = ", ".join(map(str, damaged))
        notices.append(f"{folder / train_log.NAME} is damaged: line {numbers} is left out.")
    for metric in CURVES:
        found = [line for line in lines if math.isfinite(line.get(metric, math.nan))]
        if found:
            size = math.ceil(len(found) / _POINTS)
            blocks = [found[first : first + size] for first in range(0, len(found), size)]
            points = [
                (int(block[-1][counter]), sum(line[metric] for line in block) / len(block))
                for block in blocks
            ]
            return {"metric": metric, "steps": counter, "mean_of": size, "points": points}
    return {}


def _without(keys: Summary, values: Summary) -> Summary:
    return {key: value for key, value in values.items() if key not in keys}


def _command(name: str, target: str, flags: Summary, *more: str) -> str:
    """A command line of metabridge."""
    words = [
        name,
        target,
        *(word for key, each in flags.items() for word in (f"--{key}", str(each))),
    ]
    return shlex.join(["metabridge", *words, *more])
