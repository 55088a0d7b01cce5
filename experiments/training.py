"""``metabridge train``: a learner by name, trained in a run folder; and the agent that a run folder holds."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bridge import checkpoint, config, results
from bridge import train as loop
from bridge.errors import UserError, unknown
from bridge.protocol import Agent
from bridge.tasks import family as make_family
from bridge.tasks.base import TaskFamily
from experiments.progress import Progress
from rl_algos import rl2

LEARNERS: dict[str, tuple[type[rl2.Config], type[rl2.Rl2Learner]]] = {"rl2": (rl2.Config, rl2.Rl2Learner)}
"""Learned methods by name: their configuration and their learner."""


def train(spec: str, family_spec: str, seed: int, budget: int, out: Path, *, resume: bool) -> bool:
    """Train ``spec`` (``rl2:hidden=128``) and keep everything in ``out``; False if a signal stopped it first."""
    if budget < 1:
        raise UserError(f"--budget is a number of environment steps, 1 or more; found {budget}.")
    settings(spec)
    family = make_family(family_spec)
    with Progress(budget, "environment steps") as progress:
        progress.describe(f"{spec} on {family.id}")
        return train_run(spec, family, seed, budget, out, resume=resume, tell=progress.print, advance=progress.advance)


def train_run(
    spec: str,
    family: TaskFamily,
    seed: int,
    budget: int,
    out: Path,
    *,
    resume: bool,
    tell: Callable[[str], None] = print,
    advance: Callable[[int], None] | None = None,
) -> bool:
    """``train`` without a progress bar of its own."""
    name, chosen = config.split_spec(spec)[0], settings(spec)
    learner = _learner(name, family, chosen, seed, budget)
    about = {"method": name, "config": dataclasses.asdict(chosen), "seed": seed}
    schedule = loop.Schedule(budget=budget)
    return loop.train(learner, family, schedule, about, out, resume=resume, tell=tell, progress=advance)


def settings(spec: str) -> rl2.Config:
    """The configuration that ``spec`` names; unknown methods, keys and values are refused."""
    name, values = config.split_spec(spec)
    if name not in LEARNERS:
        raise unknown("learned method", name, LEARNERS)
    return config.build(LEARNERS[name][0], spec, values)


def costs(place: Path) -> results.Costs:
    """What the run in a folder has cost so far."""
    state = checkpoint.load_last(place / "checkpoints", print) or {}
    seconds = sum(json.loads(line)["seconds"] for line in (place / "train.jsonl").read_text().splitlines())
    return results.Costs(env_steps=state["env_steps"], grad_steps=state["grad_steps"], seconds=seconds)


def _learner(name: str, family: TaskFamily, chosen: Any, seed: int, budget: int) -> Any:
    return LEARNERS[name][1](family, chosen, seed=seed, budget=budget)


def is_run(place: str) -> bool:
    """Whether ``place`` is a run folder."""
    return (Path(place) / "config.json").is_file()


def load_agent(place: str, family: TaskFamily) -> Agent:
    """The agent that a run folder holds: that of its last checkpoint, whole budget or not.

    Raises:
        UserError: no run folder, a run on another family or of another version, or one without a checkpoint.
    """
    folder = Path(place)
    about = loop.read_config(folder)
    if about["family"] != family.id:
        raise UserError(
            f"{folder} was trained on {about['family']}, not on {family.id}. Give --family {about['family']}."
        )
    if about["family_hash"] != family.hash:
        raise UserError(f"{folder} was trained on another version of {family.id}. Train it again.")
    if about["method"] not in LEARNERS:
        raise unknown(f"method in {folder}:", str(about["method"]), LEARNERS)
    chosen = LEARNERS[about["method"]][0](**about["config"])
    learner = _learner(about["method"], family, chosen, about["seed"], about["schedule"]["budget"])
    if not loop.restore(learner, folder, print):
        raise UserError(f"{folder} has no checkpoint yet. Train it: metabridge train ... --out {folder} --resume")
    agent = learner.agent()
    agent.card = dataclasses.replace(agent.card, method=f"{about['method']} ({folder.name})")
    return agent
