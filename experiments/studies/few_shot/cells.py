"""What the study plays: every run as it is, and tuned in the ways that it can be, on every split; each cell once."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from bridge import parquet
from bridge.errors import UserError
from bridge.evaluation import result_rows
from bridge.evaluation.evaluator import evaluate
from bridge.evaluation.footprint import MEMORY
from bridge.evaluation.plan import Plan
from bridge.flops import counter
from bridge.protocol import Agent
from bridge.tasks.base import TaskFamily
from bridge.test_time.agent import FineTuned, Stepping, Tunable
from bridge.training import run_folder
from experiments import methods, training
from llm_adapt.in_context import InContext
from llm_adapt.multi_task import OneEpisode

BUDGETS = (0, 1, 5, 20, 100)
"""Gradient steps before a scored episode."""
RATES = {"lora": 1e-2, "head": 1e-2, "full": 1e-3}
"""Learning rates: usual ones for each way, not tuned."""
_NEVER = 10**6


class Kind(NamedTuple):
    """What runs have in common that differ by their seeds alone."""

    method: str
    way: str
    """``full_reward`` and the like; ``own``; empty where nothing is tuned."""
    steps: int
    """Gradient steps before each scored episode."""
    alone: bool
    """Whether they are its only way to learn from one episode for the next."""


class Cell(NamedTuple):
    """One run, tuned in one way with one budget, on one split."""

    run: Path
    method: str
    way: str
    steps: int
    split: str
    track: str
    alone: bool = False

    @property
    def kind(self) -> Kind:
        """Without the run, split and track."""
        return Kind(self.method, self.way, self.steps, self.alone)

    @property
    def spec(self) -> str:
        """As the command names it: always as a folder, even if it has the name of a method."""
        if not self.steps:
            return str(self.run) if self.run.is_absolute() else f"./{self.run}"
        if self.way == "own":
            return f"full_reward:run={self.run},inner_steps={self.steps}"
        rate = RATES[self.way.split("_")[0]]
        once = f",inner_every={_NEVER}" if self.way.endswith("_reward") else ""
        return f"{self.way}:run={self.run},inner_steps={self.steps}{once},inner_lr={rate:g}"

    @property
    def file(self) -> str:
        """Where it is kept."""
        place = hashlib.sha256(str(self.run.resolve()).encode()).hexdigest()[:8]
        parts = (
            self.run.name.encode()[:100].decode(errors="ignore"),
            place,
            self.way or "as-it-is",
            str(self.steps),
            self.split.replace("/", "-"),
            self.track,
        )
        return f"{'--'.join(parts)}.parquet"


def play(
    cell: Cell,
    family: TaskFamily,
    *,
    shots: int,
    trials: int,
    out: Path,
    flops: Float[np.ndarray, " P"] | None = None,
    memory: int = MEMORY,
) -> Path:
    """Play a cell that was not played since its run was trained.

    The operations of a trial by each curve point are counted where they are not given.
    """
    path = out / cell.file
    if path.exists() and path.stat().st_mtime >= run_folder.trained_at(cell.run):
        return path
    plan = Plan(split=cell.split, trials=trials, track=cell.track, shots=shots)  # ty: ignore[invalid-argument-type]
    shown = methods.agent("oracle", family, cell.split) if cell.track == "C" else None
    agent = _agent(cell, family)
    played = evaluate(agent, family, plan, behaviour=shown, memory_limit=memory)
    if flops is None:
        with counter() as counted:
            clock = counted.get_total_flops
            flops = evaluate(
                agent, family, dataclasses.replace(plan, trials=2), behaviour=shown, clock=clock
            ).cost["clock"]
    card = dataclasses.replace(agent.card, method=f"{cell.way} {cell.method} {cell.steps}".strip())
    seed = run_folder.read_config(cell.run)["seed"]
    parquet.write(path, result_rows.table(played, family, card, seed=seed, flops=flops))
    return path


def _agent(cell: Cell, family: TaskFamily) -> Agent:
    """Who plays; without gradient steps, one whose method they are (MAML) takes none either."""
    agent = methods.agent(cell.spec, family, cell.split)
    return agent.with_steps(0) if not cell.steps and isinstance(agent, Stepping) else agent


def _alone(agent: Agent) -> bool:
    """Whether no memory that it has tells it of earlier episodes."""
    base = agent.agent if isinstance(agent, FineTuned) else agent
    return isinstance(base, OneEpisode) or not isinstance(base, Tunable)


def _check_alike(runs: list[Path]) -> None:
    """Runs of a method are pooled: they must be one configuration, trained with different seeds.

    Raises:
        UserError: they are not.
    """
    seen: dict[str, tuple[dict[str, Any], dict[int, Path]]] = {}
    for run in runs:
        about = run_folder.read_config(run)
        if training.is_tuned(str(run)):
            raise UserError(
                f"{run} is tuned already, for a whole family. Study the run that it came from."
            )
        method, seed, config = (
            about["method"],
            about["seed"],
            dataclasses.asdict(training.configuration(run, about)),
        )
        first, seeds = seen.setdefault(method, (config, {}))
        other = [key for key, value in config.items() if value != first[key]]
        if other:
            raise UserError(
                f"Runs of {method} are pooled, but {run} has another {', '.join(other)}. Leave it out."
            )
        if seed in seeds:
            raise UserError(
                f"{run} and {seeds[seed]} are both seed {seed} of {method}. Leave one out."
            )
        seeds[seed] = run


def cells(
    runs: list[Path],
    family: TaskFamily,
    splits: tuple[str, ...],
    signal: str,
    what: tuple[str, ...],
    budgets: tuple[int, ...],
) -> Iterator[Cell]:
    """Every cell of a study, those that are tuned least first.

    Raises:
        UserError: a run that cannot be played or tuned, or runs of a method that are no seeds of one configuration.
    """
    track, known = "C" if signal == "demos" else "F", {}
    _check_alike(runs)
    for run in runs:
        agent, method = (
            methods.agent(str(run), family, "id"),
            str(run_folder.read_config(run)["method"]),
        )
        ways = (
            [f"{one}_{signal}" for one in what]
            if isinstance(agent, InContext)
            else [f"full_{signal}"]
        )
        own = agent.signal if isinstance(agent, FineTuned) else "reward"
        if own == "demos" != signal:
            raise UserError(
                f"{run} clones what it is shown. Ask for --signal demos, or leave it out."
            )
        if isinstance(agent, Stepping):
            ways = ["own"] if signal == own else []
        for way in ways:
            methods.agent(Cell(run, method, way, 1, "id", track).spec, family, "id")
        known[run] = (method, ways, _alone(agent))
    for steps in sorted({0, *budgets}):
        for run, (method, ways, alone) in known.items():
            for way in ways if steps else [""]:
                yield from (Cell(run, method, way, steps, split, track, alone) for split in splits)
